"""The variance-optimal baseline against a plain loop, against `adaptive`, and against the optimum where it is known."""

import dataclasses
import math

import numpy as np
import pytest

import kvar
from kvar.online.norm_shift import NormShift
from kvar.online.reward_scale import RewardScale
from tests.kvar.adaptive_reference import VarianceOptimalLoop


@pytest.mark.parametrize("kind", ["binary", "continuous", "one prompt", "one rollout", "alone"])
def test_it_agrees_with_the_plain_loop(kind, rng):
    baseline, loop, now = kvar.make_baseline("variance-optimal"), VarianceOptimalLoop(), 0
    n_prompts, group = {"one prompt": (1, 2), "one rollout": (6, 1), "alone": (1, 1)}.get(kind, (6, 3))
    for _ in range(40):
        now += int(rng.choice([1, 2, 7, 300], p=[0.6, 0.2, 0.18, 0.02]))
        ids = rng.permutation(n_prompts)[: max(1, n_prompts - int(rng.integers(0, 3)))].tolist()
        shape = (len(ids), group)
        rewards = rng.normal(3.0, 10.0, shape) if kind == "continuous" else rng.integers(0, 2, shape) * 1.0
        # A ratio of its own for each prompt, so that norms of its past count.
        ratios = 0.1 * 3.0 ** np.array(ids)[:, None]
        norms = np.exp(rng.normal(size=shape) / 2) * np.where(rewards > 0, ratios, 1.0)
        rewards, norms = (np.where(rng.random(shape) < 0.1, np.nan, column) for column in (rewards, norms))
        groups, of_scores = ({i: row.tolist() for i, row in zip(ids, c, strict=True)} for c in (rewards, norms))
        expected = loop.step(now, groups, of_scores)
        _, info = baseline.advantages(ids, rewards, now, return_info=True, score_norm=norms)
        for mine, its in zip(dataclasses.astuple(info), np.moveaxis([expected[i] for i in ids], -1, 0), strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-12, atol=1e-12)
    assert loop.part() > 0 or kind != "binary"


@pytest.mark.parametrize("norm", [1.0, 1e-30, 3e20])
@pytest.mark.parametrize("group", [1, 4])
def test_equal_norms_give_adaptive(norm, group, rng):
    mine, plain = kvar.make_baseline("variance-optimal"), kvar.make_baseline("adaptive")
    for step in range(60):
        ids = rng.permutation(9)[:6]
        rewards = (rng.random((6, group)) < 0.1 + ids[:, None] / 12) * 1.0
        advantages, info = mine.advantages(ids, rewards, step, return_info=True, score_norm=np.full((6, group), norm))
        expected, its = plain.advantages(ids, rewards, step, return_info=True)
        np.testing.assert_allclose(advantages, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(info.standard_error, its.standard_error, rtol=1e-9)
        np.testing.assert_allclose(info.effective_sample_size, its.effective_sample_size, rtol=1e-12)


def test_a_common_factor_of_the_norms_changes_nothing(rng):
    plain, scaled = kvar.make_baseline("variance-optimal"), kvar.make_baseline("variance-optimal")
    for step in range(30):
        rewards, norms = rng.integers(0, 2, (8, 2)) * 1.0, np.exp(rng.normal(size=(8, 2)))
        values = plain.advantages(range(8), rewards, step, score_norm=norms)
        np.testing.assert_allclose(
            scaled.advantages(range(8), rewards, step, score_norm=1e7 * norms), values, atol=1e-9
        )


def test_no_norm_of_a_batch_enters_its_values(rng):
    baseline = kvar.make_baseline("variance-optimal")
    for step in range(20):
        rewards = rng.integers(0, 2, (8, 2)) * 1.0
        baseline.update(range(8), rewards, step, score_norm=np.where(rewards > 0, 0.3, 1.0))
    rewards = rng.integers(0, 2, (8, 2)) * 1.0
    values = [baseline.estimate(range(8), rewards, 20, score_norm=rng.random((8, 2))) for _ in range(2)]
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize("ratio", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("rewards", ["binary", "between"])
def test_it_finds_the_optimum(ratio, rewards):
    # Eight values that do not move; n is linear in the reward, so that b* = (W0 v + (W1 - W0) E[Z^2]) / E[n].
    rng = np.random.default_rng(3)
    value = np.linspace(0.2, 0.8, 8)[:, None]
    spread = 1.0 if rewards == "binary" else 0.3
    baseline, errors, losses = kvar.make_baseline("variance-optimal"), [], []
    second = value + 0 * value if rewards == "binary" else value**2 + spread**2 * value * (1 - value)
    optimum = (value + (ratio - 1) * second) / (1 + (ratio - 1) * value)
    for step in range(400):
        coin = (rng.random((8, 1)) < value) * 1.0
        drawn = value + spread * (coin - value)
        norms = np.sqrt(1 + (ratio - 1) * drawn)
        found = drawn - baseline.advantages(range(8), drawn, step, score_norm=norms)
        if step >= 200:
            errors.append(((1 + (ratio - 1) * value) * (found - optimum) ** 2).mean())
            losses.append((norms**2 * (drawn - optimum) ** 2).mean())
    assert np.mean(errors) < 0.03 * np.mean(losses)


@pytest.mark.parametrize("history", [True, False])
def test_a_prompt_with_a_ratio_of_its_own_gets_its_own_optimum(history):
    # Prompts of value 1/2 with W1 / W0 = 1/4 and 4: their optima are 1/5 and 4/5, that of all together is 17/25.
    rng, ratio = np.random.default_rng(5), np.repeat([0.25, 4.0], 8)[:, None]
    baseline, found = kvar.make_baseline("variance-optimal", history=history), []
    for step in range(150):
        rewards = rng.integers(0, 2, (16, 4)) * 1.0
        norms = np.sqrt(np.where(rewards > 0, ratio, 1.0) * rng.exponential(size=(16, 4)))
        found.append(rewards - baseline.advantages(range(16), rewards, step, score_norm=norms))
    mean, ends = np.mean(found[75:], axis=(0, 2)).reshape(2, 8).mean(axis=1), ([0.2, 0.8] if history else [0.68, 0.68])
    np.testing.assert_allclose(mean, ends, atol=0.07)


def test_the_cut_of_heavy_tails_does_not_distort_the_ratio():
    # Squared t norms with W1 / W0 = 0.15 at the value 0.9. A run remembers about 330 wrong rollouts, whose cut squares
    # have a relative standard deviation of 1.6: the mean log ratio of eight runs has a standard error of 0.03.
    found, values = [], np.full(100, 0.9)
    for seed in range(8):
        rng, shift, scale = np.random.default_rng(seed), NormShift(), RewardScale()
        for step in range(150):
            rewards = (rng.random(values.shape) < values) * 1.0
            norms = np.abs(rng.standard_t(3, values.shape)) * np.sqrt(np.where(rewards > 0, 0.15, 1.0))
            batch = kvar.Batch.from_rows(range(100), rewards, step)
            scale.learn(batch)
            shift.learn(batch, values, norms, scale)
        optimum = 0.9 + shift.shift(scale).of(np.array([0.9]))[0]
        found.append(np.log(optimum / (1 - optimum)) - np.log(9))
    assert np.mean(found) == pytest.approx(np.log(0.15), abs=0.12)


def test_it_is_never_certain_of_norms_that_it_has_not_seen():
    baseline = kvar.make_baseline("variance-optimal")
    baseline.update(["a", "b"], [[1.0, 0.0], [1.0, 0.0]], 0, score_norm=np.full((2, 2), np.nan))
    adaptive = kvar.make_baseline("adaptive")
    adaptive.update(["a", "b"], [[1.0, 0.0], [1.0, 0.0]], 0)
    found = baseline.estimate(["a"], [[1.0, 1.0]], 1, score_norm=[[1.0, 2.0]])
    np.testing.assert_allclose(found, adaptive.estimate(["a"], [[1.0, 1.0]], 1), atol=1e-12)


@pytest.mark.parametrize("damaged", [[1.0, -1.0, 1.0], [1.0, 1.0, -1.0]])
def test_sums_of_squares_below_zero_are_refused(damaged):
    baseline = kvar.make_baseline("variance-optimal")
    state = baseline.state_dict()
    state["state"]["own_ratios"]["sums"] = damaged
    with pytest.raises(ValueError, match="sums of squares of own ratios"):
        baseline.load_state_dict(state)


@pytest.mark.parametrize("norm", [-1.0, math.inf])
def test_a_norm_that_is_none_is_named(norm):
    with pytest.raises(ValueError, match="score_norm holds"):
        kvar.make_baseline("variance-optimal").update(["a"], [1.0], 0, score_norm=[norm])
    with pytest.raises(ValueError, match="score_norm"):
        kvar.make_baseline("variance-optimal").update(["a"], [1.0], 0)
