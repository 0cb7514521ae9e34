"""The plug-in of prime-rl: groups that arrive one at a time, with the version of the policy as the clock.

prime-rl needs Python 3.12 and is not on PyPI, so that a stand-in with the names it imports takes its place.
"""

import asyncio
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import kvar
from llm_train.plugins import PromptHistory, prime_rl


class OwnAlgorithm:
    def __init__(self, config, policy_pool):
        self.policy_pool = policy_pool


@pytest.fixture
def algo(monkeypatch):
    base = {"iter_trainable_traces": lambda episodes: ((e, trace) for e in episodes for trace in e.traces)}
    modules = {
        "prime_rl": {},
        "prime_rl.orchestrator": {},
        "prime_rl.orchestrator.algo": {
            "GRPOAlgorithm": OwnAlgorithm,
            "ALGORITHM_CLASSES": {"grpo": OwnAlgorithm},
            "assign_advantages": lambda trace, advantage: setattr(trace, "advantage", advantage),
        },
        "prime_rl.orchestrator.algo.base": base,
        "prime_rl.orchestrator.utils": {"train_work": lambda episode: SimpleNamespace(policy=episode.policy)},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["prime_rl.orchestrator"].algo = sys.modules["prime_rl.orchestrator.algo"]
    return sys.modules["prime_rl.orchestrator.algo"]


def group(task, rewards, version, logprobs):
    """Two nodes a trace, the first of which is the prompt."""
    return [
        SimpleNamespace(
            env=SimpleNamespace(name="math"),
            policy=None if version is None else SimpleNamespace(start=version),
            traces=[
                SimpleNamespace(
                    reward=reward,
                    task=SimpleNamespace(data=SimpleNamespace(idx=task)),
                    agent=SimpleNamespace(name="solver"),
                    nodes=[
                        SimpleNamespace(mask=[False], logprobs=[0.0]),
                        SimpleNamespace(mask=[True] * len(row), logprobs=list(row)),
                    ],
                )
            ],
        )
        for reward, row in zip(rewards, logprobs, strict=True)
    ]


@pytest.mark.parametrize("baseline", ["kernel", "adaptive", "variance-optimal"])
def test_groups_get_the_advantages_of_the_plain_loop(algo, baseline):
    prime_rl.install(baseline)
    scorer = algo.ALGORITHM_CLASSES["grpo"](SimpleNamespace(length_penalty=None), "pool")
    rng, plain, clock = np.random.default_rng(0), kvar.make_baseline(baseline), 0
    for version in [0, 0, 1, 3, 2, 3, None, 5]:
        task, rewards = int(rng.integers(2)), rng.integers(2, size=3).astype(float)
        logprobs = -rng.exponential(size=(3, 4))
        episodes = group(task, rewards, version, logprobs)
        asyncio.run(scorer.score_group(episodes))
        clock = max(clock, version or 0)
        norms = kvar.score_norm_from_logprobs(logprobs)
        wanted = plain.advantages([f"math/{task}/solver"] * 3, rewards, clock, score_norm=norms)
        np.testing.assert_allclose([episode.traces[0].advantage for episode in episodes], wanted, atol=1e-12)


def test_what_cannot_be_served_is_refused(algo):
    prime_rl.install()
    with pytest.raises(ValueError, match=r"got linear: remove algo\.length_penalty"):
        algo.ALGORITHM_CLASSES["grpo"](SimpleNamespace(length_penalty="linear"), None)
    scorer = algo.ALGORITHM_CLASSES["grpo"](SimpleNamespace(length_penalty=None), None)
    with pytest.raises(ValueError, match=r"'math' has no number.*set idx"):
        asyncio.run(scorer.score_group(group(None, [1.0], 0, [[-1.0]])))


def test_the_file_is_written_once_a_version(tmp_path):
    path = tmp_path / "history.safetensors"
    history = PromptHistory(state_path=path)
    history.advantages(["a"], [1.0], step=4)
    first = path.read_bytes()
    history.advantages(["a"], [0.0], step=4)
    assert path.read_bytes() == first
    history.advantages(["a"], [1.0], step=5)
    assert path.read_bytes() != first
    resumed = PromptHistory(state_path=path)
    # Versions count on from an older checkpoint; the clock waits for them.
    np.testing.assert_array_equal(resumed.advantages(["a"], [1.0], step=3), history.advantages(["a"], [1.0], step=5))
    assert resumed.step == 5
