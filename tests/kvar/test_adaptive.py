"""The adaptive baseline against a plain loop, and what it must do where there is little to go by."""

import dataclasses
import math

import numpy as np
import pytest

import kvar
from kvar.online.expert_weights import ExpertWeights
from tests.kvar.adaptive_reference import AdaptiveLoop


@pytest.mark.parametrize("kind", ["binary", "continuous", "one prompt", "one rollout", "alone"])
def test_it_agrees_with_the_plain_loop(kind, rng):
    baseline, loop, now = kvar.make_baseline("adaptive"), AdaptiveLoop(), 0
    n_prompts, group = {"one prompt": (1, 2), "one rollout": (6, 1), "alone": (1, 1)}.get(kind, (6, 3))
    for _ in range(40):
        now += int(rng.choice([1, 2, 7, 300], p=[0.6, 0.2, 0.18, 0.02]))
        ids = rng.permutation(n_prompts)[: max(1, n_prompts - int(rng.integers(0, 3)))].tolist()
        rewards = (
            rng.normal(3.0, 10.0, (len(ids), group)) if kind == "continuous" else rng.integers(0, 2, (len(ids), group))
        )
        rewards = np.where(rng.random(rewards.shape) < 0.1, np.nan, rewards)
        expected = loop.step(now, {i: row.tolist() for i, row in zip(ids, rewards, strict=True)})
        found = baseline.estimate(ids, rewards, now, return_info=True)
        for mine, its in zip(dataclasses.astuple(found), np.moveaxis([expected[i] for i in ids], -1, 0), strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-9, atol=1e-11)
        baseline.update(ids, rewards, now)


def test_scaling_the_rewards_scales_the_values(rng):
    plain, scaled = kvar.make_baseline("adaptive"), kvar.make_baseline("adaptive")
    for step in range(30):
        rewards = rng.random((8, 2))
        values = plain.estimate(range(8), rewards, step)
        np.testing.assert_allclose(scaled.estimate(range(8), 1000 * rewards - 7, step), 1000 * values - 7, rtol=1e-7)
        plain.update(range(8), rewards, step)
        scaled.update(range(8), 1000 * rewards - 7, step)


def test_writing_into_the_rewards_after_an_estimate_is_seen():
    baseline, rewards = kvar.make_baseline("adaptive"), np.array([[1.0, 0.0], [1.0, 1.0]])
    baseline.update(range(2), rewards, 0)
    before = baseline.estimate(range(2), rewards, 1)
    rewards[1, 1] = 0.0
    after = baseline.estimate(range(2), rewards, 1)
    assert after[1, 1] == before[1, 1]
    assert after[1, 0] < before[1, 0]


def test_a_look_is_used_once_and_only_for_its_own_batch(rng):
    looked, plain = kvar.make_baseline("adaptive"), kvar.make_baseline("adaptive")
    for step in range(10):
        rewards = rng.random((4, 2))
        looked.estimate(range(4), rng.random((4, 2)), step)
        looked.update(range(4), rewards, step)
        plain.update(range(4), rewards, step)
    np.testing.assert_equal(looked.state_dict(), plain.state_dict())


@pytest.mark.parametrize("part", ["history", "shrinkage", "drift"])
def test_an_ingredient_can_be_left_out(part, rng):
    whole, without = kvar.make_baseline("adaptive"), kvar.make_baseline("adaptive", **{part: False})
    for step in range(10):
        rewards = rng.random((6, 2)) + step / 10
        for baseline in (whole, without):
            baseline.update(range(6), rewards, step)
    rewards = rng.random((6, 2)) + 1
    left = without.estimate(range(6), rewards, 10)
    assert np.abs(left - whole.estimate(range(6), rewards, 10)).max() > 1e-3
    if part == "history":
        other = kvar.make_baseline("adaptive", history=False)
        other.update(range(6), np.zeros((6, 2)), 0)
        assert other.estimate([99], [[1.0, 0.5]], 1) == pytest.approx(other.estimate([0], [[1.0, 0.5]], 1))


def test_no_uncertainty_is_stated_before_two_rewards_differ():
    baseline = kvar.make_baseline("adaptive")
    baseline.update(["a"], [[1.0, 1.0]], 0)
    assert np.isnan(baseline.estimate(["a"], [[1.0, 1.0]], 1, return_info=True).standard_error).all()
    baseline.update(["a"], [[0.0, 1.0]], 1)
    found = baseline.estimate(["a"], [[1.0, 1.0]], 2, return_info=True)
    assert (found.standard_error > 0).all()
    assert (found.effective_sample_size > 1).all()


def test_weights_go_to_what_predicts():
    experts = ExpertWeights(3)
    np.testing.assert_allclose(experts.weights(), 1 / 3)
    for _ in range(50):
        experts.learn(np.array([64.0, 80.0, 640.0]), 64)
    weights = experts.weights()
    assert weights[0] > 0.9
    assert weights[2] < 1e-100
    assert weights.sum() == pytest.approx(1.0)
    perfect = ExpertWeights(2)
    perfect.learn(np.array([0.0, 1.0]), 4)
    np.testing.assert_array_equal(perfect.weights(), [1.0, 0.0])
    with pytest.raises(ValueError, match=r"shape \(3,\), got \(2,\)"):
        experts.load_state_dict(perfect.state_dict())


def test_the_window_in_use(rng):
    assert kvar.make_baseline("kernel", bandwidth=7).window_in_use == pytest.approx(7)
    assert math.isnan(kvar.make_baseline("group-mean").window_in_use)
    still = kvar.make_baseline("adaptive")
    before = still.window_in_use
    assert 2 < before < 500
    rates = np.linspace(0.1, 0.9, 8)[:, None]
    for step in range(60):  # nothing moves, so that a long memory predicts best
        still.advantages(list(range(8)), (rng.random((8, 2)) < rates) * 1.0, step)
    assert still.window_in_use > before


def test_the_very_first_rollout_alone_is_valued_by_the_middle_of_most_rewards():
    assert kvar.make_baseline("adaptive").estimate(["a"], [[1.0]], 0) == pytest.approx(0.5)


def test_without_history_there_is_no_window():
    assert math.isnan(kvar.make_baseline("adaptive", history=False).window_in_use)
