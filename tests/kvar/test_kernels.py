"""Laws that every registered kernel obeys: constants against quadrature, known values, the edge of the support."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from kvar.kernels import CompactKernel, get_kernel, kernel_names

KERNELS = kernel_names()


def _integral(function, kernel):
    upper = kernel.support if math.isfinite(kernel.support) else np.inf
    return quad(function, 0.0, upper, epsabs=1e-13, epsrel=1e-12)[0]


@pytest.mark.parametrize("name", KERNELS)
def test_mass_is_one(name):
    assert get_kernel(name).moment(0) == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("order", range(5))
@pytest.mark.parametrize("name", KERNELS)
def test_moments_match_quadrature(name, order):
    kernel = get_kernel(name)
    assert kernel.half_moment(order) == pytest.approx(
        _integral(lambda u: u**order * float(kernel(u)), kernel), rel=1e-9
    )
    assert kernel.half_square_moment(order) == pytest.approx(
        _integral(lambda u: u**order * float(kernel(u)) ** 2, kernel), rel=1e-9
    )


@pytest.mark.parametrize("name", KERNELS)
def test_symmetric_unless_one_sided(name):
    kernel = get_kernel(name)
    u = np.linspace(0.01, 2.0, 50)
    np.testing.assert_array_equal(kernel(-u), np.zeros(50) if kernel.one_sided else kernel(u))


@pytest.mark.parametrize("name", KERNELS)
def test_moments_over_the_whole_line(name):
    kernel = get_kernel(name)
    assert kernel.moment(3) == (kernel.half_moment(3) if kernel.one_sided else 0.0)
    assert kernel.moment(4) == (1 if kernel.one_sided else 2) * kernel.half_moment(4)


@pytest.mark.parametrize("name", KERNELS)
def test_weights_are_finite_non_negative_and_decreasing(name):
    weights = get_kernel(name)(np.linspace(0.0, 3.0, 3001))
    assert np.all(np.isfinite(weights))
    assert np.all(weights >= 0.0)
    assert np.all(np.diff(weights) <= 0.0)


@pytest.mark.parametrize("name", KERNELS)
def test_nothing_matters_past_the_reach(name):
    kernel = get_kernel(name)
    past = np.nextafter(kernel.reach, np.inf)
    assert kernel(past) <= 2.0**-52 * kernel(0.0)
    if isinstance(kernel, CompactKernel):
        assert kernel(past) == 0.0
        assert kernel(1e200) == 0.0


def test_the_support_is_closed():
    uniform = get_kernel("uniform")
    np.testing.assert_array_equal(uniform([1.0, np.nextafter(1.0, 2.0)]), [0.5, 0.0])


# Wand and Jones (1995), Table 2.1 and Appendix B: roughness and second moment.
@pytest.mark.parametrize(
    ("name", "roughness", "second_moment"),
    [
        ("uniform", 1 / 2, 1 / 3),
        ("triangular", 2 / 3, 1 / 6),
        ("epanechnikov", 3 / 5, 1 / 5),
        ("biweight", 5 / 7, 1 / 7),
        ("triweight", 350 / 429, 1 / 9),
        ("tricube", 175 / 247, 35 / 243),
        ("gaussian", 1 / (2 * math.sqrt(math.pi)), 1.0),
        ("exponential", 1 / 2, 2.0),
    ],
)
def test_published_constants(name, roughness, second_moment):
    kernel = get_kernel(name)
    assert kernel.roughness == pytest.approx(roughness, rel=1e-13)
    assert kernel.moment(2) == pytest.approx(second_moment, rel=1e-13)


# Marron and Nolan (1988), Table 1.
@pytest.mark.parametrize(
    ("name", "canonical"),
    [("uniform", 1.3510), ("epanechnikov", 1.7188), ("biweight", 2.0362), ("triweight", 2.3122), ("gaussian", 0.7764)],
)
def test_published_canonical_bandwidths(name, canonical):
    assert get_kernel(name).canonical_bandwidth == pytest.approx(canonical, abs=5e-5)


def test_the_paper_kernels():
    np.testing.assert_allclose(get_kernel("triangular")([0.0, 0.1, 0.9, 1.0]), [1.0, 0.9, 0.1, 0.0], atol=1e-15)
    rho, window = 0.7, 10.0
    lags = np.arange(20.0)
    bandwidth = window / math.log(1 / rho)
    np.testing.assert_allclose(get_kernel("exponential")(lags / bandwidth), rho ** (lags / window), rtol=1e-13)


def test_an_unknown_kernel_is_named():
    with pytest.raises(ValueError, match=r"unknown kernel 'gauss'.*gaussian"):
        get_kernel("gauss")


@pytest.mark.parametrize("name", [n for n in KERNELS if isinstance(get_kernel(n), CompactKernel)])
def test_relative_accuracy_at_the_edge_of_the_support(name):
    kernel = get_kernel(name)
    gap = 2.0**-30
    expected = kernel.coefficients[0] * (kernel.base * gap) ** kernel.power
    assert float(kernel(1.0 - gap)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", [n for n in KERNELS if isinstance(get_kernel(n), CompactKernel)])
def test_coefficients_expand_the_kernel(name):
    kernel = get_kernel(name)
    u = np.linspace(0.0, 1.0, 101)
    np.testing.assert_allclose(np.polynomial.polynomial.polyval(u, kernel.coefficients), kernel(u), atol=1e-14)


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_stands_for_itself(name):
    assert get_kernel(get_kernel(name)) is get_kernel(name)
