"""The kernel baseline by hand and in all its forms; test_rivals.py compares it with a plain loop."""

import numpy as np
import pytest

import kvar


def test_kernel_by_hand():
    baseline = kvar.make_baseline("kernel", bandwidth=4)
    baseline.update(["a"], [[1.0, 0.0]], 1)  # weight 1 - 3/4 at step 4
    baseline.update(["a"], [[1.0, 1.0]], 2)  # weight 1 - 2/4
    value = baseline.estimate(["a"], [[0.0, 1.0]], 4)
    total, mass = 0.25 * 1 + 0.5 * 2, 0.25 * 2 + 0.5 * 2
    np.testing.assert_allclose(value, [[(total + 1) / (mass + 1), total / (mass + 1)]], rtol=1e-15)


def test_kernel_falls_back_to_the_other_prompts():
    baseline = kvar.make_baseline("kernel")
    np.testing.assert_allclose(baseline.estimate(["a", "b", "c"], [1.0, 0.0, 0.5], 0), [0.25, 0.75, 0.5])
    np.testing.assert_array_equal(baseline.estimate(["a"], [1.0], 0), [0.0])


def test_kernel_forgets_past_its_window():
    baseline = kvar.make_baseline("kernel", bandwidth=3)
    baseline.update(["a"], [1.0], 0)
    np.testing.assert_array_equal(baseline.estimate(["a"], [0.0], 2), [1.0])
    np.testing.assert_array_equal(baseline.estimate(["a"], [0.0], 3), [0.0])


def test_the_standard_error_of_the_kernel_estimate_by_hand():
    baseline = kvar.make_baseline("kernel")
    assert baseline.parameters["bandwidth"] == 10  # the paper's
    baseline.update(["a"], [[1.0, 0.0]], 0)
    actual = baseline.estimate(["a"], [[1.0, 0.0]], 5, return_info=True)
    # Two past rewards have weight 1/2 each, the other reward of the group has weight 1.
    values, size = np.array([[0.25, 0.75]]), 2.0**2 / (2 * 0.5**2 + 1.0)
    kept_off = (values * size + 4 * 0.5) / (size + 4)
    np.testing.assert_allclose(actual.values, values)
    np.testing.assert_allclose(actual.effective_sample_size, size)
    np.testing.assert_allclose(actual.standard_error, np.sqrt(kept_off * (1 - kept_off) / size))


def test_the_automatic_window_has_an_error_if_short_windows_are_empty():
    auto = kvar.make_baseline("kernel", bandwidth="auto")
    for step in range(0, 64, 16):
        auto.update(["a"], [float(step % 32 == 0)], step)
    actual = auto.estimate(["a"], [0.0], 64, return_info=True)
    # Windows of 32, 64, 128 and 256 steps hold 1, 3, 4 and 4 of the rewards.
    weights = [1 - np.arange(16, 80, 16) / window for window in (32, 64, 128, 256)]
    sizes = [w[w > 0].sum() ** 2 / (w[w > 0] ** 2).sum() for w in weights]
    assert min(sizes) <= actual.effective_sample_size[0] <= max(sizes)
    assert 0 < actual.standard_error[0] < 1
    never = auto.estimate(["b"], [0.0], 64, return_info=True)
    assert np.isnan(never.effective_sample_size[0])


# --- beyond the paper's estimate -----------------------------------------------------------------------------------


def fitted_line(lags, rewards, weights):
    """Value at lag 0 of a weighted straight line, and one over the sum of squares of its weights."""
    design = np.column_stack([np.ones(len(lags)), lags])
    hat = np.linalg.solve(design.T @ (weights[:, None] * design), design.T * weights)[0]
    return hat @ rewards, 1 / (hat**2).sum()


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("clock", ["steps", "visits"])
def test_degree_and_clock_against_weighted_least_squares(degree, clock, rng):
    baseline = kvar.make_baseline("kernel", bandwidth=9, kernel="epanechnikov", degree=degree, clock=clock)
    steps = np.cumsum(rng.integers(1, 3, size=12))
    history = []
    for visit, step in enumerate(steps):
        if visit % 3 != 1:
            rewards = rng.random(2)
            baseline.update(["a"], [rewards], step)
            history += [(step, r) for r in rewards]
        else:
            baseline.update(["b"], [[0.0, 1.0]], step)
    now, group = steps[-1] + 1, rng.random(3)
    actual = baseline.estimate(["a"], [group], now, return_info=True)
    visited = [step for step, _ in history]
    order = {step: k for k, step in enumerate(sorted(set(visited), reverse=True), start=1)}
    lags = np.array([now - step if clock == "steps" else order[step] for step in visited], dtype=float)
    for g in range(3):
        all_lags = np.concatenate([lags, [0.0, 0.0]])
        rewards = np.array([r for _, r in history] + np.delete(group, g).tolist())
        weights = np.maximum(0.75 * (1 - (all_lags / 9) ** 2), 0.0)
        if degree == 0:
            value, size = weights @ rewards / weights.sum(), weights.sum() ** 2 / (weights**2).sum()
        else:
            value, size = fitted_line(all_lags, rewards, weights)
        assert actual.values[0, g] == pytest.approx(value, rel=1e-10)
        assert actual.effective_sample_size[0, g] == pytest.approx(size, rel=1e-10)


def test_a_line_through_one_time_is_its_mean():
    baseline = kvar.make_baseline("kernel", degree=1)
    baseline.update(["a"], [[0.0, 1.0]], 0)
    np.testing.assert_allclose(baseline.estimate(["a"], [0.7], 3), [0.5])


def test_visits_are_kept_however_old():
    baseline = kvar.make_baseline("kernel", bandwidth=3, clock="visits")
    for step, reward in enumerate([1.0, 0.0, 0.5, 0.25]):
        baseline.update(["a"], [reward], 1000 * step)
    # Visits of age 1, 2 and 3 have weights 2/3, 1/3 and 0.
    np.testing.assert_allclose(baseline.estimate(["a"], [0.0], 10_000), [(0.25 * 2 + 0.5) / 3])


@pytest.mark.parametrize("bandwidth", [5, "auto"])
def test_the_standard_error_covers_a_steady_value(bandwidth):
    rng, n = np.random.default_rng(8), 400
    true_values = rng.uniform(0.1, 0.9, n)
    baseline = kvar.make_baseline("kernel", bandwidth=bandwidth)
    for step in range(20):
        rewards = (rng.random((n, 2)) < true_values[:, None]).astype(float)
        actual = baseline.estimate(range(n), rewards, step, return_info=True)
        baseline.update(range(n), rewards, step)
    hits = (np.abs(actual.values - true_values[:, None]) <= 1.96 * actual.standard_error).mean()
    # Nominal 95 percent, 400 prompts: a Monte Carlo standard error of 1.1; binomial intervals of small samples vary.
    assert 0.90 < hits < 0.99


def test_the_automatic_window_follows_the_drift():
    rng = np.random.default_rng(9)
    for period, best in ((25, 4.0), (10_000, 256.0)):
        auto = kvar.make_baseline("kernel", bandwidth="auto")
        fixed = {w: kvar.make_baseline("kernel", bandwidth=w) for w in (4.0, 256.0)}
        losses = dict.fromkeys([*fixed, "auto"], 0.0)
        for step in range(300):
            true_values = 0.5 + 0.45 * np.sin(2 * np.pi * (step / period + np.arange(16) / 16))
            rewards = (rng.random((16, 4)) < true_values[:, None]).astype(float)
            for name, baseline in [*fixed.items(), ("auto", auto)]:
                values = baseline.estimate(range(16), rewards, step)
                baseline.update(range(16), rewards, step)
                losses[name] += ((values - true_values[:, None]) ** 2).mean() if step >= 100 else 0.0
        # At most 10 % above the best window, plus a thousandth of the reward variance of 0.15 a step.
        assert losses["auto"] < 1.1 * losses[best] + 200 * 0.00015
        assert min(losses["auto"], losses[best]) == min(losses.values())


@pytest.mark.parametrize("name", ["kernel", "adaptive"])
def test_a_shared_drift_is_removed(name):
    rng = np.random.default_rng(10)
    start = rng.uniform(-3, 1, 32)
    settings = {"bandwidth": 60, "drift": True} if name == "kernel" else {}
    plain, moved = kvar.make_baseline("kernel", bandwidth=60), kvar.make_baseline(name, **settings)
    bias = {"plain": [], "moved": []}
    for step in range(200):
        true_values = 1 / (1 + np.exp(-start - step / 50))
        rewards = (rng.random((32, 2)) < true_values[:, None]).astype(float)
        for key, baseline in (("plain", plain), ("moved", moved)):
            values = baseline.estimate(range(32), rewards, step)
            baseline.update(range(32), rewards, step)
            if step >= 100:
                bias[key].append((values - true_values[:, None]).mean())
    assert np.mean(bias["plain"]) < -0.02
    assert abs(np.mean(bias["moved"])) < 0.25 * abs(np.mean(bias["plain"]))
