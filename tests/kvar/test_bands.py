"""Limits of fits and rates: against slow formulas and peers, inside their bounds, and as often right as they say."""

import math

import numpy as np
import pytest
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

from kvar import KernelRegressor
from kvar.baselines import Estimate
from kvar.intervals import rate_limits
from kvar.kernels import get_kernel
from kvar.smoothing import smoother_rows as rows_module
from kvar.smoothing.bands import level_at_each
from kvar.smoothing.design import Design
from kvar.smoothing.local_fits import FitsAtTargets, fit_points
from kvar.smoothing.noise import constant_noise_freedom, rate_noise
from kvar.smoothing.smoother_rows import smoother_rows
from tests.kvar import regression_reference as reference


def test_rates_with_a_few_successes_and_failures_have_wilsons_limits():
    for size in (5.0, 33.3, 400.0):
        rate = np.linspace(1.5 / size, 1.0 - 1.5 / size, 21)
        found = rate_limits(rate, np.full(21, size), 0.9)
        np.testing.assert_allclose(found, proportion_confint(rate * size, size, alpha=0.1, method="wilson"), rtol=1e-12)


def test_limits_of_rates_mirror_contain_and_rise():
    rate = np.linspace(0.0, 1.0, 501)
    for size in (0.3, 3.0, 40.0, 1e6):
        low, high = rate_limits(rate, size)
        mirrored = rate_limits(1.0 - rate, size)
        np.testing.assert_allclose([1.0 - mirrored[1], 1.0 - mirrored[0]], [low, high], atol=1e-9)
        assert np.all((low >= 0.0) & (low <= rate) & (rate <= high) & (high <= 1.0))
        assert np.all(np.diff(low) >= -1e-12)
        assert low[0] == 0.0
        assert high[-1] == 1.0
    for unknown in (0.0, 0.2, 1.0):
        assert np.isnan(rate_limits(unknown, np.nan)).all()
    wide, narrow = rate_limits(0.03, 20.0, 0.99), rate_limits(0.03, 20.0, 0.8)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_limits_of_rates_with_extra_variance_are_where_the_score_test_ends():
    rate, size, extra = np.array([0.1, 0.4, 0.8]), np.array([30.0, 8.0, 12.0]), np.array([0.001, 0.01, 0.003])
    for limit in rate_limits(rate, size, 0.9, extra):
        score = (rate - limit) / np.sqrt(limit * (1.0 - limit) / size + extra)
        np.testing.assert_allclose(np.abs(score), norm.ppf(0.95), rtol=1e-9)


def test_the_limit_for_a_single_success_is_that_of_a_compound_poisson_sum():
    rng = np.random.default_rng(0)
    size, n = 20.0, 100_000
    for successes in (0.8, 1.0, 1.3):
        low, _ = rate_limits(successes / size, size)
        count = rng.poisson(low * size / 0.7, n)  # weights with mean 0.7 and largest 1.4
        total = np.bincount(np.repeat(np.arange(n), count), rng.uniform(0.0, 1.4, count.sum()), n)
        assert np.mean(total <= successes) == pytest.approx(0.95, abs=4.0 * math.sqrt(0.95 * 0.05 / n))


@pytest.mark.parametrize("kernel", ["uniform", "epanechnikov", "gaussian"])
@pytest.mark.parametrize("past", [False, True])
def test_rows_of_the_smoother_matrix(monkeypatch, kernel, past):
    rng = np.random.default_rng(1)
    x, w = np.sort(np.round(rng.random(60), 2)), 0.5 + rng.random(60)
    design = Design.build(x, rng.standard_normal(60), w)
    targets = np.linspace(0.1, 1.1, 23)
    for block in (1, 200, 1 << 20):
        monkeypatch.setattr(rows_module, "_BLOCK", block)
        for degree in (0, 1, 2):
            found = np.zeros((targets.size, design.x.size))
            for rows, columns, weights in smoother_rows(
                design, targets, get_kernel(kernel), 0.2, past=past, degree=degree
            ):
                found[rows] = 0.0
                found[rows, columns] = weights
            for t, row in zip(targets, found, strict=True):
                k = reference.neighbour_weights(design.x, design.w, t, kernel, 0.2, past)
                powers = np.vander(design.x - t, degree + 1, increasing=True)
                if np.count_nonzero(k) <= degree:
                    assert np.isnan(row).any()
                    continue
                root = np.sqrt(k)[:, None]
                expected = np.linalg.pinv(root * powers)[0] * root[:, 0]
                np.testing.assert_allclose(row, expected, atol=1e-6 if degree == 2 else 1e-9)


@pytest.mark.parametrize("degree", [0, 1])
def test_degrees_of_freedom_of_the_noise_from_the_smoother_matrix(degree):
    rng = np.random.default_rng(2)
    x = np.round(rng.random(70), 2)
    hat = reference.hat_matrix(x, np.ones(70), "tricube", 0.2, degree)
    residual = (np.eye(70) - hat).T @ (np.eye(70) - hat)
    expected = np.trace(residual) ** 2 / np.sum(residual**2)
    found = constant_noise_freedom(Design.build(x, x), np.nan, get_kernel("tricube"), 0.2, past=False, degree=degree)
    assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_local_noise_from_loops(degree, past, apart):
    rng, h = np.random.default_rng(3), 0.2
    x, w = np.round(rng.random(60), 2), 1.0 + rng.integers(0, 3, 60)
    if apart:  # one that nothing predicts, and so has no square
        x[7] = 1.25
    y = rng.standard_normal(60) * (0.2 + x)
    squares = np.full(60, np.nan)
    for i in range(60):
        row = reference.smoother_row(x, w, x[i], "epanechnikov", h, degree, past, skip=i)
        k = reference.neighbour_weights(x, w, x[i], "epanechnikov", h, past, skip=i)
        if np.unique(x[k > 0.0]).size > degree:
            squares[i] = (y[i] - row @ y) ** 2 / (1.0 + np.sum(row**2 / w))
    known = np.isfinite(squares)
    assert np.all(known) == (not past and not apart)
    targets = np.array([0.3, 0.5, 0.95, 1.1])
    expected = []
    for t in targets:
        row = reference.smoother_row(x, w, t, "epanechnikov", h, degree, past)
        part = (row**2 / w)[known]
        expected.append(np.sum(part * squares[known]) / np.sum(part))
    model = KernelRegressor("epanechnikov", h, degree, "past" if past else "two").fit(x, y, w)
    np.testing.assert_allclose(model.variance_function(targets), expected, rtol=1e-8)
    assert np.all(model.local_fit(targets, "local").freedom >= 1.0)
    # At the observations the design needs no further points.
    np.testing.assert_allclose(model.variance_function(x), model.variance_function(np.append(x, 0.333))[:-1], rtol=1e-9)


def test_local_noise_is_unknown_where_a_line_goes_through_the_only_response():
    x = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 2.0])
    y = np.array([1.0, 2.0, 3.0, 0.0, 1.0, 5.0])
    fit = KernelRegressor("epanechnikov", 1.5, 1).fit(x, y).local_fit([1.0, 2.0], "local")
    assert fit.standard_error[0] > 0.0
    # The squares at 1 are known, but the line at 2 follows from the response there alone.
    assert np.isnan(fit.standard_error[1])
    assert fit.freedom[1] == 0.0


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("past", [False, True])
def test_noise_of_rates_from_loops(degree, past):
    rng = np.random.default_rng(3)
    x, w = np.round(rng.random(60), 2), 1.0 + rng.integers(0, 3, 60)
    y = np.where(rng.random(60) < x, 5.0, 2.0)
    design = Design.build(x, y, w)
    smoother = {"kernel": get_kernel("epanechnikov"), "h": 0.3, "past": past, "degree": degree}
    everywhere = np.arange(design.x.size)
    found = rate_noise(FitsAtTargets(design, everywhere, fit_points(design, **smoother), smoother), (2.0, 5.0))
    each = np.full(60, 9.0 / 4.0)
    for i in range(60):
        k = reference.neighbour_weights(x, w, x[i], "epanechnikov", 0.3, past)
        if np.any(k > 0.0):
            mean = np.sum(k * y) / np.sum(k)
            each[i] = (mean - 2.0) * (5.0 - mean)
    for i in range(design.x.size):
        k = reference.neighbour_weights(x, w, design.x[i], "epanechnikov", 0.3, past)
        if np.unique(x[k > 0.0]).size > degree:
            root = np.sqrt(k)[:, None]
            powers = np.vander(x - design.x[i], degree + 1, increasing=True)
            part = (np.linalg.pinv(root * powers)[0] * root[:, 0]) ** 2 / w
            assert found[i] == pytest.approx(np.sum(part * each) / np.sum(part), rel=1e-6)


def test_one_or_two_points_are_never_certain():
    rng = np.random.default_rng(0)
    x = np.sort(np.r_[rng.uniform(0, 1, 200), [1.6, 1.7, 3.0]])
    y = rng.standard_normal(203)
    for degree in (0, 1):
        model = KernelRegressor("epanechnikov", 0.2, degree).fit(x, y)
        error = model.local_fit([0.5, 1.6, 1.65, 1.7, 3.0], "local").standard_error
        assert 0.08 < error[0] < 0.25
        assert np.isnan(error[1:]).all()
    for noise in ("constant", "local"):
        band = KernelRegressor(bandwidth=1.5, degree=1).fit([0.0, 1.0], [1.0, 3.0]).confidence_band([0.5], noise=noise)
        assert np.isnan([band.lower, band.upper]).all()


@pytest.mark.parametrize("p", [0.02, 0.05, 0.1, 0.5, 0.95])
def test_bands_of_rates_cover(p):
    # A table for more cells comes from `python -m simulations run coverage`.
    rng = np.random.default_rng(5)
    x, at, repetitions = (np.arange(200) + 0.5) / 200, np.array([0.0, 0.5]), 600
    inside = np.zeros(2)
    for _ in range(repetitions):
        band = KernelRegressor("epanechnikov", 0.1).fit(x, rng.random(200) < p).confidence_band(at, noise="local")
        inside += (band.lower <= p) & (p <= band.upper)
        assert np.all((band.lower >= 0.0) & (band.upper <= 1.0) & (band.upper - band.lower > 0.05))
    assert np.all(np.abs(inside / repetitions - 0.95) < 0.02 + 2.5 * math.sqrt(0.95 * 0.05 / repetitions))


@pytest.mark.parametrize(("n", "low"), [(3, 0.95), (5, 0.93), (8, 0.93), (12, 0.93), (20, 0.93)])
def test_bands_of_few_observations_cover(n, low):
    rng = np.random.default_rng(1)
    x, repetitions = np.linspace(0, 1, n), 600
    inside = 0
    for _ in range(repetitions):
        band = KernelRegressor("epanechnikov", 0.7).fit(x, rng.standard_normal(n)).confidence_band([0.5])
        inside += band.lower[0] <= 0.0 <= band.upper[0]
    assert inside / repetitions > low - 2.5 * math.sqrt(0.95 * 0.05 / repetitions)


@pytest.mark.parametrize("degree", [0, 1])
def test_bounded_responses_stay_within_bounds(degree):
    rng = np.random.default_rng(6)
    x = np.sort(rng.random(80))
    at = np.linspace(0.0, 1.0, 40)
    for y in (rng.beta(0.2, 2.0, 80), np.clip(3.0 * x - 1.0, 0.0, 1.0), np.zeros(80)):
        model = KernelRegressor("epanechnikov", 0.15, degree).fit(x, 2.0 + 3.0 * y)
        for options in ({}, {"noise": "local"}, {"bias_corrected": True}, {"simultaneous": True}):
            band = model.confidence_band(at, bounds=(2.0, 5.0), **options)
            assert np.all((band.lower >= 2.0) & (band.lower <= band.estimate))
            assert np.all((band.estimate <= band.upper) & (band.upper <= 5.0))
            assert np.all(band.upper - band.lower > 1e-3)
        unit = KernelRegressor("epanechnikov", 0.15, degree).fit(x, y).confidence_band(at, bounds=(0.0, 1.0))
        np.testing.assert_allclose(
            model.confidence_band(at, bounds=(2.0, 5.0)).upper, 2.0 + 3.0 * unit.upper, rtol=1e-6
        )


def test_the_limits_of_a_line_at_an_end_cover_skewed_bounded_responses():
    rng = np.random.default_rng(11)
    x, at, repetitions = (np.arange(50) + 0.5) / 50, np.array([0.0, 1.0]), 600
    inside = 0
    for _ in range(repetitions):
        model = KernelRegressor("epanechnikov", 0.25, degree=1).fit(x, rng.beta(0.1, 1.9, 50))
        band = model.confidence_band(at, bounds=(0.0, 1.0))
        inside += np.sum((band.lower <= 0.05) & (band.upper >= 0.05))
    assert abs(inside / repetitions / 2 - 0.95) < 0.02 + 2.5 * math.sqrt(0.95 * 0.05 / repetitions / 2)


@pytest.mark.parametrize("corrected", [False, True])
def test_the_limits_of_a_line_through_rates_count_that_the_variance_changes(corrected):
    rng = np.random.default_rng(12)
    x, at, repetitions = (np.arange(1000) + 0.5) / 1000, np.array([0.0, 0.1, 0.5, 1.0]), 200
    inside = np.zeros(4)
    for _ in range(repetitions):
        model = KernelRegressor("epanechnikov", 0.25, degree=1).fit(x, rng.random(1000) < x)
        band = model.confidence_band(at, bias_corrected=corrected)
        inside += (band.lower <= at) & (at <= band.upper)
    assert np.all(inside / repetitions > 0.93 - 2.5 * math.sqrt(0.95 * 0.05 / repetitions))


def test_a_window_with_too_few_points_knows_no_bias():
    band = (
        KernelRegressor(bandwidth=1.5)
        .fit([0.0, 1.0, 5.0], [0.0, 1.0, 1.0])
        .confidence_band([0.5], bias_corrected=True, bounds=None)
    )
    assert np.isnan([band.lower, band.estimate, band.upper]).all()


def test_where_nothing_is_known_there_are_no_limits():
    model = KernelRegressor("epanechnikov", 0.5, empty="nearest").fit([0.0, 0.2, 0.4, 0.6], [0.0, 1.0, 0.0, 0.0])
    for options in ({}, {"bounds": None}, {"simultaneous": True}, {"bias_corrected": True}):
        band = model.confidence_band([0.3, 9.0], **options)
        assert np.isfinite(band.lower[0])
        assert np.isnan([band.lower[1], band.upper[1]]).all()
        assert model.confidence_band([], **options).lower.size == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bounds": (0.0, 0.5)}, "1, lies outside the bounds 0 to 0.5; widen"),
        ({"bounds": (1.0, 0.0)}, "least and the largest"),
        ({"bounds": (0.0, 1.0, 2.0)}, "bounds must have the shape"),
        ({"level": 1.0}, "level must lie between 0 and 1"),
        ({"noise": "none", "bounds": None}, "noise must be one of"),
    ],
)
def test_a_bad_request_for_a_band_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        KernelRegressor(bandwidth=2.0).fit([0.0, 1.0, 2.0], [0.0, 1.0, 1.0]).confidence_band([0.5], **options)


@pytest.mark.parametrize(("sided", "degree", "order"), [("two", 0, 2), ("two", 1, 2), ("past", 0, 1), ("past", 1, 2)])
def test_the_bias_corrected_band_is_that_of_a_higher_degree(sided, degree, order):
    rng = np.random.default_rng(7)
    x = np.sort(rng.random(150))
    y = np.sin(6.0 * x) + 0.3 * rng.standard_normal(150)
    model = KernelRegressor("epanechnikov", 0.3, degree, sided).fit(x, y)
    at = np.array([0.9, 0.5, 0.5])
    h = 0.3 if (sided, degree) == ("past", 0) else 0.3 * 150**-0.05
    band = model.confidence_band(at, bias_corrected=True)
    for t, low, estimate, high in zip(at, band.lower, band.estimate, band.upper, strict=True):
        k = reference.neighbour_weights(x, np.ones(150), t, "epanechnikov", h, sided == "past")
        root = np.sqrt(k)[:, None]
        row = np.linalg.pinv(root * np.vander(x - t, order + 1, increasing=True))[0] * root[:, 0]
        assert estimate == pytest.approx(row @ y, rel=1e-8)
        half = 2.0 * math.sqrt(model.noise_variance() * np.sum(row**2))
        assert high - low == pytest.approx(2.0 * half, rel=0.05)  # Student's t instead of 2


def test_a_parabola_has_no_bias_left():
    x = np.linspace(0.0, 1.0, 60)
    y = 1.0 - x + 3.0 * x**2
    for degree in (0, 1):
        band = KernelRegressor("tricube", 0.4, degree).fit(x, y).confidence_band(x, bias_corrected=True)
        np.testing.assert_allclose(band.estimate, y, rtol=1e-10)


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize(("kernel", "sided"), [("epanechnikov", "two"), ("uniform", "two"), ("triangular", "past")])
def test_simultaneous_bands_cover_at_all_points(kernel, sided, degree):
    rng = np.random.default_rng(8)
    design = Design.build(np.sort(rng.random(200)), np.zeros(200))
    smoother = {"kernel": get_kernel(kernel), "h": 0.2, "past": sided == "past", "degree": degree}
    at = np.linspace(0.1, 1.0, 60)
    matrix = np.zeros((60, 200))
    for rows, columns, weights in smoother_rows(design, at, **smoother):
        matrix[rows, columns] = weights
    level = level_at_each(design, at, 0.95, **smoother)
    assert 0.95 < level < 1.0 - 0.05 / 60 + 1e-12
    from scipy.special import ndtri

    matrix /= np.sqrt(np.sum(matrix**2, axis=1, keepdims=True))
    largest = np.max(np.abs(matrix @ rng.standard_normal((200, 4000))), axis=0)
    covered = np.mean(largest <= ndtri(0.5 + 0.5 * level))
    # A bound, close to the truth for smooth kernels.
    assert 0.95 - 4.0 * math.sqrt(0.95 * 0.05 / 4000) < covered < (0.985 if kernel == "uniform" else 0.97)
    assert level_at_each(design, at[:1], 0.95, **smoother) == pytest.approx(0.95)
    apart = level_at_each(design, np.array([0.2, 0.9]), 0.95, **smoother)
    assert apart == pytest.approx(0.975, abs=1e-3)


def test_limits_of_an_estimate():
    estimate = Estimate(np.array([0.0, 0.5, 0.98, 0.4]), np.array([0.05, 0.1, 0.05, np.nan]), np.full(4, 20.0))
    low, high = estimate.limits(bounds=(0.0, 1.0))
    assert np.all((low[:3] >= 0.0) & (high[:3] <= 1.0) & (low[:3] < high[:3]))
    assert np.isnan([low[3], high[3]]).all()
    # Inside the range they are close to the normal ones.
    plain_low, plain_high = estimate.limits()
    assert low[1] == pytest.approx(plain_low[1], abs=0.02)
    assert high[1] == pytest.approx(plain_high[1], abs=0.02)
    wide = Estimate(5.0 + 2.0 * estimate.values, 2.0 * estimate.standard_error, estimate.effective_sample_size)
    np.testing.assert_allclose(wide.limits(bounds=(5.0, 7.0))[0], 5.0 + 2.0 * low, rtol=1e-12)
    with pytest.raises(ValueError, match="level"):
        estimate.limits(level=2.0)
    with pytest.raises(ValueError, match="least and the largest"):
        estimate.limits(bounds=(1.0, 1.0))
