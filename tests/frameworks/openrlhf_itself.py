"""The plug-in of OpenRLHF through its own experience maker."""

from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import kvar
from llm_train.plugins import openrlhf
from tests.frameworks.gpu_only import stand_in_for
from tests.llm_train.test_plugins import PROMPTS, STEPS

stand_in_for("deepspeed", "flash_attn", "ring_flash_attn", "vllm")

from openrlhf.trainer.ppo_utils import experience_maker  # noqa: E402
from openrlhf.trainer.ppo_utils.experience import Experience  # noqa: E402


@pytest.fixture
def maker(monkeypatch):
    own = experience_maker.RemoteExperienceMaker.compute_advantages_and_returns
    monkeypatch.setattr(experience_maker.RemoteExperienceMaker, "compute_advantages_and_returns", own)
    advantage = Namespace(estimator="reinforce", gamma=1.0, lambd=1.0, no_std_norm=False)
    args = Namespace(
        algo=Namespace(advantage=advantage, kl=Namespace(use_loss=False)),
        reward=Namespace(clip_range=(-10, 10), overlong_buffer_len=None, overlong_penalty_factor=1.0),
        rollout=Namespace(n_samples_per_prompt=1, max_new_tokens=4),
        data=Namespace(max_len=8),
    )
    none = dict.fromkeys(("actor_model_group", "critic_model_group", "reward_model_group", "initial_model_group"))
    return experience_maker.RemoteExperienceMaker(
        **none, kl_controller=SimpleNamespace(value=0.0), strategy=SimpleNamespace(args=args), tokenizer=None
    )


def experiences(rewards, order, logprobs):
    """Micro-batches of two, whose rows OpenRLHF has put into another order."""
    lengths = [1 + k % 4 for k in range(6)]
    made = []
    for rows in np.array_split(order, 3):
        mask = torch.tensor([[float(t < lengths[k]) for t in range(4)] for k in rows])
        made.append(
            Experience(
                index=rows.tolist(), prompts=[f"question {PROMPTS[k]}" for k in rows], images=[None] * len(rows),
                rewards=torch.tensor([rewards[k] for k in rows]), response_length=mask.sum(1), action_mask=mask.bool(),
                action_log_probs=torch.tensor(logprobs[rows]), kl=torch.zeros_like(mask),
                info={"reward": torch.tensor([rewards[k] for k in rows])},
            )
        )  # fmt: skip
    return made


@pytest.mark.parametrize("baseline", ["adaptive", "variance-optimal"])
def test_the_experience_maker_gives_the_advantages_of_the_plain_loop(maker, baseline):
    openrlhf.install(baseline)
    rng, plain = np.random.default_rng(0), kvar.make_baseline(baseline)
    for step, rewards in enumerate(STEPS, start=1):
        order, logprobs = rng.permutation(6), -rng.exponential(size=(6, 4))
        made = maker.compute_advantages_and_returns(experiences(rewards, order, logprobs))
        mask = np.array([[t < 1 + k % 4 for t in range(4)] for k in range(6)])
        norms = kvar.score_norm_from_logprobs(logprobs, mask)
        keys = np.array(PROMPTS)[order]
        wanted = plain.advantages(keys, np.array(rewards)[order], step, score_norm=norms[order])
        found = torch.cat([experience.advantages for experience in made])
        np.testing.assert_allclose(found, wanted[:, None] * mask[order], atol=1e-6)
        for experience in made:
            kept = [rewards[k] for k in experience.index]
            assert experience.rewards.tolist() == experience.info["reward"].tolist() == kept
    assert maker.args.algo.advantage.estimator == "reinforce"


def test_penalties_come_before_the_baseline(maker):
    openrlhf.install("none")
    maker.args.reward.overlong_buffer_len = 2
    made = maker.compute_advantages_and_returns(experiences([1.0] * 6, np.arange(6), np.zeros((6, 4))))
    found = torch.cat([experience.advantages[:, 0] for experience in made])
    # Lengths are 1, 2, 3, 4, 1, 2: half of the penalty from the third token, all of it at the fourth.
    assert found.tolist() == [1.0, 1.0, 0.5, 0.0, 1.0, 1.0]
    assert maker.args.reward.overlong_buffer_len == 2
    assert torch.cat([experience.rewards for experience in made]).tolist() == found.tolist()


def test_another_estimator_is_refused(maker):
    openrlhf.install()
    maker.args.algo.advantage.estimator = "rloo"
    with pytest.raises(ValueError, match=r"'rloo'.*estimator reinforce"):
        maker.compute_advantages_and_returns([])
