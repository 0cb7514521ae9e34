"""Bias, variance and the best bandwidth of kernel regression, to first order.

Data: ``y_j = m(x_j) + noise`` of variance sigma2, n points with density f; the bandwidth h shrinks and n h grows. An
estimate with kernel weights K over the side constants ``k_r = integral of u**r K(u) over u >= 0`` behaves like one with
an *equivalent kernel* ``K*``, a probability weight:

    interior, both degrees   K*(u) = K(u)                                         over the whole line
    boundary, degree 0       K*(u) = K(u) / k_0                                   over u >= 0
    boundary, degree 1       K*(u) = (k_2 - k_1 u) K(u) / (k_2 k_0 - k_1**2)      over u >= 0

Estimates that look back only are at a boundary everywhere. With ``mu_r`` and R the moments and the roughness of K*,

    variance                 sigma2 R / (n h f)
    bias, degree 1           h**2 mu_2 m'' / 2
    bias, degree 0           interior h**2 mu_2 (m'' / 2 + m' f' / f),  boundary h mu_1 m'
    its next term            boundary h**2 (mu_2 m'' / 2 + (mu_2 - mu_1**2) m' f' / f)

[1] Wand and Jones (1995), Kernel Smoothing, sections 5.3 to 5.5.
[2] Fan and Gijbels (1996), Local Polynomial Modelling and Its Applications, theorems 3.1 and 3.3.
[3] Kernelized Advantage Estimation (2026), arXiv 2604.28005: theorem 1 and corollary 1, a Lipschitz curve; theorem 3.
[4] Donoho (1994), Statistical estimation and optimal recovery, Annals of Statistics 22, 238-270.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

import numpy as np

from kvar.kernels import Kernel, KernelName, get_kernel
from kvar.utils.checks import require_choice

__all__ = [
    "EquivalentKernel",
    "asymptotic_bias",
    "asymptotic_mse",
    "asymptotic_variance",
    "boundary_bias_square",
    "equivalent_kernel",
    "lipschitz_bandwidth",
    "lipschitz_mse",
    "optimal_bandwidth",
    "suboptimality_bound",
]

AnyKernel: TypeAlias = KernelName | Kernel
Degree: TypeAlias = Literal[0, 1]  # a local mean, a local line


@dataclass(frozen=True)
class EquivalentKernel:
    """Constants of the equivalent kernel.

    Attributes
    ----------
    first, second : float
        ``integral of u**r K*(u)`` for r = 1 and 2.
    roughness : float
        ``integral of K*(u)**2``.
    """

    first: float
    second: float
    roughness: float


def equivalent_kernel(kernel: AnyKernel, degree: Degree, *, boundary: bool) -> EquivalentKernel:
    """Constants of the equivalent kernel; [2], section 3.2.2.

    Parameters
    ----------
    kernel : str or Kernel
        The weight function.
    degree : {0, 1}
        Local mean or local line.
    boundary : bool
        At a boundary, or looking back only.

    Returns
    -------
    EquivalentKernel
        The first moment of a local line is zero.

    Raises
    ------
    ValueError
        For another degree, or for the interior with a kernel that looks back only.
    """
    require_choice("degree", degree, (0, 1))
    kernel = get_kernel(kernel)
    if not boundary:
        if kernel.one_sided:
            raise ValueError(f"the {kernel.name} kernel looks back only; use boundary=True")
        return EquivalentKernel(0.0, kernel.moment(2), kernel.roughness)
    k0, k1, k2, k3 = (kernel.half_moment(r) for r in range(4))
    r0, r1, r2 = (kernel.half_square_moment(r) for r in range(3))
    if degree == 0:
        return EquivalentKernel(k1 / k0, k2 / k0, r0 / k0**2)
    determinant = k2 * k0 - k1**2
    roughness = (k2**2 * r0 - 2.0 * k1 * k2 * r1 + k1**2 * r2) / determinant**2
    return EquivalentKernel(0.0, (k2**2 - k1 * k3) / determinant, roughness)


def asymptotic_bias(
    kernel: AnyKernel, degree: Degree, h, *, slope=0.0, curvature=0.0, log_density_slope=0.0, boundary=False, order=1
):
    """Leading bias; [1], equations 5.13 to 5.16, [2], theorem 3.3.

    Parameters
    ----------
    kernel : str or Kernel
        The weight function.
    degree : {0, 1}
        Local mean or local line.
    h : float
        Bandwidth.
    slope, curvature : float or ndarray
        ``m'`` and ``m''`` at the point; at a right boundary, or looking back, the slope counts with a minus sign.
    log_density_slope : float or ndarray
        ``f' / f`` at the point; only local means depend on it.
    boundary : bool
        At a left boundary.
    order : {1, 2}
        With 2, local means at a boundary get the next term too, which their leading one of order h does not dwarf where
        the curve bends. All other leading terms are of order ``h**2``, and 2 changes nothing there.

    Returns
    -------
    float or ndarray
        Expected estimate minus curve.
    """
    require_choice("order", order, (1, 2))
    constants = equivalent_kernel(kernel, degree, boundary=boundary)
    if degree == 1:
        return 0.5 * h**2 * constants.second * curvature
    if boundary:
        leading = h * constants.first * slope
        if order == 1:
            return leading
        tilt = (constants.second - constants.first**2) * slope * log_density_slope
        return leading + h**2 * (0.5 * constants.second * curvature + tilt)
    return h**2 * constants.second * (0.5 * curvature + slope * log_density_slope)


def asymptotic_variance(kernel: AnyKernel, degree: Degree, h, *, n, noise, density=1.0, boundary=False):
    """Leading variance; [2], theorem 3.1.

    Parameters
    ----------
    kernel : str or Kernel
        The weight function.
    degree : {0, 1}
        Local mean or local line.
    h : float
        Bandwidth.
    n : float
        Number of observations.
    noise : float
        Their variance sigma2.
    density : float or ndarray
        Density f of the points; n f is how many there are per unit of x.
    boundary : bool
        At a boundary, or looking back only.

    Returns
    -------
    float or ndarray
        ``sigma2 R / (n h f)``.
    """
    return noise * equivalent_kernel(kernel, degree, boundary=boundary).roughness / (n * h * density)


def asymptotic_mse(
    kernel: AnyKernel, degree: Degree, h, *, n, noise, slope=0.0, curvature=0.0, density=1.0, log_density_slope=0.0,
    boundary=False, order=1,
):  # fmt: skip
    """Squared leading bias plus leading variance.

    Parameters
    ----------
    kernel : str or Kernel
        The weight function.
    degree : {0, 1}
        Local mean or local line.
    h : float
        Bandwidth.
    n : float
        Number of observations.
    noise : float
        Their variance.
    slope, curvature : float or ndarray
        Derivatives of the curve.
    density : float or ndarray
        Density of the points.
    log_density_slope : float or ndarray
        Its logarithmic derivative.
    boundary : bool
        At a boundary, or looking back only.
    order : {1, 2}
        Order of the bias, as in `asymptotic_bias`.

    Returns
    -------
    float or ndarray
        The mean squared error to first order.
    """
    shape = {"slope": slope, "curvature": curvature, "log_density_slope": log_density_slope}
    bias = asymptotic_bias(kernel, degree, h, **shape, boundary=boundary, order=order)
    return bias**2 + asymptotic_variance(kernel, degree, h, n=n, noise=noise, density=density, boundary=boundary)


def optimal_bandwidth(
    kernel: AnyKernel, degree: Degree, *, n, noise, slope=0.0, curvature=0.0, density=1.0, log_density_slope=0.0,
    boundary=False, order=1,
):  # fmt: skip
    """Minimiser of `asymptotic_mse`; [2], equation 3.21.

    Parameters
    ----------
    kernel : str or Kernel
        The weight function.
    degree : {0, 1}
        Local mean or local line.
    n : float
        Number of observations.
    noise : float
        Their variance.
    slope, curvature : float
        Derivatives of the curve.
    density : float
        Density of the points.
    log_density_slope : float
        Its logarithmic derivative.
    boundary : bool
        At a boundary, or looking back only.
    order : {1, 2}
        Order of the bias, as in `asymptotic_bias`. Pass 2 for local means that look back along a curve that bends: near
        an extremum, where the slope is small, the first-order optimum can be several times too narrow, at n = 20,000
        too. It is the first local minimum as h grows from zero; a wide window at which the two terms cancel lies beyond
        what the expansion describes.

    Returns
    -------
    float
        Of order ``n**(-1/5)``, or ``n**(-1/3)`` for a local mean at a boundary; infinite where the leading bias is
        zero.
    """
    shape = {"slope": slope, "curvature": curvature, "log_density_slope": log_density_slope, "boundary": boundary}
    variance = asymptotic_variance(kernel, degree, 1.0, n=n, noise=noise, density=density, boundary=boundary)
    leading = asymptotic_bias(kernel, degree, 1.0, **shape)
    if not (degree == 0 and boundary):
        return _balance(leading, variance, 2)
    if order == 1:
        return _balance(leading, variance, 1)
    return _second_order(leading, asymptotic_bias(kernel, degree, 1.0, **shape, order=order) - leading, variance)


def _balance(bias, variance, power):
    """Minimiser of ``(bias h**power)**2 + variance / h``."""
    return float("inf") if bias == 0.0 else (variance / (2 * power * bias**2)) ** (1.0 / (2 * power + 1))


def _second_order(a, c, variance):
    """First local minimum of ``(a h + c h**2)**2 + variance / h``."""
    if a == 0.0 or c == 0.0:
        return _balance(a, variance, 1) if c == 0.0 else _balance(c, variance, 2)
    # The derivative is zero where 2 h**3 (a + c h) (a + 2 c h) = variance.
    unit = abs(a / c)
    roots = np.roots([4.0, 6.0 * np.sign(a * c), 2.0, 0.0, 0.0, -variance / (a**2 * unit**3)])
    return unit * float(min(root.real for root in roots if abs(root.imag) < 1e-9 * abs(root) and root.real > 0.0))


@cache
def boundary_bias_square(kernel: AnyKernel) -> float:
    """Squared bias of local means over a strip next to a boundary, in units of ``h**3 m'**2 f``.

    At distance c h from the boundary the window is cut at c, and the bias is ``-h m'`` times the mean of u under the
    rest of the kernel ([2], theorem 3.3). Squared and integrated over c this is of order ``h**3``, more than the
    interior adds.

    Parameters
    ----------
    kernel : str or Kernel
        A two-sided kernel.

    Returns
    -------
    float
        ``integral over c >= 0 of (integral_{-c} u K / integral_{-c} K)**2``.
    """
    from scipy.integrate import quad  # slow to import

    kernel = get_kernel(kernel)

    def square(c):
        mass = 0.5 + quad(kernel, 0.0, c)[0]
        first = kernel.half_moment(1) - quad(lambda u: u * float(kernel(u)), 0.0, c)[0]
        return (first / mass) ** 2

    return quad(square, 0.0, kernel.reach)[0]


def lipschitz_mse(kernel: AnyKernel, h, *, n, noise, lipschitz, boundary=True):
    """Worst mean squared error of a local mean over curves with ``|m(x) - m(t)| <= L |x - t|``; [3], theorem 1.

    Parameters
    ----------
    kernel : str or Kernel
        The weight function.
    h : float
        Bandwidth.
    n : float
        Observations per unit of x.
    noise : float
        Their variance.
    lipschitz : float
        L.
    boundary : bool
        Look back only (as values do), or to both sides.

    Returns
    -------
    float
        ``(L h c)**2 + sigma2 R / (n h)`` with c the mean absolute distance under the equivalent kernel.
    """
    kernel = get_kernel(kernel)
    distance = kernel.half_moment(1) / kernel.half_moment(0)
    roughness = equivalent_kernel(kernel, 0, boundary=boundary).roughness
    return (lipschitz * h * distance) ** 2 + noise * roughness / (n * h)


def lipschitz_bandwidth(kernel: AnyKernel, *, n, noise, lipschitz, boundary=True):
    """Minimiser of `lipschitz_mse`, of order ``n**(-1/3)``; [3], corollary 1.

    Looking back, the triangular kernel has the least error at its best bandwidth of all non-negative kernels [4].

    Parameters
    ----------
    kernel : str or Kernel
        The weight function.
    n : float
        Observations per unit of x.
    noise : float
        Their variance.
    lipschitz : float
        L.
    boundary : bool
        Look back only, or to both sides.

    Returns
    -------
    float
        The bandwidth; the error there is of order ``n**(-2/3)``, the minimax rate.
    """
    kernel = get_kernel(kernel)
    distance = kernel.half_moment(1) / kernel.half_moment(0)
    roughness = equivalent_kernel(kernel, 0, boundary=boundary).roughness
    return (noise * roughness / (2.0 * n * (lipschitz * distance) ** 2)) ** (1.0 / 3.0)


def suboptimality_bound(gap, gradient_mse, step_sizes, *, smoothness, pl_constant):
    """Expected distance from the best objective over stochastic gradient ascent; [3], theorem 3.

    Where the gradient of J is L-Lipschitz and ``|grad J|^2 >= 2 mu (J* - J)``, an unbiased estimate with mean squared
    error m and a step size of at most 1 / L give ``gap <- (1 - eta mu) gap + L eta^2 m / 2``. With steps ``beta / i``,
    ``beta mu > 1`` and bounded m this is of order 1 / i, with the limit of m as a factor; a consistent value
    estimate has the oracle's limit (corollary 3).

    Parameters
    ----------
    gap : float
        ``J* - J`` at the start.
    gradient_mse, step_sizes : sequence of float, length T
        m and eta of each step.
    smoothness, pl_constant : float
        L and mu.

    Returns
    -------
    list of float, length T
        Bound after each step.

    Raises
    ------
    ValueError
        If a step size is above 1 / L.
    """
    bounds = []
    for mse, eta in zip(gradient_mse, step_sizes, strict=True):
        if eta * smoothness > 1:
            raise ValueError(f"the bound holds for steps of at most 1 / L = {1 / smoothness:g}, got {eta:g}")
        gap = (1.0 - eta * pl_constant) * gap + 0.5 * smoothness * eta**2 * mse
        bounds.append(gap)
    return bounds
