"""The noise about a fit: its variance, and the degrees of freedom of that estimate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from kvar.kernels import Kernel
from kvar.smoothing.design import Design
from kvar.smoothing.local_fits import fit_points, leave_one_out, squared_norms
from kvar.smoothing.smoother_rows import smoother_matrix

__all__ = ["constant_noise_freedom", "local_noise", "rate_noise"]

# Up to this many points the smoother matrix is written down; beyond it Student's t is close to the normal anyway.
_MOST_POINTS = 300
# The effective number of squares under squared smoother weights, over the harmonic mean of those of responses under the
# smoother weights and under the kernel: 0.65 to 1.14 for all kernels, inside and at an end, as integrals show.
_MEAN_TO_SQUARE = 0.8
# Part of its own fit above which a response leaves nothing to its neighbours.
_ALL_OWN = 1.0 - 1e-9


def constant_noise_freedom(
    design: Design, expected: float, kernel: Kernel, h: float, *, past: bool, degree: int
) -> float:
    """Degrees of freedom of the residual variance: ``tr(R)**2 / tr(R**2)`` for residual sum of squares ``y'R y``.

    Cleveland and Devlin (1988), Journal of the American Statistical Association 83, 596-610, section 4.2. For more than
    300 points, what the residual sum of squares is divided by, `expected`, or the number of observations, whichever is
    less.
    """
    w = design.w
    if design.x.size > _MOST_POINTS:
        return min(float(np.sum(w)), expected)
    use = (fit_points(design, kernel, h, past=past, degree=degree).weight > 0.0) & (w > 0.0)
    hat = smoother_matrix(design, kernel, h, past=past, degree=degree)
    use &= ~np.isnan(hat).any(axis=1)  # a line through one point leaves no residual
    root = np.sqrt(w)
    scaled = root[use, None] * (np.eye(design.x.size) - hat)[use]
    scaled = np.divide(scaled, root, where=root > 0.0, out=np.zeros_like(scaled))
    within = float(np.sum(w[use]) - np.count_nonzero(use))  # of observations at equal points
    trace = float(np.sum(scaled**2)) + within
    square = float(np.sum((scaled @ scaled.T) ** 2)) + within
    return trace**2 / square if square > 0.0 else 0.0


def local_noise(design: Design, y, weight, union: Design, where, kernel: Kernel, h: float, *, past: bool, degree: int):
    """Noise variance at the places `where` of a design, and its degrees of freedom, from squared residuals nearby.

    The residuals are leave-one-out ones. The `union` is the design with further points, or the design itself.

    Each square has the weight with which its noise enters the variance of the fit, so that the standard error is right
    where the noise changes within the window (White 1980, Econometrica 48, 817-838). A residual says nothing where no
    neighbour, or no second x of a line, is left to predict the response from. With no more than two known squares in
    the window, as an effective number, the variance is NaN.
    """
    others = leave_one_out(design, kernel, h, past=past, degree=degree)
    fits = fit_points(design, kernel, h, past=past, degree=degree)
    norms = squared_norms(design, kernel, h, fits, past=past, degree=degree)[design.member]
    own = np.zeros(y.size)
    if not past:
        # Leave the observation's own weight out of its row of the smoother matrix.
        np.divide(weight, design.w[design.member], where=weight > 0.0, out=own)
        own *= np.where(own > 0.0, fits.influence[design.member], 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            norms = (norms - np.where(own == 0.0, 0.0, own**2 / weight)) / (1.0 - own) ** 2
    # A leave-one-out prediction is noisy itself: the squared residual has mean sigma**2 (1 + norm).
    squares = (y - others.estimate) ** 2 / (1.0 + norms)
    known = np.isfinite(squares) & (weight > 0.0) & (own < _ALL_OWN) & ~others.degenerate
    counts = np.bincount(design.member, np.where(known, weight, 0.0), minlength=design.x.size)
    totals = np.bincount(design.member, np.where(known, weight * squares, 0.0), minlength=design.x.size)
    smoother: dict[str, Any] = {"kernel": kernel, "h": h, "past": past}
    place = slice(None) if union is design else union.member
    if union is not design:
        fits = fit_points(union, **smoother, degree=degree)

    def norms_of(values, fits, degree):
        """Squared norms at the targets, each point with its value in place of its weight."""
        masses = np.zeros(union.x.size)
        masses[place] = values
        return squared_norms(replace(union, w=masses), fits=fits, **smoother, degree=degree)[where]

    known_part = norms_of(counts, fits, degree)
    squares_near = np.zeros(union.x.size)
    squares_near[place] = counts
    nearby = fit_points(replace(union, w=squares_near), **smoother, degree=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = norms_of(totals, fits, degree) / known_part
        near = norms_of(counts, nearby, 0)
        enough = near < 0.5 - 1e-9
        freedom = np.maximum(_MEAN_TO_SQUARE * 2.0 / (known_part + near), 1.0)
    return np.where(enough, variance, np.nan), np.where(enough, freedom, 0.0)


def rate_noise(design: Design, bounds: tuple[float, float], kernel: Kernel, h: float, *, past: bool, degree: int):
    """Noise variance of binary responses at the points of a design, from local means nearby.

    The variance of a response is ``(m - low) (high - m)``, with m its mean. Each has the weight with which its noise
    enters the variance of the fit. A mean that looks back says nothing of the first point; the variance is largest
    there.
    """
    smoother: dict[str, Any] = {"kernel": kernel, "h": h, "past": past}
    low, high = bounds
    mean = fit_points(design, **smoother, degree=0).estimate
    each = np.where(np.isnan(mean), 0.25 * (high - low) ** 2, (mean - low) * (high - mean))
    fits = fit_points(design, **smoother, degree=degree)
    total, weight = (
        squared_norms(replace(design, w=w), fits=fits, **smoother, degree=degree) for w in (design.w * each, design.w)
    )
    with np.errstate(invalid="ignore"):
        return total / weight
