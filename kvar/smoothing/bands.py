"""Confidence limits of a fit: pointwise or simultaneous, with or without its bias, of any responses or bounded ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kvar.intervals import checked_bounds, rate_limits
from kvar.kernels import Kernel
from kvar.smoothing.design import Design
from kvar.smoothing.smoother_rows import by_series, smoother_rows

__all__ = [
    "ConfidenceBand",
    "bounded_limits",
    "careful_noise",
    "corrected_smoother",
    "level_at_each",
    "response_bounds",
    "student_quantiles",
    "symmetric_limits",
]


@dataclass(frozen=True)
class ConfidenceBand:
    """Confidence limits; NaN where nothing is known of the noise."""

    lower: np.ndarray  # lower, estimate, upper: shape (t,): Limits and the estimate that they belong to
    estimate: np.ndarray
    upper: np.ndarray
    level: float  # Coverage at each point, or at all of them at once


def response_bounds(bounds, y) -> tuple[tuple[float, float] | None, bool]:
    """Least and largest possible response or None, and whether no other occurs; ``"auto"`` knows zeros and ones."""
    if isinstance(bounds, str) and bounds == "auto":
        return ((0.0, 1.0), True) if np.all((y == 0.0) | (y == 1.0)) else (None, False)
    if bounds is None:
        return None, False
    low, high = checked_bounds(bounds)
    outside = y[(y < low) | (y > high)]
    if outside.size:
        raise ValueError(f"a response, {outside[0]:g}, lies outside the bounds {low:g} to {high:g}; widen them")
    return (low, high), bool(np.all((y == low) | (y == high)))


def student_quantiles(freedom, level: float) -> np.ndarray:
    """Quantiles of the absolute value of Student's t; NaN without degrees of freedom."""
    from scipy.special import stdtrit  # slow to import

    known = freedom > 0.0
    return np.where(known, stdtrit(np.where(known, freedom, 1.0), 0.5 + 0.5 * level), np.nan)


def symmetric_limits(estimate, standard_error, quantile):
    """Limits ``estimate -+ quantile standard_error``; NaN where the error is unknown."""
    half = quantile * np.where(np.isfinite(standard_error), standard_error, np.nan)
    return estimate - half, estimate + half


def bounded_limits(estimate, norms, noise, freedom, level: float, bounds: tuple[float, float], *, binary: bool):
    """Limits that stay within the bounds, and the estimate within them too.

    A fit with squared norm N of its weights is worth 1 / N responses (Kish 1965). Binary responses have the variance
    ``p (1 - p)``, and Wilson's limits. To these `noise` adds, where it is known, what the variance of the responses
    around is larger by. Others have Student's, cut off at the bounds, with a variance of their own. So the weights of
    a line, some of which are negative, do no harm. Where no variance is known, or no response differs, the limits are
    those of binary responses, whose variance is the largest.
    """
    low, high = bounds
    rate = np.clip((estimate - low) / (high - low), 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = 1.0 / norms
    extra = norms * np.fmax(noise / (high - low) ** 2 - rate * (1.0 - rate), 0.0) if binary else 0.0
    lower, upper = (low + (high - low) * limit for limit in rate_limits(rate, size, level, extra))
    if not binary:
        known = (freedom > 0.0) & (noise > 0.0)
        own = symmetric_limits(estimate, np.sqrt(noise * norms), student_quantiles(freedom, level))
        lower, upper = (np.where(known, np.clip(x, low, high), y) for x, y in zip(own, (lower, upper), strict=True))
    return lower, low + (high - low) * rate, upper


def careful_noise(estimate, norms, noise, freedom, bounds: tuple[float, float]):
    """Local noise with one more response of the largest variance: few bounded responses can be equal by chance."""
    low, high = bounds
    with np.errstate(divide="ignore", invalid="ignore"):
        size = 1.0 / norms
        # Half a response at either end keeps the variance away from zero (Agresti and Coull 1998).
        rate = (np.clip((estimate - low) / (high - low), 0.0, 1.0) * size + 0.5) / (size + 1.0)
    return (noise * freedom + rate * (1.0 - rate) * (high - low) ** 2) / (freedom + 1.0)


def corrected_smoother(design: Design, h: float, *, past: bool, degree: int) -> tuple[Literal[0, 1, 2], float]:
    """Degree and bandwidth of the fit whose limits count the bias of another.

    The bias of the fit is estimated by a polynomial of higher degree in the same window. The corrected estimate is then
    that polynomial itself (Calonico, Cattaneo and Farrell 2018, Journal of the American Statistical Association 113,
    767-779, remark 7, with equal bandwidths). Its degree is 2, since a line leaves the bias of a mean inside the data
    as it is; looking back, where every point is an end, one more than that of the fit.

    The bandwidth with the least error of the fit is not that with the least error of coverage. At an end a parabola has
    a bias of order ``h**3``, and the coverage of its limits errs by terms of order ``1 / (n h)``, ``n h**7`` and
    ``h**3``: least at ``n**(-1/4)``, where the error of a line is least at ``n**(-1/5)``. Hence the factor
    ``n**(-1/20)``, for n observations of a series (Calonico, Cattaneo and Farrell 2020, Econometrics Journal 23,
    192-210; ``bwselect="cerrd"`` of their rdrobust). A line in place of a mean has ``h**2`` and ``n h**5``, and
    ``n**(-1/3)`` is best for both.
    """
    n = np.sum(design.w) / (design.starts.size - 1)
    narrow = h if past and degree == 0 else h * max(n, 1.0) ** -0.05
    return (1 if past and degree == 0 else 2), narrow


def level_at_each(
    design: Design, targets, level: float, kernel: Kernel, h: float, *, past: bool, degree: int, series=None
) -> float:
    """The pointwise level at which all targets at once have coverage `level`.

    Between neighbouring targets the normed weights of the smoother turn by an angle a. The chance that a normal process
    leaves its limits -+c there for the first time is at most ``a / pi exp(-c**2 / 2)`` and at most that of leaving them
    at one target (Naiman 1986, Annals of Statistics 14, 896-906; for smoothers Sun and Loader 1994, Annals of
    Statistics 22, 1328-1345).
    """
    from scipy.optimize import brentq  # slow to import
    from scipy.special import ndtr

    turns: list[np.ndarray] = []
    for part, mine in by_series(design, targets, series):
        # A series starts anew, as a target after one without a fit does.
        turns.append(np.full(1 if turns else 0, np.pi))
        for _, columns, weights in smoother_rows(part, np.unique(targets[mine]), kernel, h, past=past, degree=degree):
            with np.errstate(divide="ignore", invalid="ignore"):
                normed = np.where(part.w[columns] > 0.0, weights / np.sqrt(part.w[columns]), 0.0)
                normed = normed / np.sqrt(np.sum(normed**2, axis=1, keepdims=True))
            # The length of the chord gives small angles without cancellation.
            chord = np.sqrt(np.sum((normed[1:] - normed[:-1]) ** 2, axis=1))
            turns.append(2.0 * np.arcsin(np.minimum(0.5 * chord, 1.0)))
    angles = np.concatenate([*turns, np.zeros(0)])
    # A target without a fit has no limits to leave.
    angles = np.where(np.isnan(angles), np.pi, np.minimum(angles, np.pi))

    def excess(c):
        one = 2.0 * ndtr(-c)
        return one + np.sum(np.minimum(angles / np.pi * np.exp(-0.5 * c**2), one)) - (1.0 - level)

    c = brentq(excess, 0.0, 40.0) if excess(0.0) > 0.0 else 0.0
    return float(1.0 - 2.0 * ndtr(-c))
