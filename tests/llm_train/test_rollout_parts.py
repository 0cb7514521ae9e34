"""Rollouts that a trainer splits into several rows count once, whatever the baseline."""

from types import SimpleNamespace

import numpy as np
import pytest

import kvar
from llm_train.plugins import PromptHistory, slime

BASELINES = ["leave-one-out", "group-mean", "batch-mean", "kernel", "adaptive", "variance-optimal"]


def split_step(rng):
    """A step of 8 rollouts of 3 prompts: rewards and norms of each, and the rollout of each of their rows, shuffled."""
    prompts = rng.integers(3, size=8)
    rewards, n_rows = rng.integers(2, size=8) * 0.3, rng.integers(1, 4, size=8)
    rows = rng.permutation(np.repeat(np.arange(8), n_rows))
    return prompts, rewards, rng.exponential(size=len(rows)), rows


@pytest.mark.parametrize("baseline", BASELINES)
def test_rows_get_what_their_rollout_gets(baseline):
    rng = np.random.default_rng(0)
    history, plain = PromptHistory(baseline), kvar.make_baseline(baseline)
    for step in range(1, 6):
        prompts, rewards, row_norms, rows = split_step(rng)
        found = history.advantages(
            [int(prompts[k]) for k in rows], rewards[rows], row_norms, [f"rollout {k}" for k in rows]
        )
        order = list(dict.fromkeys(rows))  # rollouts by their first rows
        norms = [np.sqrt(sum(row_norms[k] ** 2 for k in range(len(rows)) if rows[k] == rollout)) for rollout in order]
        wanted = plain.advantages(prompts[order], rewards[order], step, score_norm=np.array(norms))
        np.testing.assert_allclose(found, [wanted[order.index(k)] for k in rows], atol=1e-12)


def test_rows_with_rewards_of_their_own_share_a_value():
    # Two rollouts of one prompt with mean rewards 0.5 and 0; their leave-one-out values are 0 and 0.5.
    found = PromptHistory("leave-one-out").advantages(
        ["a"] * 5, [1.0, 0.0, None, 0.0, 0.0], None, ["x", "x", "x", "y", "y"]
    )
    assert found.tolist() == [1.0, 0.0, 0.0, -0.5, -0.5]


def test_no_own_reward_comes_in_through_siblings():
    values = []
    for own in (0.0, 1.0):
        history = PromptHistory("adaptive")
        history.advantages(["a", "b", "b"], [1.0, 0.0, 1.0])
        rewards = np.array([own, own, own, 1.0, 0.0])
        advantages = history.advantages(["a", "a", "a", "a", "b"], rewards, None, [0, 0, 0, 1, 2])
        values.append((rewards - advantages)[:3])
    np.testing.assert_allclose(values[0], values[1], atol=1e-15)


def test_unscored_and_infinite_rewards_and_lengths():
    history = PromptHistory("kernel")
    assert history.advantages(["a", "a"], [None, None], None, [0, 0]).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="inf"):
        history.advantages(["a", "a"], [np.inf, np.inf], None, [0, 0])
    with pytest.raises(ValueError, match="1 prompt ids for 2 rewards"):
        history.advantages(["a"], [1.0, 0.0])
    with pytest.raises(ValueError, match="1 rollout ids for 2 rewards"):
        history.advantages(["a", "a"], [1.0, 0.0], None, [0])


@pytest.mark.parametrize("baseline", ["leave-one-out", "kernel"])
@pytest.mark.parametrize("n_siblings", [1, 3])
def test_siblings_of_a_compact_rollout_of_slime(baseline, n_siblings):
    def sample(reward, rollout_id):
        return SimpleNamespace(
            reward=reward, rollout_id=rollout_id, prompt="p", metadata={}, get_reward_value=lambda args: reward
        )

    slime._histories.clear()
    samples = [sample(1.0, 0)] * n_siblings + [sample(0.0, 1)] * n_siblings
    raw, advantages = slime.post_process_rewards(SimpleNamespace(kvar_baseline=baseline), samples)
    assert raw == [1.0] * n_siblings + [0.0] * n_siblings
    assert advantages == [1.0] * n_siblings + [-1.0] * n_siblings
    # Without ids each sample is a rollout.
    assert len(slime.post_process_rewards(SimpleNamespace(kvar_baseline=baseline), [sample(1.0, None)] * 3)[1]) == 3
