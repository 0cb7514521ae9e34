"""Gaussian kernel sums on a grid by the fast Fourier transform, with a bound on the error.

Every observation is split between the two nearest grid nodes (linear binning), the sums at the nodes are one
convolution, and a target interpolates between two nodes. Each of the two linear interpolations of a function f errs by
at most ``delta**2 / 8 sup|f''|`` (delta: the grid step), and ``sup|K''| = K(0)`` for the Gaussian. A sum with total
weight W is therefore wrong by at most

    e = W K(0) ((delta / h)**2 / 4 + rounding of the transform),

and a ratio of two sums by at most ``e / S`` times the range of the responses, S the exact sum of kernel weights: the
response is measured from the middle of its range, so numerator and estimate are bounded by half the range.

References
----------
Wand, M. P. (1994). Fast computation of multivariate kernel estimators. Journal of Computational and Graphical
Statistics 3, 433-445.
"""

from __future__ import annotations

import math

import numpy as np

from kvar.kernels import GAUSSIAN
from kvar.smoothing.design import Design

__all__ = ["binned_sums", "grid_steps"]

# Most grid steps; where they are too coarse for the tolerance, direct sums take over.
_MOST_NODES = 1 << 22
# Rounding of the transforms of 2**k numbers, in units of the total weight: k times this (observed: a tenth of it).
_ROUNDING = 2.0**-50


def grid_steps(design: Design, h: float, tolerance: float) -> int:
    """Number of grid steps that `binned_sums` takes."""
    width = design.x[-1] - design.x[0]
    # Typical kernel sum: total weight times h over the range. A tenth of it is still inside the tolerance.
    step = math.sqrt(0.4 * tolerance * h**3 / (GAUSSIAN.at_zero * max(width, h)))
    return min(max(math.ceil(width / step), 1), _MOST_NODES)


def binned_sums(design: Design, h: float, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Approximate ``sum w_j k_j`` and ``sum v_j k_j`` over the other points of one series, (2, m), for local means.

    The second result, (m,), says where the bound guarantees `tolerance`, a fraction of the range of the responses.
    """
    from scipy.fft import irfft, next_fast_len, rfft  # slow to import

    x, w, v = design.x, design.w, design.v
    width = x[-1] - x[0]
    at_zero = GAUSSIAN.at_zero
    steps = grid_steps(design, h, tolerance)
    step = max(width / steps, np.finfo(float).tiny)
    position = (x - x[0]) / step
    node = np.minimum(position.astype(np.int64), steps - 1)
    right = position - node
    carries = w > 0.0
    means = v[carries] / w[carries]
    middle = 0.5 * (means.min() + means.max())
    lags = min(math.ceil(GAUSSIAN.reach * h / step), steps)
    size = next_fast_len(steps + 1 + lags, real=True)
    kernel = np.zeros(size)
    kernel[: lags + 1] = GAUSSIAN(np.arange(lags + 1) * step / h)
    kernel[size - lags :] = kernel[lags:0:-1]
    transform = rfft(kernel)
    sums = np.empty((2, x.size))
    for row, mass in enumerate((w, v - middle * w)):
        nodes = np.bincount(node, mass * (1.0 - right), minlength=size)
        nodes[1:] += np.bincount(node, mass * right, minlength=size)[:-1]
        smooth = irfft(rfft(nodes) * transform, n=size)
        # The point itself counts fully at distance zero.
        sums[row] = smooth[node] * (1.0 - right) + smooth[node + 1] * right - at_zero * mass
    error = np.sum(w) * at_zero * (0.25 * (step / h) ** 2 + _ROUNDING * math.log2(size))
    safe = error <= tolerance * (sums[0] - error)
    sums[1] += middle * sums[0]
    return sums, safe
