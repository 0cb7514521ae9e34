"""The noise about a fit: its variance, and the degrees of freedom of that estimate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kvar.kernels import Kernel
from kvar.smoothing.design import Design
from kvar.smoothing.local_fits import FitsAtTargets, fit_points, squared_norms
from kvar.smoothing.smoother_rows import smoother_matrix

__all__ = ["constant_noise_freedom", "local_noise", "rate_noise"]

# Up to this many points the smoother matrix is written down; beyond it Student's t is close to the normal anyway.
_MOST_POINTS = 300
# The effective number of squares under squared smoother weights, over the harmonic mean of those of responses under the
# smoother weights and under the kernel: 0.65 to 1.14 for all kernels, inside and at an end, as integrals show.
_MEAN_TO_SQUARE = 0.8
# Part of its own fit above which a response leaves nothing to its neighbours.
_ALL_OWN = 1.0 - 1e-9
# Part of the variance of a fit that rounding may give to squares without weight in it.
_ROUNDING = 1e-9


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


def local_noise(at: FitsAtTargets, y, weight) -> tuple[np.ndarray, np.ndarray]:
    """Noise variance at the targets, and its degrees of freedom, from squared leave-one-out residuals nearby.

    Each square has the weight with which its noise enters the variance of the fit, so that the standard error is right
    where the noise changes within the window (White 1980, Econometrica 48, 817-838). A residual says nothing where no
    neighbour, or no second x of a line, is left to predict the response from. With no more than two known squares in
    the window, as an effective number, or none that enters the variance of the fit, the variance is NaN.
    """
    design, fits, smoother = at.design, at.fits, at.smoother
    member = design.member
    own = np.zeros(y.size)
    if not smoother["past"]:
        np.divide(weight, design.w[member], where=weight > 0.0, out=own)
        own *= np.where(own > 0.0, fits.influence[member], 0.0)
    # A fit without the observation leaves the residual over 1 - own, and has noise itself. The square of that residual
    # is in the mean sigma**2 times one plus the squared norm of the weights that are left, over (1 - own)**2.
    with np.errstate(divide="ignore", invalid="ignore"):
        others = at.norms[member] - np.where(own == 0.0, 0.0, own**2 / weight)
        squares = (y - fits.estimate[member]) ** 2 / ((1.0 - own) ** 2 + others)
    known = np.isfinite(squares) & (weight > 0.0) & (own < _ALL_OWN) & ~fits.degenerate[member]

    def of_points(values):
        return np.bincount(member, np.where(known, values, 0.0), minlength=design.x.size)

    def norms_of(masses, fits, degree):
        """Squared norms at the targets, each point with its mass in place of its weight."""
        return squared_norms(replace(design, w=masses), fits=fits, **smoother | {"degree": degree})[at.where]

    known_part, counts, nearby = at.norms[at.where], design.w, fits
    if not np.all(known | (weight == 0.0)):
        counts = of_points(weight)
        known_part = norms_of(counts, fits, smoother["degree"])
        nearby = fit_points(replace(design, w=counts), **smoother | {"degree": 0})
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = norms_of(of_points(weight * squares), fits, smoother["degree"]) / known_part
        near = norms_of(counts, nearby, 0)
        enough = (near < 0.5 - 1e-9) & (known_part > _ROUNDING * at.norms[at.where])
        freedom = np.maximum(_MEAN_TO_SQUARE * 2.0 / (known_part + near), 1.0)
    return np.where(enough, variance, np.nan), np.where(enough, freedom, 0.0)


def rate_noise(at: FitsAtTargets, bounds: tuple[float, float]) -> np.ndarray:
    """Noise variance of binary responses at the targets, from local means nearby.

    The variance of a response is ``(m - low) (high - m)``, with m its mean. Each has the weight with which its noise
    enters the variance of the fit. A mean that looks back says nothing of the first point; the variance is largest
    there.
    """
    low, high = bounds
    mean = fit_points(at.design, **at.smoother | {"degree": 0}).estimate
    each = np.where(np.isnan(mean), 0.25 * (high - low) ** 2, (mean - low) * (high - mean))
    total = squared_norms(replace(at.design, w=at.design.w * each), fits=at.fits, **at.smoother)
    with np.errstate(invalid="ignore"):
        return (total / at.norms)[at.where]
