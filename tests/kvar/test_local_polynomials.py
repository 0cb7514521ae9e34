"""Local quadratics and derivatives against weighted least squares, one target at a time."""

import math

import numpy as np
import pytest

from kvar import KernelRegressor, select_bandwidth
from kvar.kernels import get_kernel, kernel_names
from kvar.smoothing.design import Design
from kvar.smoothing.local_fits import fit_points, leave_one_out, squared_norms

CASES = [(name, past) for name in kernel_names() for past in (False, True) if past or not get_kernel(name).one_sided]


def rows_by_least_squares(x, w, t, kernel, h, degree, past, skip=None):
    """Weights on the responses of the fit and its derivatives at t, (degree + 1, n); None with too few x."""
    k = w * get_kernel(kernel)(np.abs(x - t) / h)
    if past:
        k = np.where(x < t, k, 0.0)
    if skip is not None:
        k[skip] = 0.0
    if np.unique(x[k > 0.0]).size <= degree:
        return None
    root = np.sqrt(k)[:, None]
    rows = np.linalg.pinv(root * np.vander(x - t, degree + 1, increasing=True), rcond=1e-14) * root.T
    return rows * [[math.factorial(d)] for d in range(degree + 1)]


def _sample(layout, n=150):
    rng = np.random.default_rng(4)
    x = rng.random(n)
    if layout == "ties":
        x = np.round(x, 2)
    if layout == "clusters":
        x = np.repeat(np.linspace(0.0, 1.0, n // 3), 3) + 1e-4 * np.tile(np.arange(3), n // 3)
    return x, np.sin(6.0 * x) + 0.3 * rng.standard_normal(n), 0.5 + rng.random(n)


@pytest.mark.parametrize("layout", ["plain", "ties", "clusters"])
@pytest.mark.parametrize(("kernel", "past"), CASES)
def test_quadratics_are_weighted_least_squares(engine, kernel, past, layout):
    x, y, w = _sample(layout)
    design, options = Design.build(x, y, w), {"kernel": get_kernel(kernel), "past": past, "degree": 2}
    for h in (0.0371, 0.31):
        fits, others = fit_points(design, h=h, **options), leave_one_out(design, h=h, **options)
        norms = [squared_norms(design, h=h, fits=fits, derivative=d, **options) for d in range(3)]
        compared = 0
        for i in range(0, x.size, 5):
            rows, at = rows_by_least_squares(x, w, x[i], kernel, h, 2, past), design.member[i]
            # Lines through all but one point, with weights that underflow, are no test of arithmetic.
            if rows is not None and np.abs(rows[0]).sum() < 1e2 and not fits.degenerate[at]:
                for d in range(3):
                    scale = max(np.abs(rows[d]).sum() * h**d, 1.0)
                    assert abs(fits.values[d][at] - h**d * rows[d] @ y) < 1e-8 * scale
                    assert norms[d][at] == pytest.approx(h ** (2 * d) * np.sum(rows[d] ** 2 / w), rel=1e-7)
                if not past:
                    assert fits.influence[at] == pytest.approx(rows[0][x == x[i]].sum(), abs=1e-9)
                compared += 1
            rows = rows_by_least_squares(x, w, x[i], kernel, h, 2, past, skip=i)
            if rows is not None and np.abs(rows[0]).sum() < 1e2 and not others.degenerate[i]:
                assert abs(others.estimate[i] - rows[0] @ y) < 1e-8 * np.abs(rows[0]).sum()
        assert compared > 10


@pytest.mark.parametrize(("degree", "derivative"), [(1, 1), (2, 0), (2, 1), (2, 2)])
@pytest.mark.parametrize("sided", ["two", "past"])
def test_derivatives_and_their_errors_elsewhere(engine, degree, derivative, sided):
    x, y, w = _sample("plain")
    model, targets = KernelRegressor("biweight", 0.3, degree, sided).fit(x, y, w), np.linspace(0.3, 1.1, 9)
    fit = model.local_fit(targets, derivative=derivative)
    rows = [rows_by_least_squares(x, w, t, "biweight", 0.3, degree, sided == "past")[derivative] for t in targets]
    np.testing.assert_allclose(fit.estimate, rows @ y, rtol=1e-8)
    np.testing.assert_array_equal(fit.estimate, model.predict(targets, derivative=derivative))
    expected = np.sqrt(model.noise_variance() * np.sum(np.square(rows) / w, axis=1))
    np.testing.assert_allclose(fit.standard_error, expected, rtol=1e-8)


def test_a_quadratic_is_reproduced_with_its_derivatives():
    x = np.random.default_rng(5).random(80)
    for kernel, past in CASES:
        model = KernelRegressor(kernel, 0.4, 2, "past" if past else "two").fit(x, 1.0 - 2.0 * x + 3.0 * x**2)
        sound = ~model.local_fit(x).degenerate
        for d, truth in enumerate((1.0 - 2.0 * x + 3.0 * x**2, 6.0 * x - 2.0, np.full(80, 6.0))):
            # One step from the first points the quadratic is extrapolated far beyond its window.
            late = sound & (x > np.sort(x)[8])
            np.testing.assert_allclose(model.predict(x, derivative=d)[late], truth[late], rtol=1e-5, atol=1e-6)


def test_too_few_points_for_the_degree_are_flagged():
    fit = KernelRegressor("triangular", 1.0, 2).fit([0.0, 0.0, 0.6, 9.0], [1.0, 3.0, 5.0, 7.0])
    found = fit.local_fit([0.3, 9.0, 5.0])
    np.testing.assert_allclose(found.estimate, [3.5, 7.0, math.nan])
    np.testing.assert_array_equal(found.degenerate, [True, True, False])
    np.testing.assert_allclose(fit.predict([0.3, 9.0], derivative=1), [5.0, math.nan])
    assert np.isnan(fit.predict([0.3], derivative=2)).all()
    assert np.isnan(KernelRegressor("triangular", 1.0, 1).fit([0.0, 9.0], [1.0, 2.0]).predict([0.0], derivative=1))


def test_a_derivative_of_higher_order_than_the_degree_is_refused():
    model = KernelRegressor(bandwidth=0.1, degree=1).fit([0.0, 0.05, 0.1], [0.0, 1.0, 2.0])
    for wrong in (3, -1, 1.0, True, "1"):
        with pytest.raises(ValueError, match=r"derivative must be .*0, 1, 2"):
            model.predict([0.0], derivative=wrong)
    with pytest.raises(ValueError, match="needs degree=2"):
        model.predict([0.0], derivative=2)


@pytest.mark.parametrize("degree", [1, 2])
def test_limits_of_the_slope_cover_it(degree):
    # A prompt that improves steadily, four rollouts a step: neither bias at degree 1 nor at 2.
    rng, step = np.random.default_rng(6), np.repeat(np.arange(60.0), 4)
    inside, repetitions = np.zeros(2), 250
    for _ in range(repetitions):
        reward = rng.random(step.size) < 0.3 + 0.007 * step
        band = KernelRegressor("epanechnikov", 20.0, degree).fit(step, reward).confidence_band([30, 59], derivative=1)
        inside += (band.lower <= 0.007) & (band.upper >= 0.007)
    assert np.all(np.abs(inside / repetitions - 0.95) < 4.0 * math.sqrt(0.95 * 0.05 / repetitions))


@pytest.mark.parametrize("method", ["loo-cv", "one-step-ahead", "gcv", "aicc", "lepski", "leave-one-step-out"])
def test_a_bandwidth_for_quadratics(method):
    rng = np.random.default_rng(7)
    x = rng.random(300)
    y = np.sin(9.0 * x) + 0.3 * rng.standard_normal(300)
    chosen = select_bandwidth(x, y, method, degree=2, empty="nearest", grid=np.geomspace(0.03, 1.0, 15))
    model = KernelRegressor("epanechnikov", chosen.bandwidth, 2, chosen.sided, empty="nearest").fit(x, y)
    assert np.nanmean((model.predict(x) - np.sin(9.0 * x))[x > 0.1] ** 2) < 0.02
    for other in ("averaged", "plug-in", "rule-of-thumb"):
        with pytest.raises(ValueError, match="no local quadratics"):
            select_bandwidth(x, y, other, degree=2)
