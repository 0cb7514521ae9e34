"""Local quadratics, in polynomials that are orthogonal under the weights of the window.

``p_0 = 1``, ``p_1 = u - a_0`` and ``p_2 = (u - a_1) p_1 - b_1`` with the squared norms g_r (Forsythe 1957). The fit is
the sum of ``c_r p_r``, and its derivatives at the target are sums of ``c_r p_r'(0)`` and so on. The moments up to order
four that all this takes come from two passes of the fast sums, with the kernel and with ``u**2`` times the kernel.
Where these carry too little, and for kernels with tails, the polynomials are made pair by pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kvar.kernels import CompactKernel, Kernel
from kvar.smoothing.design import Design
from kvar.smoothing.sums.direct import pair_blocks
from kvar.smoothing.sums.neighbour_sums import neighbour_sums, window_ends

__all__ = ["LocalQuadratics", "quadratic_fits", "quadratic_norms"]

# Squared norms, relative to the weight, under which a polynomial counts as zero on the window, ...
_NO_NORM = 1e-26
# ... and under which that of p_2 is made pair by pair: moments then give it to about twelve digits.
_DOUBTFUL_NORM = 1e-4
# Largest relative difference of the second moment between the two passes.
_DISAGREEMENT = 1e-12


@dataclass(frozen=True)
class LocalQuadratics:
    """Quadratic fits at points of a design, with or without an observation there."""

    weight: np.ndarray  # shape (t,): Sum of the kernel weights
    degenerate: np.ndarray  # shape (t,): The window holds too few x for a quadratic: a line, or the local mean
    own: np.ndarray  # shape (t,): Part of `weight` that is at the target itself
    # shape (3, t): Fit, first and second derivative per bandwidth; NaN for what the window does not determine.
    values: np.ndarray
    # shape (3, 3, t): [d, r] is the derivative d of p_r at the target over g_r; zero where p_r is.
    factors: np.ndarray
    recursion: np.ndarray  # shape (3, t): a_0, a_1, b_1
    direct: np.ndarray  # shape (t,): Made pair by pair

    @property
    def estimate(self) -> np.ndarray:
        """The fit; NaN where no neighbour has weight."""
        return self.values[0]

    @cached_property
    def influence(self) -> np.ndarray:
        """Derivative of the estimate in the mean response observed at the point itself."""
        return np.where(self.weight > 0.0, self.own * self.rows(0)[0], np.nan)

    def rows(self, derivative) -> np.ndarray:
        """Coefficients q_r, shape (3, t): the derivative is ``sum_j w_j k_j y_j sum_r q_r u_j**r`` per bandwidth."""
        first, second, third = self.factors[derivative]
        a, b, beta = self.recursion
        return np.stack([first - a * second + (a * b - beta) * third, second - (a + b) * third, third])


def quadratic_fits(design: Design, kernel: Kernel, h: float, *, past: bool, points, own_w, own_v) -> LocalQuadratics:
    """Fits at the design points `points`, with the weights and weighted responses `own_w`, `own_v` at the target."""
    own_w, own_v = np.broadcast_to(own_w, points.shape), np.broadcast_to(own_v, points.shape)
    sums, direct = _moments(design, kernel, h, past, squared=False)
    sums, direct = sums.take(points, axis=1), direct[points]
    own = kernel.at_zero * own_w
    with np.errstate(divide="ignore", invalid="ignore"):
        s0, t0 = sums[0] + own, sums[5] + kernel.at_zero * own_v
        s1, s2, s3, s4 = sums[1:5]
        a = s1 / s0
        g1 = s2 - a * s1
        b = (s3 - 2.0 * a * s2 + a**2 * s1) / g1
        beta = g1 / s0
        g2 = s4 - (a + b) * s3 + (a * b - beta) * s2
        mean = t0 / s0
        slope = sums[6] - mean * s1
        bend = sums[7] - mean * s2 - (a + b) * slope
        direct |= ~(g2 > _DOUBTFUL_NORM * s0)
    recursion, norms, totals = np.stack([a, b, beta]), np.stack([s0, g1, g2]), np.stack([t0, slope, bend])
    here = np.flatnonzero(direct)
    for chunk, owner, u, k, w, v in _pairs(design, kernel, h, past, points[here], own_w[here], own_v[here]):
        size = here[chunk].size
        recursion[:, here[chunk]], norms[:, here[chunk]], totals[:, here[chunk]] = _orthogonalise(
            size, owner, u, w * k, v * k
        )
    return _fits(recursion, norms, totals, own, direct)


def quadratic_norms(design: Design, kernel: Kernel, h: float, fits: LocalQuadratics, *, past: bool, derivative=0):
    """``sum_j l_j**2 / w_j`` at every point of the design, over the weights l_j of the derivative per bandwidth."""
    own_w = np.zeros(design.x.size) if past else design.w
    sums, direct = _moments(design, kernel, h, past, squared=True)
    s = sums[:5].copy()
    s[0] += kernel.at_zero**2 * own_w
    q0, q1, q2 = fits.rows(derivative)
    norms = q0**2 * s[0] + 2.0 * q0 * q1 * s[1] + (q1**2 + 2.0 * q0 * q2) * s[2] + 2.0 * q1 * q2 * s[3] + q2**2 * s[4]
    here = np.flatnonzero(direct | fits.direct)
    for chunk, owner, u, k, w, _ in _pairs(design, kernel, h, past, here, own_w[here], own_w[here]):
        target = here[chunk]
        p1, p2 = _polynomials(fits.recursion[:, target][:, owner], u)
        f0, f1, f2 = fits.factors[derivative][:, target][:, owner]
        row = k * (f0 + f1 * p1 + f2 * p2)
        norms[target] = np.bincount(owner, w * row**2, minlength=target.size)
    return np.where(np.isnan(fits.values[derivative]), np.nan, norms)


def _moments(design, kernel, h, past, squared):
    """Sums of ``w k u**r`` for r up to 4 and ``v k u**r`` for r up to 2 over the neighbours; where to distrust them."""
    m = design.x.size
    if not isinstance(kernel, CompactKernel):
        return np.zeros((8, m)), np.ones(m, dtype=bool)
    options = {"past": past, "degree": 1, "squared": squared}
    low = neighbour_sums(design, kernel, h, **options)
    high = neighbour_sums(design, kernel, h, **options, power=2)
    rows = [low[0], low[0] * low[2], high[0], high[0] * high[2], high[3] + high[0] * high[2] ** 2]
    rows += [low[1], low[4] + low[2] * low[1], high[1]]
    second = low[3] + low[0] * low[2] ** 2
    return np.stack(rows), ~(np.abs(second - high[0]) <= _DISAGREEMENT * second)


def _pairs(design, kernel, h, past, points, own_w, own_v):
    """Blocks of targets with their neighbours and themselves: place in the block, u, kernel weight, w and v."""
    if points.size == 0:
        return
    low, high = window_ends(design, h * (1.0 if isinstance(kernel, CompactKernel) else kernel.reach))
    end = points if past else high[points]
    for chunk, owner, j in pair_blocks(points, low[points], end):
        u = np.append((design.x[j] - design.x[points[chunk]][owner]) / h, np.zeros(points[chunk].size))
        w, v = np.append(design.w[j], own_w[chunk]), np.append(design.v[j], own_v[chunk])
        yield chunk, np.append(owner, np.arange(points[chunk].size)), u, kernel(np.abs(u)), w, v


def _polynomials(recursion, u):
    a, b, beta = recursion
    p1 = u - a
    return p1, (u - b) * p1 - beta


def _orthogonalise(size, owner, u, wk, vk):
    """Recursion, squared norms, and sums of ``v k p_r`` for the targets of a block; responses from their mean."""

    def total(values):
        return np.bincount(owner, values, minlength=size)

    with np.errstate(divide="ignore", invalid="ignore"):
        weight, value = total(wk), total(vk)
        a = total(wk * u) / weight
        residual = vk - wk * (value / weight)[owner]
        p1 = u - a[owner]
        g1 = total(wk * p1**2)
        spread = g1 > _NO_NORM * weight
        b = np.where(spread, total(wk * u * p1**2) / g1, 0.0)
        beta = g1 / weight
        p2 = (u - b[owner]) * p1 - beta[owner]
        # A quadratic through two points: what rounding leaves of p_2 is no curvature.
        g2 = np.where(spread, total(wk * p2**2), 0.0)
    return (
        np.stack([a, b, beta]),
        np.stack([weight, g1, g2]),
        np.stack([value, total(residual * p1), total(residual * p2)]),
    )


def _fits(recursion, norms, totals, own, direct):
    a, b, beta = recursion
    ones, zeros = np.ones(a.size), np.zeros(a.size)
    # Values and derivatives of the polynomials at the target.
    at_target = np.array([[ones, -a, a * b - beta], [zeros, ones, -(a + b)], [zeros, zeros, 2.0 * ones]])
    weight = norms[0]
    keep = norms > np.array([[0.0], [_NO_NORM], [_NO_NORM]]) * weight
    keep[2] &= keep[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.where(keep, at_target / norms, 0.0)
    values = np.sum(factors * np.where(keep, totals, 0.0), axis=1)
    # A line has no second derivative, a mean no first one.
    values = np.where(keep, values, np.nan)
    return LocalQuadratics(weight, (weight > 0.0) & ~keep[2], own, values, factors, recursion, direct)
