"""One test a numbered statement: closed forms against quadrature, and against exact finite-sample moments."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from kvar import theory
from kvar.kernels import EXPONENTIAL, get_kernel, kernel_names
from tests.kvar.regression_reference import smoother_row

KERNELS = kernel_names()
TWO_SIDED = [name for name in KERNELS if not get_kernel(name).one_sided]


def _integral(f, kernel):
    return quad(f, 0.0, min(kernel.reach, 60.0), epsabs=1e-13, epsrel=1e-11, limit=200)[0]


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("name", KERNELS)
def test_the_boundary_kernel_against_quadrature(name, degree):
    kernel = get_kernel(name)
    k = [_integral(lambda u, r=r: u**r * float(kernel(u)), kernel) for r in range(3)]

    def equivalent(u):
        if degree == 0:
            return float(kernel(u)) / k[0]
        return (k[2] - k[1] * u) * float(kernel(u)) / (k[2] * k[0] - k[1] ** 2)

    constants = theory.equivalent_kernel(name, degree, boundary=True)
    assert _integral(equivalent, kernel) == pytest.approx(1.0, rel=1e-9)
    assert constants.first == pytest.approx(_integral(lambda u: u * equivalent(u), kernel), rel=1e-8, abs=1e-9)
    assert constants.second == pytest.approx(_integral(lambda u: u**2 * equivalent(u), kernel), rel=1e-8)
    assert constants.roughness == pytest.approx(_integral(lambda u: equivalent(u) ** 2, kernel), rel=1e-8)


@pytest.mark.parametrize("boundary", [False, True])
@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("name", TWO_SIDED)
def test_bias_and_variance_are_the_limit_of_exact_ones(name, degree, boundary):
    # Even points, a quadratic curve: the exact bias is sum l_j m(x_j) - m(t), the exact variance sum l_j**2.
    n, h = 20_000, 0.04
    x = (np.arange(n) + 0.5) / n
    t = 0.0 if boundary else 0.5
    near = np.abs(x - t) <= get_kernel(name).reach * h
    row = smoother_row(x[near], np.ones(near.sum()), t, name, h, degree)
    slope, curvature = 1.0, 3.0
    curve = slope * (x - t) + 0.5 * curvature * (x - t) ** 2
    bias = theory.asymptotic_bias(name, degree, h, slope=slope, curvature=curvature, boundary=boundary)
    variance = theory.asymptotic_variance(name, degree, h, n=n, noise=1.0, boundary=boundary)
    # At the boundary a local mean also has a bias of order h**2, the second moment times m''/2.
    beyond = 0.5 * curvature * h**2 * theory.equivalent_kernel(name, 0, boundary=True).second
    extra = beyond if boundary and degree == 0 else 0.0
    assert row @ curve[near] == pytest.approx(bias + extra, rel=3e-3)
    assert row @ row == pytest.approx(variance, rel=3e-3)


def test_a_sloping_density_bends_local_means_only():
    # Points with density proportional to 1 + x, at quantiles of it.
    n, h, t = 200_000, 0.05, 0.5
    x = -1.0 + np.sqrt(1.0 + 3.0 * (np.arange(n) + 0.5) / n)
    near = np.abs(x - t) <= h
    row = smoother_row(x[near], np.ones(near.sum()), t, "epanechnikov", h, 0)
    bias = theory.asymptotic_bias("epanechnikov", 0, h, slope=1.0, log_density_slope=1.0 / 1.5)
    assert row @ (x[near] - t) == pytest.approx(bias, rel=5e-3)
    assert theory.asymptotic_bias("epanechnikov", 1, h, slope=1.0, log_density_slope=1.0 / 1.5) == 0.0


# A one-sided kernel has no interior: it always stands at a boundary.
PLACES = [(name, boundary) for name in KERNELS for boundary in (False, True) if boundary or name != EXPONENTIAL.name]


@pytest.mark.parametrize(("name", "boundary"), PLACES)
@pytest.mark.parametrize("degree", [0, 1])
def test_the_optimal_bandwidth_minimises_the_error(name, degree, boundary):
    facts = {"n": 400, "noise": 0.3, "slope": 1.5, "curvature": -4.0, "density": 0.7, "boundary": boundary}
    h = theory.optimal_bandwidth(name, degree, **facts)
    least = theory.asymptotic_mse(name, degree, h, **facts)
    assert least < theory.asymptotic_mse(name, degree, 1.02 * h, **facts)
    assert least < theory.asymptotic_mse(name, degree, 0.98 * h, **facts)
    rate = 1 / 3 if boundary and degree == 0 else 1 / 5
    more = theory.optimal_bandwidth(name, degree, **{**facts, "n": 400 * 1000})
    assert h / more == pytest.approx(1000.0**rate, rel=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_the_second_order_bandwidth_minimises_its_error(name):
    for curvature, log_density_slope in ((-4.0, 0.0), (4.0, 0.5), (0.0, -1.0), (0.0, 0.0)):
        facts = {"n": 400, "noise": 0.3, "slope": 1.5, "curvature": curvature, "boundary": True, "order": 2}
        facts["log_density_slope"] = log_density_slope
        h = theory.optimal_bandwidth(name, 0, **facts)
        least = theory.asymptotic_mse(name, 0, h, **facts)
        assert least < theory.asymptotic_mse(name, 0, 1.02 * h, **facts)
        assert least < theory.asymptotic_mse(name, 0, 0.98 * h, **facts)
        # To first order again where n is large.
        large = {**facts, "n": 1e16}
        first = theory.optimal_bandwidth(name, 0, **{**large, "order": 1})
        assert theory.optimal_bandwidth(name, 0, **large) == pytest.approx(first, rel=1e-3)
    facts = {"n": 400, "noise": 0.3, "curvature": 2.0, "order": 2}
    assert theory.optimal_bandwidth(name, 0, **facts, boundary=True) < math.inf
    assert theory.optimal_bandwidth(name, 1, **facts, boundary=True) == theory.optimal_bandwidth(
        name, 1, **{**facts, "order": 1}, boundary=True
    )
    with pytest.raises(ValueError, match="order must be one of 1, 2"):
        theory.optimal_bandwidth(name, 0, n=1, noise=1.0, slope=1.0, boundary=True, order=3)


@pytest.mark.parametrize("kernel", ["uniform", "triangular"])
@pytest.mark.parametrize(("t", "wave"), [(0.3, 6.0), (0.55, 6.0)])
def test_looking_back_the_second_order_bandwidth_is_the_exact_one(kernel, t, wave):
    # The mean squared error of the local mean at t of sin(wave x), 20,000 even points, noise of variance 1 / 4.
    n, noise = 20_000, 0.25
    x = (np.arange(n) + 0.5) / n
    x = x[x < t]
    grid = np.geomspace(0.005, 0.6 * t, 50)
    errors = []
    for h in grid:
        near = x[x > t - h]
        row = smoother_row(near, np.ones(near.size), t, kernel, h, 0)
        errors.append((row @ np.sin(wave * near) - math.sin(wave * t)) ** 2 + noise * row @ row)
    facts = {"slope": -wave * math.cos(wave * t), "curvature": -(wave**2) * math.sin(wave * t)}
    best = theory.optimal_bandwidth(kernel, 0, n=n, noise=noise, **facts, boundary=True, order=2)
    assert np.interp(best, grid, errors) < 1.1 * min(errors)
    assert best == pytest.approx(grid[np.argmin(errors)], rel=0.08)
    if t == 0.3:  # near the crest the slope alone says little
        first = theory.optimal_bandwidth(kernel, 0, n=n, noise=noise, **facts, boundary=True)
        assert np.interp(first, grid, errors) > 5.0 * min(errors)


def test_a_straight_line_wants_no_bandwidth():
    assert theory.optimal_bandwidth("epanechnikov", 1, n=10, noise=1.0, slope=2.0) == math.inf


def test_published_constants():
    # Fan and Gijbels (1996), Table 3.2 and section 3.2.4: the constant C_{0,1} = (R / mu_2**2)**(1/5).
    for name, constant in (("uniform", 1.351), ("epanechnikov", 1.719), ("gaussian", 0.776)):
        h = theory.optimal_bandwidth(name, 1, n=1.0, noise=1.0, curvature=1.0)
        assert h == pytest.approx(constant, abs=6e-4)


def test_constants_exist_only_where_estimates_do():
    with pytest.raises(ValueError, match="looks back only; use boundary=True"):
        theory.asymptotic_mse("exponential", 0, 1.0, n=100, noise=1.0, slope=1.0)
    with pytest.raises(ValueError, match="degree must be one of 0, 1, got 2"):
        theory.optimal_bandwidth("triangular", 2, n=100, noise=1.0, curvature=1.0, boundary=True)


def test_boundary_bias_square_is_the_error_in_the_strip():
    for name in ("uniform", "epanechnikov"):
        h, n = 0.1, 4000
        x = (np.arange(n) + 0.5) / n
        total = 0.0
        for t in np.arange(0.5, 100) / 1000:
            near = np.abs(x - t) <= h
            total += (smoother_row(x[near], np.ones(near.sum()), t, name, h, 0) @ (x[near] - t)) ** 2 / 1000
        assert theory.boundary_bias_square(name) * h**3 == pytest.approx(total, rel=5e-3)


@pytest.mark.parametrize("boundary", [False, True])
@pytest.mark.parametrize("name", TWO_SIDED)
def test_lipschitz_error_is_attained_and_minimised(name, boundary):
    n, h, bound = 20_000, 0.04, 2.0
    x = (np.arange(n) + 0.5) / n
    t = 0.0 if boundary else 0.5
    near = np.abs(x - t) <= get_kernel(name).reach * h
    row = smoother_row(x[near], np.ones(near.sum()), t, name, h, 0)
    worst = (row @ (bound * np.abs(x[near] - t))) ** 2 + 0.5 * (row @ row)
    facts = {"n": n, "noise": 0.5, "lipschitz": bound, "boundary": boundary}
    assert theory.lipschitz_mse(name, h, **facts) == pytest.approx(worst, rel=3e-3)
    best = theory.lipschitz_bandwidth(name, **facts)
    assert theory.lipschitz_mse(name, best, **facts) < theory.lipschitz_mse(name, 1.02 * best, **facts)
    assert theory.lipschitz_mse(name, best, **facts) < theory.lipschitz_mse(name, 0.98 * best, **facts)


def _least_worst_error(kernel, n):
    h = theory.lipschitz_bandwidth(kernel, n=n, noise=1.0, lipschitz=1.0)
    return theory.lipschitz_mse(kernel, h, n=n, noise=1.0, lipschitz=1.0)


def test_the_minimax_rate():
    assert _least_worst_error("triangular", 1e3) / _least_worst_error("triangular", 1e6) == pytest.approx(
        100.0, rel=1e-12
    )


def test_looking_back_the_triangular_kernel_has_the_least_worst_error():
    assert min(KERNELS, key=lambda name: _least_worst_error(name, 100)) == "triangular"


def test_the_suboptimality_bound_holds_for_noisy_ascent_and_is_sharp_on_a_sphere():
    # J = -mu |x|^2 / 2 has L = mu, where the bound without its slack is (1 - eta mu)^2 gap + mu eta^2 m / 2.
    rng = np.random.default_rng(0)
    mu, noise, n_steps, dimensions = 0.5, 0.3, 400, 4
    steps = [4.0 / (i + 8) for i in range(n_steps)]
    x = np.ones((2000, dimensions))
    gaps = []
    for eta in steps:
        x = x + eta * (-mu * x + noise * rng.standard_normal(x.shape) / np.sqrt(dimensions))
        gaps.append(0.5 * mu * (x**2).sum(axis=1).mean())
    start = 0.5 * mu * dimensions
    bounds = theory.suboptimality_bound(start, [noise**2] * n_steps, steps, smoothness=mu, pl_constant=mu)
    assert (np.array(gaps) < np.array(bounds) * (1 + 4 * np.sqrt(2 / 2000 / dimensions))).all()
    # With beta mu = 2 the gap times i tends to mu beta^2 m / (2 (2 beta mu - 1)), the bound to that with beta mu - 1.
    long = [4.0 / (i + 8) for i in range(20_000)]
    bounds = theory.suboptimality_bound(start, [noise**2] * len(long), long, smoothness=mu, pl_constant=mu)
    assert bounds[-1] * len(long) == pytest.approx(0.5 * mu * 16 * noise**2 / (2.0 - 1.0), rel=0.01)
    assert gaps[-1] * n_steps == pytest.approx(0.5 * mu * 16 * noise**2 / (4.0 - 1.0), rel=0.15)


def test_the_suboptimality_bound_by_hand_and_its_limit_of_the_step_size():
    assert theory.suboptimality_bound(1.0, [2.0, 4.0], [0.5, 0.25], smoothness=1.0, pl_constant=0.8) == pytest.approx(
        [0.6 + 0.25, 0.8 * 0.85 + 0.125]
    )
    with pytest.raises(ValueError, match=r"at most 1 / L = 0\.5, got 1"):
        theory.suboptimality_bound(1.0, [1.0], [1.0], smoothness=2.0, pl_constant=1.0)
