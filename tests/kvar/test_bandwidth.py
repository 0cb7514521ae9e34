"""Selectors against brute force on slow fits, the policies at the edges, and the report."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvar import KernelRegressor, select_bandwidth, theory
from kvar.smoothing.bandwidth import bandwidth_methods
from kvar.smoothing.design import Design
from kvar.smoothing.pilot import plug_in_pilot, polynomial_pilot
from tests.kvar import regression_reference as reference

METHODS = bandwidth_methods()
GRID = np.geomspace(0.04, 0.8, 9)


def _sample(n=120, seed=0, noise=0.3):
    rng = np.random.default_rng(seed)
    x = rng.random(n)
    return x, np.sin(6.0 * x) + noise * rng.standard_normal(n)


@pytest.mark.filterwarnings("ignore:the least score")
@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("kernel", ["uniform", "triangular", "epanechnikov", "tricube", "gaussian"])
def test_leave_one_out_is_brute_force(kernel, degree):
    x, y = _sample(80)
    x = np.round(x, 2)
    w = 0.5 + np.random.default_rng(1).random(x.size)
    chosen = select_bandwidth(x, y, "loo-cv", kernel, degree, grid=GRID, sample_weight=w)
    scores = []
    for h in GRID:
        residual = y - reference.leave_one_out(x, y, w, kernel, h, degree)
        scores.append(np.sum(w * residual**2) / np.sum(w))
    # The Gaussian sums come from a grid, within 1e-7 of the range of y.
    np.testing.assert_allclose(chosen.scores, scores, rtol=1e-5 if kernel == "gaussian" else 1e-11)
    assert chosen.bandwidth == GRID[np.argmin(scores)]


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("kernel", ["triangular", "epanechnikov", "exponential"])
def test_one_step_ahead_is_brute_force(kernel, degree):
    x, y = _sample()
    x = np.round(x, 2)
    grid = GRID[3:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        chosen = select_bandwidth(x, y, "one-step-ahead", kernel, degree, grid=grid)
    ranks = np.unique(x, return_inverse=True)[1]
    scored = ranks > degree
    scores = [
        np.mean((y - reference.predict(x, y, np.ones(x.size), x, kernel, h, degree, past=True))[scored] ** 2)
        for h in grid
    ]
    np.testing.assert_allclose(chosen.scores, scores, rtol=1e-10)
    assert chosen.sided == "past"
    assert chosen.n_scored == scored.sum()


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("method", ["gcv", "aicc"])
def test_penalised_scores_from_the_smoother_matrix(method, degree):
    x, y = _sample()
    x = np.round(x, 2)
    chosen = select_bandwidth(x, y, method, "biweight", degree, grid=GRID)
    n, scores = x.size, []
    for h in GRID:
        hat = reference.hat_matrix(x, np.ones(n), "biweight", h, degree)
        residual, trace = np.mean((y - hat @ y) ** 2), np.trace(hat)
        if method == "gcv":
            scores.append(residual / (1.0 - trace / n) ** 2)
        else:
            scores.append(math.log(residual) + 1.0 + 2.0 * (trace + 1.0) / (n - trace - 2.0))
    np.testing.assert_allclose(chosen.scores, scores, rtol=1e-11)


@pytest.mark.filterwarnings("ignore:the least score", "ignore:After 0.17:FutureWarning")
@pytest.mark.parametrize("degree", [0, 1])
def test_scores_are_those_of_statsmodels(degree):
    regression = pytest.importorskip("statsmodels.nonparametric.kernel_regression")
    x, y = _sample(60)
    theirs = regression.KernelReg(y, x, "c", reg_type=("lc", "ll")[degree], bw=[0.1])
    scores = [theirs.cv_loo(np.array([h]), theirs.est[theirs.reg_type]).item() for h in GRID]
    ours = select_bandwidth(x, y, "loo-cv", "gaussian", degree, grid=GRID).scores
    np.testing.assert_allclose(ours, scores, rtol=1e-5)
    if degree == 0:  # their trace is that of local means for lines too
        scores = [theirs.aic_hurvich(np.array([h])).item() for h in GRID]
        np.testing.assert_allclose(select_bandwidth(x, y, "aicc", "gaussian", grid=GRID).scores, scores, rtol=1e-5)


def _averaged_weights(aicc, kernel, n, n_per_series, width):
    # One wave of variance one over the range, noise of variance one: curvature 4 pi**2 / range**2.
    curvature = (2.0 * math.pi / width) ** 2
    best = theory.optimal_bandwidth(kernel, 1, n=n_per_series, noise=1.0, curvature=curvature, density=1.0 / width)
    log_weights = -0.25 * n * aicc - 0.5 * (np.log(GRID / best) / 0.9) ** 2
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum()


@pytest.mark.parametrize("degree", [0, 1])
def test_the_averaged_bandwidth_from_aicc_and_the_reference(degree):
    x, y = _sample()
    aicc = select_bandwidth(x, y, "aicc", "biweight", degree, grid=GRID).scores
    weights = _averaged_weights(aicc, "biweight", x.size, x.size, np.ptp(x))
    chosen = select_bandwidth(x, y, kernel="biweight", degree=degree, grid=GRID)
    np.testing.assert_allclose(chosen.weights, weights, rtol=1e-9)
    assert chosen.bandwidth == pytest.approx(np.exp(weights @ np.log(GRID)), rel=1e-12)
    assert chosen.method == "averaged"


def test_the_reference_of_many_series_is_that_of_their_mean_range():
    rng = np.random.default_rng(8)
    x, groups = np.concatenate([rng.random(100), 3.0 * rng.random(100)]), np.repeat([0, 1], 100)
    y = np.sin(6.0 * x) + groups + 0.3 * rng.standard_normal(200)
    aicc = select_bandwidth(x, y, "aicc", grid=GRID, groups=groups, empty="nearest").scores
    weights = _averaged_weights(aicc, "epanechnikov", 200, 100, np.mean([np.ptp(x[groups == g]) for g in (0, 1)]))
    chosen = select_bandwidth(x, y, grid=GRID, groups=groups, empty="nearest")
    np.testing.assert_allclose(chosen.weights, weights, rtol=1e-9)


def test_the_default_looking_back_is_one_step_ahead():
    chosen = select_bandwidth(*_sample(), kernel="triangular", sided="past")
    assert chosen.method == "one-step-ahead"
    assert chosen.bandwidth == chosen.grid[np.argmin(chosen.scores)]
    assert chosen.weights.tolist() == (chosen.grid == chosen.bandwidth).tolist()


def test_averaging_errs_less_than_minimising():
    # Binary responses, where the criterion is noisiest: mean error over samples, with its standard error.
    rng, differences = np.random.default_rng(9), []
    for _ in range(60):
        x = rng.random(100)
        truth = 0.5 + 0.3 * np.cos(6.0 * x)
        y = (rng.random(100) < truth).astype(float)
        errors = []
        for method in ("averaged", "aicc"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                h = select_bandwidth(x, y, method).bandwidth
            errors.append(np.mean((KernelRegressor("epanechnikov", h).fit(x, y).predict(x) - truth) ** 2))
        differences.append(errors[1] - errors[0])
    assert np.mean(differences) > 2.0 * np.std(differences) / math.sqrt(60)


def test_lepski_scores_from_the_smoother_matrices():
    x, y = _sample()
    noise = 0.5 * np.mean(np.diff(y[np.argsort(x)]) ** 2)
    chosen = select_bandwidth(x, y, "lepski", grid=GRID)
    hats = [reference.hat_matrix(x, np.ones(x.size), "epanechnikov", h, 0) for h in GRID]
    variances = [noise * np.mean(np.sum(hat**2, axis=1)) for hat in hats]
    for g in range(GRID.size):
        gaps = [np.mean(((hats[g] - hats[k]) @ y) ** 2) - variances[k] + variances[g] for k in range(g)]
        assert chosen.scores[g] == pytest.approx(max([0.0, *gaps]) + variances[g], rel=1e-10)


@pytest.mark.filterwarnings("ignore:the least score")
def test_groups_pool_their_squared_errors():
    rng = np.random.default_rng(3)
    n = 300
    x, groups = np.round(rng.random(n), 2), rng.choice(["a", "b", "c"], n)
    y = np.sin(6.0 * x) + (groups == "b") + 0.3 * rng.standard_normal(n)
    for method in ("loo-cv", "one-step-ahead"):
        grid = GRID[5:]
        pooled = select_bandwidth(x, y, method, grid=grid, groups=groups)
        past = method == "one-step-ahead"
        for h, score in zip(grid, pooled.scores, strict=True):
            residuals = []
            for group in "abc":
                mine = groups == group
                model = KernelRegressor("epanechnikov", h, sided="past" if past else "two").fit(x[mine], y[mine])
                scored = x[mine] > x[mine].min() if past else slice(None)
                residuals.append((y[mine] - model.loo_predict())[scored])
            assert score == pytest.approx(np.mean(np.concatenate(residuals) ** 2), rel=1e-11)


@pytest.mark.filterwarnings("ignore:the least score")
def test_a_series_too_short_to_predict_is_not_scored():
    x, y = [0.0, 0.1, 0.2, 0.3, 5.0], [1.0, 2.0, 3.0, 4.0, 50.0]
    chosen = select_bandwidth(x, y, grid=[0.15, 0.25, 0.5], groups=[0, 0, 0, 0, 1], empty="nearest")
    assert chosen.n_scored == 4
    with pytest.raises(ValueError, match="no observation has a neighbour"):
        select_bandwidth([0.0, 1.0], [1.0, 2.0], groups=[0, 1])


@pytest.mark.filterwarnings("ignore:the least score", "ignore:a single observation")
def test_points_without_a_neighbour_are_counted_and_reject():
    # The last point lies five steps away from the others, not far enough to stand apart.
    x = np.append(np.arange(60.0), 64.0)
    y = np.sin(0.1 * x)
    grid = [2.0, 3.0, 5.5, 7.0, 9.0]
    for method in ("loo-cv", "gcv", "aicc", "lepski"):
        chosen = select_bandwidth(x, y, method, grid=grid)
        np.testing.assert_array_equal(chosen.without_neighbour, [1, 1, 0, 0, 0])
        np.testing.assert_array_equal(np.isfinite(chosen.scores), [False, False, True, True, True])
        assert chosen.bandwidth >= 5.5
    answered = select_bandwidth(x, y, grid=grid, empty="nearest")
    assert np.isfinite(answered.scores).all()
    with pytest.raises(ValueError, match="every bandwidth leaves some observation without a neighbour"):
        select_bandwidth(x, y, grid=grid[:2])


@pytest.mark.filterwarnings("ignore:the least score")
@pytest.mark.parametrize("degree", [0, 1])
def test_points_that_stand_apart_are_scored_by_the_nearest(degree):
    x, y = _sample(60)
    x, y = np.append(x, [4.0, 4.0, 6.0]), np.append(y, [0.0, 9.0, 5.0])
    for method in ("loo-cv", "gcv", "aicc", "lepski"):
        chosen = select_bandwidth(x, y, method, degree=degree, grid=[0.2, 0.9, 2.5])
        np.testing.assert_array_equal(chosen.without_neighbour, [1 + 2 * degree, 1 + 2 * degree, degree])
        assert np.isfinite(chosen.scores).all()
        nearest = select_bandwidth(x, y, method, degree=degree, grid=[0.2, 0.9, 2.5], empty="nearest")
        np.testing.assert_array_equal(chosen.scores, nearest.scores)
    residual = y - KernelRegressor("epanechnikov", 0.2, degree, empty="nearest").fit(x, y).loo_predict()
    chosen = select_bandwidth(x, y, "loo-cv", degree=degree, grid=[0.2, 0.9])
    assert chosen.scores[0] == pytest.approx(np.mean(residual**2), rel=1e-12)


@pytest.mark.parametrize("method", ["averaged", "loo-cv"])
def test_small_windows_do_not_win_by_skipping_points(method):
    # Pure noise: the wider the better. A criterion that leaves lonely points out falls towards zero as h does.
    rng = np.random.default_rng(4)
    x, y = rng.random(200), rng.standard_normal(200)
    grid = np.geomspace(1e-5, 0.9, 40)
    for empty in ("nan", "nearest"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            assert select_bandwidth(x, y, method, grid=grid, empty=empty).bandwidth > 0.2


@pytest.mark.parametrize("method", ["averaged", "loo-cv"])
def test_the_end_of_the_grid_warns(method):
    x, y = _sample()
    with pytest.warns(UserWarning, match="upper end"):
        chosen = select_bandwidth(x, y, method, grid=[0.05, 0.06, 0.07])
    assert chosen.at_edge
    with pytest.warns(UserWarning, match="lower end"):
        select_bandwidth(x, y, method, grid=[0.5, 0.7, 0.9])


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_a_sensible_bandwidth(method, degree):
    x, y = _sample(400)
    chosen = select_bandwidth(x, y, method, degree=degree)
    truth = np.sin(6.0 * x)

    def error(h):
        model = KernelRegressor("epanechnikov", h, degree, chosen.sided, empty="nearest").fit(x, y)
        return np.nanmean((model.predict(x) - truth) ** 2)

    assert error(chosen.bandwidth) < 1.6 * min(error(h) for h in chosen.grid)
    assert chosen.grid.size == chosen.scores.size == 50
    assert np.all(np.diff(chosen.grid) > 0.0)


@pytest.mark.parametrize("method", METHODS)
def test_binary_responses(method):
    rng = np.random.default_rng(5)
    x = rng.random(600)
    y = rng.random(600) < 0.5 + 0.4 * np.sin(6.0 * x)
    assert 0.02 < select_bandwidth(x, y, method).bandwidth < 0.6


@pytest.mark.parametrize("kernel", ["uniform", "triangular", "gaussian"])
@pytest.mark.parametrize("degree", [0, 1])
def test_the_plug_in_approaches_the_optimal_bandwidth(kernel, degree):
    # sin(2 pi x) at even points: the mean of m''**2 is 8 pi**4, and that of the noise is known.
    n = 20_000
    x = (np.arange(n) + 0.5) / n
    y = np.sin(2.0 * math.pi * x) + 0.3 * np.random.default_rng(6).standard_normal(n)
    grid = np.geomspace(0.003, 0.5, 500)
    if degree == 1:
        best = theory.optimal_bandwidth(kernel, 1, n=n, noise=0.09, curvature=math.sqrt(8.0 * math.pi**4))
        got = select_bandwidth(x, y, "plug-in", kernel, 1, grid=grid).bandwidth
    else:
        best = theory.optimal_bandwidth(kernel, 0, n=n, noise=0.09, slope=math.sqrt(2.0 * math.pi**2), boundary=True)
        got = select_bandwidth(x, y, "plug-in", kernel, 0, grid=grid, sided="past").bandwidth
    assert got == pytest.approx(best, rel=0.06)


def test_pilots_know_a_quartic_exactly():
    x = np.linspace(0.0, 2.0, 500)
    y = 1.0 - x + 2.0 * x**2 - x**3 + 0.3 * x**4
    curvature = 4.0 - 6.0 * x + 3.6 * x**2
    design = Design.build(x, y + 1e-3 * np.random.default_rng(7).standard_normal(500))
    for pilot in (polynomial_pilot, plug_in_pilot):
        found = pilot(design, np.zeros(500))
        inner = np.abs(x - 1.0) <= (1.0 if pilot is polynomial_pilot else 0.9)
        assert found.curvature_square == pytest.approx(np.mean(curvature[inner] ** 2), rel=0.02)
        assert found.noise == pytest.approx(1e-6, rel=0.2)


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 40), st.integers(0, 10**6), st.sampled_from(METHODS), st.sampled_from([0, 1]))
def test_order_does_not_matter_and_units_do_not(n, seed, method, degree):
    rng = np.random.default_rng(seed)
    x, y = np.round(rng.random(n), 3), rng.standard_normal(n)
    order = rng.permutation(n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            plain = select_bandwidth(x, y, method, degree=degree)
        except ValueError as error:
            assert "bandwidth leaves" in str(error) or "neighbour" in str(error)  # noqa: PT017
            return
        moved = select_bandwidth(4.0 * x[order] + 1.0, y[order], method, degree=degree)
    np.testing.assert_allclose(moved.grid, 4.0 * plain.grid, rtol=1e-9)
    known = np.isfinite(plain.scores) & np.isfinite(moved.scores)
    if method != "plug-in":
        np.testing.assert_allclose(moved.scores[known], plain.scores[known], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "magic"}, "method must be one of"),
        ({"method": "gcv", "sided": "past"}, "use one-step-ahead"),
        ({"method": "averaged", "sided": "past"}, "use one-step-ahead"),
        ({"method": "plug-in", "groups": np.zeros(120)}, "describes one curve"),
        ({"kernel": "exponential"}, "looks back only"),
        ({"grid": [0.0, 1.0]}, "positive finite"),
        ({"groups": [1, 2]}, "groups must have one entry"),
    ],
)
def test_a_bad_request_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        select_bandwidth(*_sample(), **change)


def test_too_few_observations_for_a_quartic():
    with pytest.raises(ValueError, match="more than 5"):
        select_bandwidth([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], "rule-of-thumb")


def test_zero_weights_drop_observations():
    x, y = _sample()
    w = np.ones(x.size)
    plain = select_bandwidth(x, y, grid=GRID)
    more = select_bandwidth(np.append(x, 50.0), np.append(y, 1e9), grid=GRID, sample_weight=np.append(w, 0.0))
    np.testing.assert_allclose(more.scores, plain.scores, rtol=1e-13)


def test_the_plot_shows_scores_and_choice():
    pytest.importorskip("matplotlib").use("Agg")
    for method, n_shaded in (("averaged", 1), ("loo-cv", 0)):
        chosen = select_bandwidth(*_sample(), method, grid=GRID)
        axes = chosen.plot()
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), chosen.scores)
        assert axes.lines[1].get_xdata()[0] == chosen.bandwidth
        assert len(axes.collections) == n_shaded
        assert axes.get_ylim()[0] < chosen.scores.min() < axes.get_ylim()[1]
        assert chosen.plot(axes) is axes
