"""The fast estimates against the slow loops, and the laws that an estimate obeys."""

import importlib.util
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import validate_data

import kvar
from kvar import KernelRegressor
from kvar.kernels import GAUSSIAN, CompactKernel, get_kernel, kernel_names
from kvar.smoothing.design import Design, running_sums
from kvar.smoothing.sums import engine
from kvar.smoothing.sums.fft import binned_sums
from kvar.smoothing.sums.neighbour_sums import neighbour_sums
from tests.kvar import regression_reference as reference

KERNELS = kernel_names()
ENGINES = [False, True] if importlib.util.find_spec("numba") else [False]
COMPACT = [name for name in KERNELS if isinstance(get_kernel(name), CompactKernel)]
SIDES = ["two", "past"]


def _sides(kernel):
    return ["past"] if get_kernel(kernel).one_sided else SIDES


CASES = [(name, degree, sided) for name in KERNELS for degree in (0, 1) for sided in _sides(name)]


def _points(layout, n, rng):
    if layout == "plain":
        return rng.random(n)
    if layout == "ties":
        return np.round(rng.random(n), 2)
    if layout == "clusters":
        return (rng.permutation(n // 5)[:, None] / (n // 5) + 1e-6 * np.arange(5)).ravel()[rng.permutation(n)]
    if layout == "grid":
        return rng.permutation(n) / 128.0  # spacing and bandwidth are dyadic: neighbours at exactly one bandwidth
    return 1.7e9 + np.round(1e4 * rng.random(n))


LAYOUTS = ["plain", "ties", "clusters", "grid", "epoch"]


def _vector_reference(x, y, w, targets, kernel, h, degree, past, leave_out):
    """The formulas of `reference` for many targets at once: estimates, and the sum of ``|l_j y_j|``."""
    kernel = get_kernel(kernel)
    difference = x[None, :] - targets[:, None]
    k = w * kernel(np.abs(difference) / h)
    if past:
        k = np.where(difference < 0.0, k, 0.0)
    elif leave_out:
        np.fill_diagonal(k, 0.0)
    total = k.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        row = k / total
        if degree == 1:
            u = difference / h
            mean = np.sum(row * u, axis=1, keepdims=True)
            spread = np.sum(row * (u - mean) ** 2, axis=1, keepdims=True)
            line = row * (1.0 - mean * (u - mean) / spread)
            row = np.where(spread > 1e-26, line, row)
    row[total[:, 0] == 0.0] = np.nan
    # The rows sum to one. Responses measured from the local mean keep the digits where a slope hangs on a tiny weight.
    mean = (k @ y) / np.where(total > 0.0, total, 1.0)[:, 0]
    return mean + np.sum(row * (y - mean[:, None]), axis=1), np.sum(np.abs(row * y), axis=1)


def test_the_vectorised_oracle_is_the_loop():
    rng = np.random.default_rng(0)
    x, y, w = np.round(rng.random(60), 2), rng.normal(size=60), rng.random(60)
    for kernel, degree, sided in CASES:
        past = sided == "past"
        fast = _vector_reference(x, y, w, x, kernel, 0.05, degree, past, not past)[0]
        slow = reference.leave_one_out(x, y, w, kernel, 0.05, degree, past)
        np.testing.assert_allclose(fast, slow, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("kernel", "degree", "sided"), [c for c in CASES if c[0] in COMPACT])
def test_exact_against_direct_sums(monkeypatch, kernel, degree, sided, layout):
    rng = np.random.default_rng(7)
    n = 2000
    x, w = _points(layout, n, rng), rng.random(n)
    width = np.ptp(x)
    y = np.sin(6.0 * (x - x.min()) / width) + 0.3 * rng.standard_normal(n)
    for h in (0.0625, 0.5) if layout == "grid" else (0.02 * width, 0.3 * width):
        model = KernelRegressor(kernel, h, degree, sided).fit(x, y, w)
        past = sided == "past"
        for leave_out in (False, True):
            expected, _ = _vector_reference(x, y, w, x, kernel, h, degree, past, leave_out)
            seen = ~np.isnan(expected)
            for installed in ENGINES:
                monkeypatch.setattr(engine, "numba_installed", lambda installed=installed: installed)
                got = model.loo_predict() if leave_out else model.predict(x)
                np.testing.assert_array_equal(np.isnan(got), ~seen)
                assert np.max(np.abs(got - expected)[seen]) < 1e-12


@pytest.mark.parametrize(("kernel", "degree", "sided"), [c for c in CASES if c[0] not in COMPACT])
def test_kernels_with_tails_against_direct_sums(engine, kernel, degree, sided):
    rng = np.random.default_rng(3)
    n = 400
    x, w = np.append(rng.random(n - 1), 2.0), rng.random(n)
    y = np.sin(6.0 * x) + 0.3 * rng.standard_normal(n)
    for h in (0.05, 0.4):
        model = KernelRegressor(kernel, h, degree, sided).fit(x, y, w)
        for got, leave_out in ((model.predict(x), False), (model.loo_predict(), True)):
            expected, size = _vector_reference(x, y, w, x, kernel, h, degree, sided == "past", leave_out)
            np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
            seen = ~np.isnan(expected)
            assert np.max(np.abs(got - expected)[seen] / np.maximum(size[seen], 1.0)) < 1e-12


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("kernel", ["uniform", "tricube"])
def test_exact_at_a_million_points(engine, kernel, degree):
    rng = np.random.default_rng(1)
    n, h = 1_000_000, 1e-3
    x = np.sort(rng.random(n))
    y = np.sin(6.0 * x) + rng.standard_normal(n)
    fit = KernelRegressor(kernel, h, degree).fit(x, y).predict(x)
    weigh = get_kernel(kernel)
    for i in rng.choice(n, 1000, replace=False):
        near = slice(*np.searchsorted(x, [x[i] - 1.01 * h, x[i] + 1.01 * h]))
        u = (x[near] - x[i]) / h
        k = weigh(u)
        mean = np.sum(k * u) / np.sum(k) if degree else 0.0
        slope = np.sum(k * (u - mean) * y[near]) / np.sum(k * (u - mean) ** 2) if degree else 0.0
        assert abs(fit[i] - (np.sum(k * y[near]) / np.sum(k) - mean * slope)) < 1e-9


@pytest.mark.parametrize(("kernel", "degree", "sided"), CASES)
def test_elsewhere(engine, kernel, degree, sided):
    rng = np.random.default_rng(5)
    x, w = np.round(rng.random(150), 2), rng.random(150)
    y = rng.standard_normal(150)
    targets = np.concatenate([rng.random(40), x[:10], [-0.05, 1.05, 7.0]])
    got = KernelRegressor(kernel, 0.11, degree, sided).fit(x, y, w).predict(targets)
    expected, size = _vector_reference(x, y, w, targets, kernel, 0.11, degree, sided == "past", False)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    seen = ~np.isnan(expected)
    assert np.max(np.abs(got - expected)[seen] / np.maximum(size[seen], 1.0)) < 1e-12


def test_engines_agree_on_rows_of_every_kind(monkeypatch):
    rng = np.random.default_rng(11)
    x = np.concatenate([rng.random(50), 3.0 + 1e-9 * rng.random(50), np.full(5, 9.0)])
    groups = rng.integers(0, 4, x.size)
    design = Design.build(x, rng.standard_normal(x.size), np.exp(8.0 * rng.standard_normal(x.size)), groups)
    for name, degree, sided in CASES:
        rows = []
        for installed in (True, False):
            monkeypatch.setattr(engine, "numba_installed", lambda installed=installed: installed)
            rows.append(neighbour_sums(design, get_kernel(name), 0.2, past=sided == "past", degree=degree))
        # The mean distance and what is centred at it mean nothing where nobody has weight.
        known = rows[0][0] > 0.0
        scale = np.max(np.abs(rows[0]), axis=1, keepdims=True)
        np.testing.assert_allclose((rows[0] / scale)[:, known], (rows[1] / scale)[:, known], rtol=1e-7, atol=1e-13)


def test_series_do_not_see_each_other(engine):
    rng = np.random.default_rng(2)
    x, y, groups = rng.random(300), rng.standard_normal(300), rng.integers(0, 7, 300)
    kernel = get_kernel("epanechnikov")
    together = Design.build(x, y, None, groups)
    sums = neighbour_sums(together, kernel, 0.2, past=False, degree=1)[:, together.member]
    for group in range(7):
        mine = groups == group
        alone = Design.build(x[mine], y[mine])
        expected = neighbour_sums(alone, kernel, 0.2, past=False, degree=1)[:, alone.member]
        np.testing.assert_allclose(sums[:, mine], expected, rtol=1e-12, atol=1e-13)


finite = st.floats(-100.0, 100.0).map(lambda v: round(v, 3))
samples = st.lists(st.tuples(finite, finite, st.integers(1, 3)), min_size=1, max_size=30)
fast = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fast
@given(samples, st.sampled_from(CASES), st.floats(0.01, 300.0))
def test_any_sample_matches_the_loop(engine, sample, case, h):
    kernel, degree, sided = case
    x, y, w = (np.array(column, dtype=float) for column in zip(*sample, strict=True))
    got = KernelRegressor(kernel, h, degree, sided).fit(x, y, w).predict(x)
    expected, size = _vector_reference(x, y, w, x, kernel, h, degree, sided == "past", False)
    u = np.abs(x[:, None] - x) / h
    # Weights that underflow, or lines through all but one point, are no test of arithmetic.
    sound = ~np.isnan(expected) & (size < 1e6) & ~np.any((u > 8.0) & (u < 40.0), axis=1)
    np.testing.assert_allclose(got[sound], expected[sound], rtol=1e-9, atol=1e-9)


@fast
@given(samples, st.sampled_from(CASES), st.floats(0.5, 50.0))
def test_integer_weights_are_repeated_rows(sample, case, h):
    kernel, degree, sided = case
    x, y, w = (np.array(column, dtype=float) for column in zip(*sample, strict=True))
    times = w.astype(int)
    model = KernelRegressor(kernel, h, degree, sided).fit(x, y, w)
    rows = KernelRegressor(kernel, h, degree, sided).fit(np.repeat(x, times), np.repeat(y, times))
    a, b = model.local_fit(x), rows.local_fit(x)
    sound = ~np.isnan(a.estimate) & (a.weight > 1e-6)
    scale = 1.0 + np.max(np.abs(a.estimate[sound]), initial=0.0)
    np.testing.assert_allclose(a.estimate[sound] / scale, b.estimate[sound] / scale, atol=1e-9)
    np.testing.assert_allclose(model.degrees_of_freedom(), rows.degrees_of_freedom(), rtol=1e-7)


@fast
@given(samples, st.sampled_from([c for c in CASES if c[1] == 0]), st.floats(0.5, 50.0), st.randoms())
def test_order_and_zero_weights_change_nothing(sample, case, h, random):
    kernel, degree, sided = case
    shuffled = [*sample, (0.5, 1e6, 0)]
    random.shuffle(shuffled)
    targets = np.linspace(-100.0, 100.0, 21)

    def fit(rows):
        x, y, w = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
        return KernelRegressor(kernel, h, degree, sided).fit(x, y, w).predict(targets)

    a, b = fit(sample), fit(shuffled)
    np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("kernel", "degree", "sided"), CASES)
def test_equivariance(kernel, degree, sided):
    rng = np.random.default_rng(4)
    x, y = rng.random(80), rng.standard_normal(80)
    plain = KernelRegressor(kernel, 0.2, degree, sided).fit(x, y).predict(x)
    moved = KernelRegressor(kernel, 0.8, degree, sided).fit(4.0 * x - 3.0, 2.0 * y + 1.0).predict(4.0 * x - 3.0)
    np.testing.assert_allclose(moved, 2.0 * plain + 1.0, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_line_is_reproduced(kernel):
    x = np.random.default_rng(6).random(60)
    for sided in _sides(kernel):
        fit = KernelRegressor(kernel, 0.4, 1, sided).fit(x, 3.0 - 2.0 * x).local_fit(x)
        sound = ~fit.empty & ~fit.degenerate
        np.testing.assert_allclose(fit.estimate[sound], (3.0 - 2.0 * x)[sound], atol=1e-9)


def test_equal_times_never_see_each_other(engine):
    x, y = np.array([0.0, 1.0, 1.0, 2.0]), np.array([1.0, 5.0, 7.0, 9.0])
    model = KernelRegressor("triangular", 4.0, sided="past").fit(x, y)
    expected = [math.nan, 1.0, 1.0, (1.0 * 0.5 + 12.0 * 0.75) / 2.0]
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-15)
    np.testing.assert_array_equal(model.loo_predict(), model.predict(x))


def test_the_edge_of_the_window_is_inside(engine):
    x = np.array([0.0, 0.1, 0.2, 0.30000000000000004, 0.4])
    y = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    got = KernelRegressor("uniform", 0.1).fit(x, y).predict(x)
    np.testing.assert_allclose(got, reference.predict(x, y, np.ones(5), x, "uniform", 0.1, 0), rtol=1e-15)


def test_leave_one_out_takes_one_observation_not_the_tie():
    model = KernelRegressor("uniform", 0.1).fit([0.0, 0.0, 0.0, 1.0], [1.0, 2.0, 6.0, 9.0])
    np.testing.assert_allclose(model.loo_predict(), [4.0, 3.5, 1.5, math.nan])


def test_a_light_observation_at_the_point_of_a_heavy_one():
    model = KernelRegressor("epanechnikov", 0.5).fit([0.0, 0.0, 5.0], [1e9, 1.0, 0.0], [1e17, 1e-3, 1.0])
    assert model.loo_predict()[0] == pytest.approx(1.0, rel=1e-14)


def test_empty_windows():
    x, y = [0.0, 0.0, 1.0, 4.0], [1.0, 3.0, 5.0, 9.0]
    targets = [-9.0, 0.4, 0.5, 2.5, 8.0]
    nan = math.nan
    for sided, expected in (("two", [2.0, 2.0, 3.5, 7.0, 9.0]), ("past", [nan, 2.0, 2.0, 5.0, 9.0])):
        lonely = KernelRegressor("epanechnikov", 0.1, sided=sided).fit(x, y)
        np.testing.assert_array_equal(lonely.predict(targets), [nan] * 5)
        assert lonely.local_fit(targets).empty.all()
        answered = KernelRegressor("epanechnikov", 0.1, sided=sided, empty="nearest").fit(x, y)
        np.testing.assert_allclose(answered.predict(targets), expected)
    two = KernelRegressor("epanechnikov", 0.1, empty="nearest").fit(x, y)
    np.testing.assert_allclose(two.loo_predict(), [3.0, 1.0, 2.0, 5.0])
    past = KernelRegressor("epanechnikov", 0.1, sided="past", empty="nearest").fit(x, y)
    np.testing.assert_allclose(past.loo_predict(), [nan, nan, 2.0, 5.0])


def test_a_line_through_one_point_is_the_mean_and_flagged():
    fit = KernelRegressor("triangular", 1.0, 1).fit([0.0, 0.0, 5.0], [1.0, 3.0, 9.0]).local_fit([0.1, 5.0, 2.5])
    np.testing.assert_allclose(fit.estimate, [2.0, 9.0, math.nan])
    np.testing.assert_array_equal(fit.degenerate, [True, True, False])
    np.testing.assert_array_equal(fit.empty, [False, False, True])


@pytest.mark.parametrize("x", [[3.0], [3.0, 3.0, 3.0], [0.0, 1e-300], [-1e300, 1e300], [1, 2, 2**60]])
@pytest.mark.parametrize("degree", [0, 1])
def test_odd_samples(engine, x, degree):
    y = np.arange(len(x), dtype=float)
    for sided in SIDES:
        for h in (1e-290, 1.0, 1e290):
            fit = KernelRegressor("biweight", h, degree, sided, empty="nearest").fit(x, y)
            got = fit.predict(x)
            assert np.all((got >= -1e-9) & (got <= y[-1] + 1e-9) | np.isnan(got))


@pytest.mark.parametrize(("kernel", "degree"), [(c[0], c[1]) for c in CASES if c[2] == "two"])
def test_freedom_and_standard_errors_from_the_smoother_matrix(engine, kernel, degree):
    rng = np.random.default_rng(8)
    x, w = np.round(rng.random(70), 2), 0.5 + rng.random(70)
    y = rng.standard_normal(70)
    model = KernelRegressor(kernel, 0.15, degree).fit(x, y, w)
    hat = reference.hat_matrix(x, w, kernel, 0.15, degree)
    assert model.degrees_of_freedom() == pytest.approx(np.trace(hat), rel=1e-11)
    norm = np.sum(hat**2 / w, axis=1)
    noise = np.sum(w * (y - hat @ y) ** 2) / (np.sum(w) - 2.0 * np.trace(hat) + np.sum(w * norm))
    assert model.noise_variance() == pytest.approx(noise, rel=1e-11)
    np.testing.assert_allclose(model.local_fit(x).standard_error, np.sqrt(noise * norm), rtol=1e-10)


@pytest.mark.parametrize("noise", ["constant", "local"])
@pytest.mark.parametrize("degree", [0, 1])
def test_bands_cover(degree, noise):
    rng = np.random.default_rng(9)
    repetitions, targets = 250, np.array([0.1, 0.5, 0.9])
    x = np.sort(rng.random(300))
    inside = np.zeros(3)
    for _ in range(repetitions):
        spread = 0.5 if noise == "constant" else 0.2 + x
        band = (
            KernelRegressor("epanechnikov", 0.1, degree)
            .fit(x, 1.0 + spread * rng.standard_normal(300))
            .confidence_band(targets, level=0.9, noise=noise)
        )
        inside += (band.lower <= 1.0) & (band.upper >= 1.0)
    # Four Monte Carlo standard errors; local noise is estimated from a window only, which costs a few percent.
    slack = 4.0 * math.sqrt(0.9 * 0.1 / repetitions) + (0.03 if noise == "local" else 0.0)
    assert np.all(np.abs(inside / repetitions - 0.9) < slack)


def test_binary_responses_stay_probabilities():
    rng = np.random.default_rng(10)
    x = rng.random(300)
    y = rng.random(300) < x
    fit = KernelRegressor("tricube", 0.2).fit(x, y).predict(np.linspace(0.0, 1.0, 50))
    assert np.all((fit >= 0.0) & (fit <= 1.0))


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-7, 1e-10])
def test_the_binned_gaussian_keeps_its_bound(tolerance):
    rng = np.random.default_rng(12)
    x = np.concatenate([rng.random(1200), 1.5 + 0.1 * rng.random(20), [4.0]])
    y = 5.0 + rng.standard_normal(x.size)
    for h in (0.02, 0.3):
        design = Design.build(x, y)
        sums, safe = binned_sums(design, h, tolerance)
        exact = neighbour_sums(design, GAUSSIAN, h, past=False, degree=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.abs(sums[1] / sums[0] - exact[1] / exact[0])
        assert np.count_nonzero(safe) > (1000 if tolerance >= 1e-7 else -1)
        assert np.max(error[safe], initial=0.0) <= tolerance * np.ptp(y)
        near = KernelRegressor("gaussian", h, tolerance=tolerance).fit(x, y)
        full = KernelRegressor("gaussian", h).fit(x, y)
        assert np.max(np.abs(near.predict(x) - full.predict(x))) <= tolerance * np.ptp(y)
        assert np.nanmax(np.abs(near.loo_predict() - full.loo_predict())) <= tolerance * np.ptp(y)


def test_running_sums_carry_no_rounding_across_blocks():
    values = np.concatenate([np.full(50, 1e15), np.full(50, 1e-3)])[None]
    firsts = np.array([0, 50])
    np.testing.assert_allclose(running_sums(values, firsts)[0, 50:], 1e-3 * np.arange(50), rtol=1e-13, atol=1e-18)
    ahead = running_sums(values, firsts, backwards=True, inclusive=True)
    np.testing.assert_allclose(ahead[0, 50:], 1e-3 * np.arange(50, 0, -1), rtol=1e-13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": "gauss"}, "unknown kernel"),
        ({"bandwidth": 0.0}, "bandwidth must be a positive number"),
        ({"bandwidth": math.nan}, "bandwidth must be a positive number"),
        ({"bandwidth": [0.1]}, "bandwidth must be a positive number"),
        ({"degree": 3}, "degree must be one of"),
        ({"sided": "left"}, "sided must be one of"),
        ({"empty": "zero"}, "empty must be one of"),
        ({"kernel": "exponential"}, 'use sided="past"'),
    ],
)
def test_a_bad_parameter_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        KernelRegressor(**change).fit([0.0, 1.0], [0.0, 1.0])


@pytest.mark.parametrize(
    ("x", "y", "w", "message"),
    [
        ([0.0, 1.0], [0.0], None, "same length"),
        ([], [], None, "no observations"),
        ([0.0, math.nan], [0.0, 1.0], None, "x contains NaN"),
        ([0.0, 1.0], [0.0, math.inf], None, "y contains NaN"),
        ([[0.0, 1.0]], [0.0], None, "one-dimensional"),
        ([0.0, 1.0], [0.0, 1.0j], None, "Complex"),
        ([0.0, 1.0], [0.0, 1.0], [1.0], "one entry per observation"),
        ([0.0, 1.0], [0.0, 1.0], [1.0, -1.0], "non-negative"),
        ([0.0, 1.0], [0.0, 1.0], [0.0, 0.0], "not all zero"),
    ],
)
def test_bad_data_are_named(x, y, w, message):
    with pytest.raises(ValueError, match=message):
        KernelRegressor().fit(x, y, w)


def test_not_fitted():
    calls = {"predict": ([0.0],), "local_fit": ([0.0],), "confidence_band": ([0.0],), "score": ([0.0], [1.0])}
    for name in (*calls, "loo_predict", "degrees_of_freedom", "noise_variance"):
        with pytest.raises(NotFittedError, match="KernelRegressor"):
            getattr(KernelRegressor(), name)(*calls.get(name, ()))


def _wave(n=200, seed=13):
    rng = np.random.default_rng(seed)
    x = 50.0 * rng.random((n, 1))
    return x, np.sin(x[:, 0] / 8.0) + 0.1 * rng.standard_normal(n)


def test_clones_pipelines_and_grid_searches():
    model = KernelRegressor("biweight", 0.3, degree=1, empty="nearest")
    assert clone(model).get_params() == model.get_params()
    x, y = _wave()
    pipeline = make_pipeline(MinMaxScaler(), model)
    search = GridSearchCV(pipeline, {"kernelregressor__bandwidth": [0.05, 0.1, 5.0]}, cv=4).fit(x, y)
    assert search.best_params_["kernelregressor__bandwidth"] < 5.0
    assert search.best_score_ > 0.9
    np.testing.assert_array_equal(model.fit(x, y).predict(x), model.fit(x[:, 0], y).predict(x[:, 0]))


def test_an_empty_window_makes_the_score_nan():
    assert math.isnan(KernelRegressor(bandwidth=0.1).fit([0.0, 1.0], [0.0, 1.0]).score([0.0, 0.5], [0.0, 1.0]))


def test_weights_are_routed_to_fits_and_scores():
    x, y = _wave()
    w, folds = np.random.default_rng(14).random(y.size) ** 4, KFold(4)
    model = KernelRegressor(bandwidth=5.0)
    expected = [model.fit(x[a], y[a], w[a]).score(x[b], y[b], w[b]) for a, b in folds.split(x)]
    with config_context(enable_metadata_routing=True):
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            cross_val_score(model, x, y, cv=folds, params={"sample_weight": w})
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scores = cross_val_score(model, x, y, cv=folds, params={"sample_weight": w})
        piped = make_pipeline(model).fit(x, y, sample_weight=w).predict(x)
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    np.testing.assert_array_equal(piped, model.fit(x, y, w).predict(x))
    assert not np.allclose(scores, cross_val_score(model, x, y, cv=folds), rtol=1e-3)


def test_the_name_of_the_column_is_kept():
    pandas = pytest.importorskip("pandas")
    x, y = _wave()
    model = KernelRegressor(bandwidth=5.0).fit(pandas.DataFrame(x, columns=["step"]), y)
    assert (model.n_features_in_, *model.feature_names_in_) == (1, "step")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(pandas.DataFrame(x, columns=["time"]))


class FirstColumn(KernelRegressor):
    """The regression on the first of many columns."""

    def _points(self, x, reset=False):
        return validate_data(self, x, reset=reset, dtype=np.float64)[:, 0]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = False
        return tags


@pytest.mark.filterwarnings("ignore")  # the checks warn about themselves
def test_scikit_learn_estimator_checks_fail_for_one_reason_only():
    def failed(model):
        results = check_estimator(model, on_fail=None, on_skip=None)
        assert sum(result["status"] == "passed" for result in results) >= 36
        return {result["check_name"] for result in results if result["status"] == "failed"}

    assert failed(KernelRegressor()) == set(re.findall(r"check_\w+", KernelRegressor.__doc__))
    # With many columns to choose one from, nothing is missing but what the other columns say of the response.
    assert failed(FirstColumn(bandwidth=0.1)) == {"check_regressors_train"}
    # The candidates for a bandwidth depend on the rows.
    assert failed(FirstColumn()) == {"check_regressors_train", "check_sample_weight_equivalence_on_dense_data"}


def test_importing_kvar_is_light_and_the_regressor_comes_when_it_is_asked_for():
    code = """
import sys, kvar
print(sorted({'numba', 'sklearn', 'matplotlib', 'scipy', 'polars'} & set(sys.modules)), 'KernelRegressor' in dir(kvar))
from kvar import KernelRegressor
print(KernelRegressor is kvar.KernelRegressor)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[] True\nTrue\n"
    with pytest.raises(AttributeError, match="KernelRegression"):
        _ = kvar.KernelRegression


@pytest.mark.filterwarnings("ignore:After 0.17:FutureWarning")
@pytest.mark.parametrize("degree", [0, 1])
def test_estimates_are_those_of_statsmodels(degree):
    regression = pytest.importorskip("statsmodels.nonparametric.kernel_regression")
    x, y = _wave(60)
    targets = np.linspace(0.0, 50.0, 30)
    theirs = regression.KernelReg(y, x[:, 0], "c", reg_type=("lc", "ll")[degree], bw=[4.0]).fit(targets)[0]
    ours = KernelRegressor("gaussian", 4.0, degree).fit(x, y).predict(targets)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_points_without_neighbours_tell_no_variance():
    fitted = KernelRegressor(bandwidth=0.5).fit([0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    for noise in ("local", "constant"):
        assert np.isnan(fitted.local_fit([0.0], noise=noise).standard_error).all()
