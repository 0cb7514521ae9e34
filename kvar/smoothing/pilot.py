"""Pilot fits for the rule of thumb and the plug-in: estimates of noise, derivatives and density."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kvar.kernels import GAUSSIAN, Kernel, get_kernel
from kvar.smoothing.design import Design
from kvar.smoothing.local_fits import fit_points, residual_variance, squared_norms
from kvar.theory import boundary_bias_square, equivalent_kernel

__all__ = ["Pilot", "mean_squared_error", "plug_in_pilot", "polynomial_pilot"]

_NODES = 401
# Distances between nodes, in steps.
_LAGS = np.arange(1 - _NODES, _NODES)
# Fraction of the range at either end that averages of estimated derivatives leave out, since these vary most there;
# Ruppert, Sheather and Wand (1995), section 5.
_TRIM = 0.05


@dataclass(frozen=True)
class Pilot:
    """Estimates of what the first-order error depends on."""

    noise: float  # Variance of the responses about the curve
    n: float  # n, width: Observations, and the range of their x
    width: float
    slope_square: float  # slope_square, curvature_square: Means of ``m'**2`` and ``m''**2`` over the data
    curvature_square: float
    drift_square: float  # Mean of ``(m'' + 2 m' f'/f)**2``: the curvature that a local mean feels
    end_slopes: float  # Sum of ``m'**2 f * width`` over the two ends


def mean_squared_error(pilot: Pilot, kernel: Kernel, degree: Literal[0, 1], h, *, past: bool):
    """Mean squared error over the data, to first order, from the formulas of `kvar.theory`."""
    constants = equivalent_kernel(kernel, degree, boundary=past)
    # The mean of 1 / f over the data is the range.
    variance = pilot.noise * constants.roughness * pilot.width / (pilot.n * h)
    if degree == 1:
        return 0.25 * h**4 * constants.second**2 * pilot.curvature_square + variance
    if past:
        return h**2 * constants.first**2 * pilot.slope_square + variance
    interior = 0.25 * h**4 * constants.second**2 * pilot.drift_square
    return interior + boundary_bias_square(kernel) * h**3 * pilot.end_slopes / pilot.width + variance


def _describe(design, noise, n, slope, curvature, trim=0.0):
    """The pilot estimates from derivatives of the curve at the points."""
    x, weight = design.x, design.w / np.sum(design.w)
    width = x[-1] - x[0]
    inner = _inner(design, trim)
    nodes, counts = _bin(design)[:2]
    step = nodes[1] - nodes[0]
    mean = np.sum(weight * x)
    spread = math.sqrt(np.sum(weight * (x - mean) ** 2))
    # Normal reference bandwidth for a density derivative, and mirrors at the ends, where a density may be cut off.
    g = max((4.0 / 5.0) ** (1.0 / 7.0) * spread * n ** (-1.0 / 7.0), step)
    # The points with a mirror image on either side.
    mirrored = np.zeros(3 * _NODES - 2)
    for first, part in ((0, counts[::-1]), (_NODES - 1, counts), (2 * _NODES - 2, counts[::-1])):
        mirrored[first : first + _NODES] += part / counts.sum()
    u = _LAGS * step / g
    density = np.correlate(mirrored, GAUSSIAN(u) / g, "valid")
    derivative = np.correlate(mirrored, u * GAUSSIAN(u) / g**2, "valid")
    log_slope = np.interp(x, nodes, derivative / density)
    left, right = np.searchsorted(x, [x[0] + trim * width, x[-1] - trim * width])
    ends = slope[left] ** 2 * density[0] + slope[right] ** 2 * density[-1]
    return Pilot(
        noise, n, width,
        float(np.sum(inner * slope**2)), float(np.sum(inner * curvature**2)),
        float(np.sum(inner * (curvature + 2.0 * slope * log_slope) ** 2)), float(ends * width),
    )  # fmt: skip


def _inner(design, trim):
    """Weights, of sum one, on the points outside the fraction `trim` of the range at either end."""
    x = design.x
    edge = trim * (x[-1] - x[0])
    w = design.w * ((x >= x[0] + edge) & (x <= x[-1] - edge))
    return w / np.sum(w) if np.any(w) else design.w / np.sum(design.w)


def _quartics(design, squares, blocks):
    """Quartic fits in blocks of equal size: residual sum of squares, and derivatives 1, 2 and 4 at the points."""
    total = 0.0
    found = [np.empty(design.x.size) for _ in range(3)]
    for part in np.array_split(np.arange(design.x.size), blocks):
        x, w = design.x[part], design.w[part]
        mean = design.mean[part]
        # Residuals within a point do not depend on the fit; they are in `squares`.
        fit = np.polynomial.Polynomial.fit(x, mean, min(4, x.size - 1), w=np.sqrt(w))
        total += float(np.sum(w * (mean - fit(x)) ** 2) + np.sum(squares[part]))
        for values, order in zip(found, (1, 2, 4), strict=True):
            values[part] = fit.deriv(order)(x)
    return total, *found


def polynomial_pilot(design: Design, squares) -> Pilot:
    """All estimates from one quartic fitted to all the data; Fan and Gijbels (1996), section 4.2."""
    n = float(np.sum(design.w))
    residual, slope, curvature, _ = _quartics(design, squares, 1)
    return _describe(design, residual / (n - 5.0), n, slope, curvature)


def plug_in_pilot(design: Design, squares) -> Pilot:
    """Quartics in blocks set the bandwidths of local cubics for the derivatives and of a local line for the noise.

    The scheme of Ruppert, Sheather and Wand (1995), section 5: blocks by Mallows' Cp, then two pilot bandwidths.
    """
    n, m = float(np.sum(design.w)), design.x.size
    width = design.x[-1] - design.x[0]
    most = max(min(m // 20, 5), 1)
    fits = [_quartics(design, squares, blocks) for blocks in range(1, most + 1)]
    scale = fits[-1][0] / (n - 5.0 * most)
    if not scale > 1e-20 * np.sum(squares + design.v**2 / design.w) / n:
        return polynomial_pilot(design, squares)  # hardly any noise: nothing to balance
    chosen = int(np.argmin([fit[0] / scale - (n - 10.0 * (k + 1)) for k, fit in enumerate(fits)]))
    residual, _, curvature, fourth = fits[chosen]
    noise = residual / (n - 5.0 * (chosen + 1))
    theta24 = np.sum(design.w * curvature * fourth) / n
    if theta24 == 0.0:
        return polynomial_pilot(design, squares)
    factor = 3.0 / (8.0 * math.sqrt(math.pi)) if theta24 < 0 else 15.0 / (16.0 * math.sqrt(math.pi))
    g = (factor * noise * width / (abs(theta24) * n)) ** (1.0 / 7.0)
    slope, curvature = _local_cubic(design, g)
    theta22 = np.sum(_inner(design, _TRIM) * curvature**2)
    factor = 4.0 * (0.5 + 2.0 * math.sqrt(2.0) - 4.0 / 3.0 * math.sqrt(3.0)) / math.sqrt(2.0 * math.pi)
    pilot = (factor * noise**2 * width / (theta22 * n) ** 2) ** (1.0 / 9.0)
    kernel = get_kernel("epanechnikov")
    pilot *= kernel.canonical_bandwidth / GAUSSIAN.canonical_bandwidth
    line = fit_points(design, kernel, pilot, past=False, degree=1)
    norms = squared_norms(design, kernel, pilot, line, past=False, degree=1)
    noise, _ = residual_variance(design, squares, line, norms, past=False)
    return _describe(design, noise, n, slope, curvature, _TRIM)


def _bin(design):
    """Linear binning on an even grid: the nodes, and the weights and weighted responses there."""
    nodes = np.linspace(design.x[0], design.x[-1], _NODES)
    position = (design.x - nodes[0]) / (nodes[1] - nodes[0])
    left = np.minimum(position.astype(np.int64), _NODES - 2)
    right = position - left
    sums = []
    for mass in (design.w, design.v):
        sums.append(np.bincount(left, mass * (1.0 - right), minlength=_NODES))
        sums[-1] += np.bincount(left + 1, mass * right, minlength=_NODES)
    return nodes, sums[0], sums[1]


def _local_cubic(design, g):
    """First and second derivative at the points from local cubics with a Gaussian weight, on binned data."""
    nodes, counts, totals = _bin(design)
    u = _LAGS * (nodes[1] - nodes[0]) / g
    weight = GAUSSIAN(u)

    def moment(masses, order):
        return np.correlate(np.pad(masses, _NODES - 1), weight * u**order, "valid")

    s = np.stack([moment(counts, order) for order in range(7)], axis=1)
    t = np.stack([moment(totals, order) for order in range(4)], axis=1)
    matrix = s[:, np.add.outer(np.arange(4), np.arange(4))]
    # Where the window holds fewer points than a cubic has coefficients, the pseudo-inverse takes the smallest ones.
    solution = np.einsum("nij,nj->ni", np.linalg.pinv(matrix, hermitian=True), t)
    return np.interp(design.x, nodes, solution[:, 1] / g), np.interp(design.x, nodes, 2.0 * solution[:, 2] / g**2)
