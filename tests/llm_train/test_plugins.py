"""Plug-ins for other trainers, called as those trainers call them.

The interfaces are those in the sources of SkyRL 0.4.0, verl 0.9.1, slime and NeMo-RL. real_frameworks.py, next to this
file, goes through SkyRL and verl themselves where they are installed.
"""

import ast
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import kvar
from llm_train.plugins import PromptHistory, nemo_rl, skyrl, slime, verl

EXAMPLES = Path(skyrl.__file__).parent / "examples"
# Two steps on the same three prompts with two rollouts each, in consecutive rows.
STEPS = [[1.0, 0.0, 1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0, 0.0, 1.0]]
PROMPTS = [7, 7, 8, 8, 9, 9]
RANDOM_UID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"


def column(values):
    return np.array(values, dtype=object)


def expected():
    baseline = kvar.make_baseline("adaptive")
    return [baseline.advantages([7, 8, 9], np.array(r).reshape(3, 2), i).ravel() for i, r in enumerate(STEPS, start=1)]


def token_level(rewards, width=4):
    """Rewards at the last token of responses of different lengths."""
    table, mask = torch.zeros(len(rewards), width), torch.zeros(len(rewards), width)
    for k, reward in enumerate(rewards):
        length = 1 + k % width
        table[k, length - 1], mask[k, :length] = reward, 1.0
    return table, mask


def test_the_history_counts_calls_and_outlives_the_process(tmp_path, caplog):
    path = tmp_path / "history.safetensors"
    found = []
    for rewards in STEPS:
        history = PromptHistory(state_path=path)  # a new process each time
        found.append(history.advantages(PROMPTS, rewards))
    np.testing.assert_array_equal(found, expected())
    assert f"{path}, which ends at step 1" in caplog.text
    with pytest.raises(ValueError, match="'adaptive'"):
        PromptHistory("kernel", state_path=path).advantages(["a"], [1.0])
    with pytest.raises(ValueError, match=r"absolute.* got 'history\.safetensors'"):
        PromptHistory(state_path=path.name)
    assert PromptHistory().advantages(["a"], [None]).tolist() == [0.0]
    with pytest.raises(ValueError, match=r"'oracle' needs true_value.* use adaptive"):
        PromptHistory("oracle")


def test_skyrl_leaves_padding_rows_out():
    estimator = skyrl.AdvantageEstimator()
    for rewards, wanted in zip(STEPS, expected(), strict=True):
        # SkyRL copies row 0 into the rows that fill the batch up.
        table, mask = token_level([*rewards, rewards[0], rewards[0]])
        index = np.array([*map(str, PROMPTS), "pad0", "pad1"])
        advantages, returns = estimator(
            token_level_rewards=table, response_mask=mask, index=index, grpo_norm_by_std=True, config=None
        )
        np.testing.assert_allclose(advantages[:6], wanted[:, None] * mask[:6].numpy(), atol=1e-7)
        assert not advantages[6:].any()
        assert torch.equal(advantages, returns)
        assert advantages.dtype == torch.float32
    with pytest.raises(ValueError, match="no index"):
        estimator(table, mask, None)


def test_slime_gets_advantages_for_rewards():
    class Sample:
        def __init__(self, question, reward, metadata=None):
            self.prompt = [{"role": "user", "content": question}]
            self.reward, self.metadata = reward, metadata

        def get_reward_value(self, args):
            return self.reward[args.reward_key] if args.reward_key else self.reward

    args = SimpleNamespace(reward_key="score", kvar_baseline="adaptive", kvar_baseline_kwargs={}, kvar_state_path=None)
    slime._histories.clear()
    for rewards, wanted in zip(STEPS, expected(), strict=True):
        samples = [
            Sample(f"question {p}", {"score": r}, {"prompt_id": "eight"} if p == 8 else {})
            for p, r in zip(PROMPTS, rewards, strict=True)
        ]
        raw, advantages = slime.post_process_rewards(args, samples)
        assert raw == rewards
        np.testing.assert_allclose(advantages, wanted)
    raw, advantages = slime.post_process_rewards(args, [Sample("question 9", None)])
    assert (raw, advantages) == ([None], [0.0])


def test_verl_refuses_names_that_change():
    table, mask = token_level(STEPS[0])
    estimator = verl.AdvantageEstimator()
    with pytest.raises(ValueError, match=rf"got uid {RANDOM_UID}.*use_stable_keys\(\)"):
        estimator(table, mask, index=column([RANDOM_UID] * 6), config=None)
    with pytest.raises(ValueError, match=r"no index.*use_stable_keys\(\)"):
        estimator(table, mask, config=None)
    for rewards, wanted in zip(STEPS, expected(), strict=True):
        table, mask = token_level(rewards)
        advantages, _ = estimator(table, mask, index=column([f"gsm8k/{p}" for p in PROMPTS]), config=None)
        np.testing.assert_allclose(advantages, wanted[:, None] * mask.numpy(), atol=1e-7)


def test_verl_sees_the_row_in_place_of_the_random_name():
    uid = column([RANDOM_UID] * 6)
    infos = column([{"index": p} for p in PROMPTS])
    columns = {"uid": uid, "extra_info": infos, "data_source": column(["gsm8k"] * 6)}
    data = SimpleNamespace(non_tensor_batch=columns)
    seen = verl.stable_keys(lambda data, **_: list(data.non_tensor_batch["uid"]))(data)
    assert seen == [f"gsm8k/{p}" for p in PROMPTS]
    assert columns["uid"] is uid
    columns["extra_info"][3] = {}
    with pytest.raises(ValueError, match=r"no extra_info\['index'\].*number"):
        verl.stable_keys(lambda data: None)(data)


@pytest.mark.parametrize("named_by", ["rows", "tokens", "numbers"])
def test_nemo_rl_names_prompts_whatever_the_padding(named_by):
    estimator = nemo_rl.KernelAdvantageEstimator({"baseline": "adaptive", "pad_token_id": 0}, {})
    for step, (rewards, wanted) in enumerate(zip(STEPS, expected(), strict=True)):
        tokens = torch.tensor([[p, p + 1] + [0] * (1 + step) for p in PROMPTS])
        batch = {"idx": torch.tensor(PROMPTS), "task_name": ["math"] * 6} if named_by == "rows" else {}
        advantages = estimator.compute_advantage(
            prompt_ids=torch.tensor(PROMPTS) if named_by == "numbers" else tokens, rewards=torch.tensor(rewards),
            mask=torch.ones(6, 5), repeated_batch=batch, logprobs_policy=None, logprobs_reference=None,
        )  # fmt: skip
        np.testing.assert_allclose(advantages, np.repeat(wanted[:, None], 5, axis=1), atol=1e-7)


def test_nemo_rl_leaves_invalid_rows_out_and_installs():
    module = SimpleNamespace(__name__="grpo", _create_advantage_estimator=None)
    nemo_rl.install(module)
    config = SimpleNamespace(grpo={"adv_estimator": {"name": "grpo", "baseline": "kernel"}}, loss_fn={})
    estimator = module._create_advantage_estimator(config)
    assert estimator.history.baseline.name == "kernel"
    rewards, valid = torch.tensor([1.0, 0.0, 9.0]), torch.tensor([1.0, 1.0, 0.0])
    advantages = estimator.compute_advantage(torch.tensor([1, 1, 1]), rewards, torch.ones(3, 2), valid_mask=valid)
    assert advantages[:, 0].tolist() == [1.0, -1.0, 0.0]
    with pytest.raises(ValueError, match="pad_token_id"):
        estimator.compute_advantage(torch.ones(3, 2), torch.zeros(3), torch.ones(3, 2))
    with pytest.raises(AttributeError, match=r"grpo has no .*NeMo-RL"):
        nemo_rl.install(SimpleNamespace(__name__="grpo"))


def test_the_examples_name_what_exists():
    for path in EXAMPLES.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("llm_train"):
                module = __import__(node.module, fromlist=["_"])
                assert all(hasattr(module, alias.name) for alias in node.names)
    settings = yaml.safe_load((EXAMPLES / "slime.yaml").read_text())
    assert settings.keys() == {"kvar_baseline", "kvar_baseline_kwargs", "kvar_state_path"}
    assert "llm_train.plugins.slime.post_process_rewards" in (EXAMPLES / "slime.sh").read_text()
