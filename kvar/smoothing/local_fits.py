"""From kernel sums to estimates, their variances, and stand-ins where a window is empty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kvar.kernels import Kernel
from kvar.smoothing.design import Design
from kvar.smoothing.local_quadratics import LocalQuadratics, quadratic_fits, quadratic_norms
from kvar.smoothing.sums.neighbour_sums import neighbour_sums

__all__ = [
    "FitsAtTargets",
    "LocalFits",
    "fit_points",
    "leave_one_out",
    "nearest",
    "residual_variance",
    "squared_norms",
]

# Spread, relative to the weight and in bandwidths squared, below which all weight counts as being at one point.
_ONE_POINT = 1e-26


@dataclass(frozen=True)
class FitsAtTargets:
    """Fits at the points of a design that has some targets, and what their errors are made of, each summed up once."""

    design: Design  # The points of the data and of the targets; `member` are those of the observations
    where: np.ndarray  # shape (t,): The point of each target
    fits: LocalFits | LocalQuadratics  # At the points
    smoother: dict[str, Any]  # kernel, h, past, degree

    @cached_property
    def norms(self) -> np.ndarray:
        """Squared norms of the smoother weights of each point."""
        return squared_norms(self.design, fits=self.fits, **self.smoother)


@dataclass(frozen=True)
class LocalFits:
    """Fits at the points of a design, or with one observation left out at each observation."""

    estimate: np.ndarray  # shape (t,): NaN where no neighbour has weight
    weight: np.ndarray  # shape (t,): Sum of the kernel weights
    # shape (t,): Degree 1 only: all weight is at one point, so no slope is determined and the estimate is the local
    # mean.
    degenerate: np.ndarray
    own: np.ndarray | float  # shape (t,): Part of `weight` that is at the target itself
    # tilt, offset: shape (t,): ``estimate = sum_j w_j k_j (1 - tilt (u_j - offset)) y_j / weight``; zero for degree 0.
    tilt: np.ndarray | float
    offset: np.ndarray | float
    # slope, spread: shape (t,): Derivative of the estimate per bandwidth, and the weighted squares about the offset.
    # NaN where the window has no slope, and for degree 0.
    slope: np.ndarray | float
    spread: np.ndarray | float

    @property
    def values(self):
        """The estimate and its derivative per bandwidth."""
        return self.estimate, self.slope

    @cached_property
    def influence(self) -> np.ndarray:
        """Derivative of the estimate in the mean response observed at the point itself."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.own / self.weight * (1.0 + self.tilt * self.offset)


def _combine(design, sums, own_w, own_v, degree) -> LocalFits:
    """Fits from the sums over the neighbours, and the weight and the weighted response at the target itself."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if degree == 0:
            sums[0] += own_w
            sums[1] += own_v
            weight, value = sums
            # A mean lies among the responses; the rounding of its sums might leave them.
            estimate = np.divide(value, weight, out=value).clip(*design.span, out=value)
            return LocalFits(estimate, weight, np.zeros(weight.size, dtype=bool), own_w, 0.0, 0.0, math.nan, math.nan)
        weight, value = sums[0] + own_w, sums[1] + own_v
        estimate = value / weight
        # A group at distance zero joins one at mean distance sums[2]: the parallel-axis rule, all terms positive.
        offset = sums[2] * sums[0] / weight
        spread = sums[3] + sums[0] * own_w / weight * sums[2] ** 2
        slope = sums[4] + sums[2] * (sums[1] * own_w - sums[0] * own_v) / weight
        occupied = weight > 0.0
        degenerate = occupied & ~(spread > _ONE_POINT * weight)
        tilt = np.where(occupied & ~degenerate, offset / np.where(spread > 0.0, spread, 1.0) * weight, 0.0)
        offset = np.where(occupied, offset, 0.0)
        estimate = estimate - np.where(tilt == 0.0, 0.0, tilt * slope / weight)
        spread = np.where(occupied & ~degenerate, spread, math.nan)
    return LocalFits(estimate, weight, degenerate, own_w, tilt, offset, slope / spread, spread)


def fit_points(
    design: Design, kernel: Kernel, h: float, *, past: bool, degree: int, tolerance=0.0
) -> LocalFits | LocalQuadratics:
    """Fits at every point of the design, observations at the point included unless `past`."""
    own_w, own_v = (0.0, 0.0) if past else (design.w, design.v)
    return _fits_at(design, kernel, h, past, degree, tolerance, None, own_w, own_v)


def leave_one_out(
    design: Design, kernel: Kernel, h: float, *, past: bool, degree: int, tolerance=0.0, whole_step=False
) -> LocalFits | LocalQuadratics:
    """Fits at every observation without it; with `past` these are the predictions one step ahead.

    A `whole_step` leaves out the observations at the same point too.
    """
    own_w: np.ndarray | float | None = design.mates_w
    own_v: np.ndarray | float | None = design.mates_v
    if past or whole_step or own_w is None:
        own_w = own_v = 0.0
    return _fits_at(design, kernel, h, past, degree, tolerance, design.member, own_w, own_v)


def _fits_at(design, kernel, h, past, degree, tolerance, points, own_w, own_v):
    """Fits at some points of the design (None: at all), given the weight and weighted response at the target itself."""
    if degree == 2:
        points = np.arange(design.x.size) if points is None else points
        return quadratic_fits(design, kernel, h, past=past, points=points, own_w=own_w, own_v=own_v)
    sums = neighbour_sums(design, kernel, h, past=past, degree=degree, tolerance=tolerance)
    if points is not None:
        sums = sums.take(points, axis=1)  # `sums[:, points]` takes eight times as long
    return _combine(design, sums, kernel.at_zero * own_w, kernel.at_zero * own_v, degree)


def squared_norms(design: Design, kernel: Kernel, h: float, fits, *, past: bool, degree: int, derivative=0):
    """``sum_j l_j**2 / w_j`` over the smoother weights of each point: the variance of a fit at noise variance one.

    Of the `derivative` per bandwidth, if that is wanted.
    """
    if degree == 2:
        return quadratic_norms(design, kernel, h, fits, past=past, derivative=derivative)
    sums = neighbour_sums(design, kernel, h, past=past, degree=degree, squared=True)
    own = np.zeros(design.x.size) if past else kernel.at_zero**2 * design.w
    weight = sums[0] + own
    with np.errstate(divide="ignore", invalid="ignore"):
        if degree == 0:
            return weight / fits.weight**2
        mean = np.where(weight > 0.0, sums[2] * sums[0] / weight, 0.0)
        spread = sums[3] + np.where(weight > 0.0, sums[0] * own / weight, 0.0) * sums[2] ** 2
        if derivative == 1:
            return (weight * (mean - fits.offset) ** 2 + spread) / fits.spread**2
        level = 1.0 - fits.tilt * (mean - fits.offset)
        return (weight * level**2 + fits.tilt**2 * spread) / fits.weight**2


def nearest(design: Design, *, past: bool):
    """Mean response at the nearest other (earlier) point with weight, averaged over two equally near; NaN if none."""
    m, mean = design.x.size, design.mean
    index, carries = np.arange(m), design.w > 0.0
    before = np.append(-1, np.maximum.accumulate(np.where(carries, index, -1))[:-1])
    after = np.append(np.minimum.accumulate(np.where(carries, index, m)[::-1])[::-1][1:], m)
    left = np.where(before >= design.first, design.x - design.x[before], np.inf)
    right = np.where((after < design.last) & (not past), design.x[np.minimum(after, m - 1)] - design.x, np.inf)
    chosen = np.where(left < right, mean[before], mean[np.minimum(after, m - 1)])
    both = (left == right) & np.isfinite(left)
    chosen[both] = 0.5 * (mean[before[both]] + mean[after[both]])
    return np.where(np.isfinite(left) | np.isfinite(right), chosen, np.nan)


def residual_variance(design: Design, squares, fits, norms, *, past: bool) -> tuple[float, float]:
    """Residual variance of a fit, NaN where no degrees of freedom are left, and the expectation that it divides by.

    Fan and Gijbels (1996), equation 4.3. `squares` are the weighted sums of squares within each point, `norms` the
    squared norms of the smoother weights there.
    """
    use = (fits.weight > 0.0) & (design.w > 0.0)
    w = design.w[use]
    residual = np.sum(w * (design.v[use] / w - fits.estimate[use]) ** 2 + squares[use])
    trace = 0.0 if past else np.sum(fits.influence[use])
    expected = float(np.sum(w) - 2.0 * trace + np.sum(w * norms[use]))
    return (float(residual / expected) if expected > 1e-9 * np.sum(w) else math.nan), expected
