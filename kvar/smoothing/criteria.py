"""Scores of candidate bandwidths; one function a criterion, lower is better."""

from __future__ import annotations

import math

import numpy as np

from kvar.smoothing.local_fits import fit_points, leave_one_out, nearest, squared_row
from kvar.smoothing.pilot import mean_squared_error, plug_in_pilot, polynomial_pilot
from kvar.smoothing.problem import Problem
from kvar.theory import optimal_bandwidth

__all__ = ["CRITERIA", "average_weights"]

# Gaussian sums on a grid may err by this share of the range of the responses; scores then move by about as much.
_TOLERANCE = 1e-7
# Standard deviation of the logarithm of the bandwidth about the reference: two of them are a factor of six.
_REFERENCE_SPREAD = 0.9


def _prediction_error(problem, grid):
    """Mean squared error of predictions that do not use the response: leave-one-out, or from the past."""
    scores, lonely = np.empty(grid.size), np.zeros(grid.size, dtype=np.int64)
    use = slice(None) if np.all(problem.scored) else problem.scored
    share = problem.weight[use] / np.sum(problem.weight[use])
    y = problem.y[use]
    stand_in = nearest(problem.design, past=problem.past)[problem.design.member][use]
    for g, h in enumerate(grid):
        fits = leave_one_out(
            problem.design, problem.kernel, h, past=problem.past, degree=problem.degree, tolerance=_TOLERANCE
        )
        estimate = fits.estimate[use]
        # A line whose window holds one x only has no slope.
        lonely[g] = np.count_nonzero(np.isnan(estimate) | fits.degenerate[use])
        if lonely[g] and problem.empty == "nan":
            scores[g] = math.inf
            continue
        if lonely[g]:
            estimate = np.where(np.isnan(estimate), stand_in, estimate)
        scores[g] = np.sum(share * (y - estimate) ** 2)  # a dot product would wake the threads of BLAS
    return scores, lonely


def _penalised(penalty):
    """A criterion that trades the residuals against the trace of the smoother matrix."""

    def score(problem, grid):
        scores, lonely = np.empty(grid.size), np.zeros(grid.size, dtype=np.int64)
        design, n = problem.design, float(np.sum(problem.weight))
        mean, within = design.v / design.w, np.sum(problem.squares())
        for g, h in enumerate(grid):
            fits = fit_points(design, problem.kernel, h, past=False, degree=problem.degree, tolerance=_TOLERANCE)
            residual = (np.sum(design.w * (mean - fits.estimate) ** 2) + within) / n
            lonely[g] = np.count_nonzero(_alone(problem, fits))
            rejected = lonely[g] and problem.empty == "nan"
            scores[g] = math.inf if rejected else penalty(residual, float(np.sum(fits.influence)), n)
        return scores, lonely

    return score


def _alone(problem, fits):
    """Scored observations whose fit is their own response, or a line through one point."""
    member = problem.design.member
    own = fits.influence[member] * problem.weight / problem.design.w[member]
    return problem.scored & ((own >= 1.0 - 1e-12) | fits.degenerate[member])


def _gcv(residual, trace, n):
    return residual / (1.0 - trace / n) ** 2 if trace < n else math.inf


def _aicc(residual, trace, n):
    if trace + 2.0 >= n:
        return math.inf
    return math.log(max(residual, 1e-300)) + 1.0 + 2.0 * (trace + 1.0) / (n - trace - 2.0)


def _asymptotic(find_pilot):
    """A criterion from the first-order theory, its unknowns estimated."""

    def score(problem, grid):
        pilot = find_pilot(problem.design, problem.squares())
        scores = mean_squared_error(pilot, problem.kernel, problem.degree, grid, past=problem.past)
        return scores, np.zeros(grid.size, dtype=np.int64)

    return score


def _averaged(problem, grid):
    """AICc and what is known before the data come: a bandwidth is as unlikely as it is far from the reference."""
    scores, lonely = _penalised(_aicc)(problem, grid)
    distance = np.log(grid / _reference_bandwidth(problem)) / _REFERENCE_SPREAD
    return scores + 2.0 * distance**2 / np.sum(problem.weight), lonely


def average_weights(problem: Problem, scores):
    """Share of each candidate in the averaged bandwidth: ``exp(-n score / 4)``."""
    weights = np.exp(-0.25 * np.sum(problem.weight) * (scores - np.min(scores)))
    return weights / np.sum(weights)


def _reference_bandwidth(problem):
    """The best bandwidth, to first order, for one wave over the range with as much variance as the noise."""
    design = problem.design
    spans = design.x[design.starts[1:] - 1] - design.x[design.starts[:-1]]
    spans = spans[spans > 0.0]
    width = float(np.mean(spans)) if spans.size else 1.0
    n = float(np.sum(problem.weight)) / max(spans.size, 1)
    curvature = (2.0 * math.pi / width) ** 2
    return optimal_bandwidth(problem.kernel, problem.degree, n=n, noise=1.0, curvature=curvature, density=1.0 / width)


def _lepski(problem, grid):
    """Squared distance to every less smooth fit beyond what its noise explains, plus the variance of the fit itself.

    Goldenshluger and Lepski (2011), with the distance taken over the data. The noise comes from differences of
    neighbouring responses, which hold no bandwidth.
    """
    design, past = problem.design, problem.past
    weight = np.bincount(design.member, problem.weight * problem.scored, minlength=design.x.size)
    share = weight / np.sum(weight)
    noise = _difference_noise(problem)
    instead = nearest(design, past=past)
    fits, variances = [], np.empty(grid.size)
    scores, lonely = np.full(grid.size, math.inf), np.zeros(grid.size, dtype=np.int64)
    for g, h in enumerate(grid):
        fit = fit_points(design, problem.kernel, h, past=past, degree=problem.degree)
        norm = squared_row(design, problem.kernel, h, fit, past=past, degree=problem.degree)
        alone = np.isnan(fit.estimate)[design.member] & problem.scored if past else _alone(problem, fit)
        lonely[g] = np.count_nonzero(alone)
        variances[g] = noise * np.sum((share * np.where(np.isnan(norm), 1.0, norm))[share > 0.0])
        fits.append(np.where(share > 0.0, np.where(np.isnan(fit.estimate), instead, fit.estimate), 0.0))
        if lonely[g] and problem.empty == "nan":
            continue
        bias = 0.0
        for k in range(g):
            if np.isfinite(scores[k]):
                # Of the noise of the rougher fit the smoother one keeps its own part.
                noise_part = variances[k] - variances[g]
                bias = max(bias, float(np.sum(share * (fits[g] - fits[k]) ** 2)) - noise_part)
        scores[g] = bias + variances[g]
    return scores, lonely


def _difference_noise(problem):
    """Noise variance from responses at equal points and differences between neighbouring ones (Rice 1984)."""
    design = problem.design
    mean = design.v / design.w
    series = np.repeat(np.arange(design.starts.size - 1), np.diff(design.starts))
    together = series[1:] == series[:-1]
    # A difference of two means has variance sigma**2 (1 / w + 1 / w').
    squares = (np.diff(mean) ** 2 / (1.0 / design.w[1:] + 1.0 / design.w[:-1]))[together]
    freedom = np.sum(design.w) - design.x.size if design.mates_w is not None else 0.0
    total = float(np.sum(squares) + np.sum(problem.squares()))
    return total / (squares.size + freedom) if squares.size + freedom > 0.0 else 0.0


CRITERIA = {
    "averaged": _averaged,
    "rule-of-thumb": _asymptotic(polynomial_pilot),
    "plug-in": _asymptotic(plug_in_pilot),
    "loo-cv": _prediction_error,
    "gcv": _penalised(_gcv),
    "aicc": _penalised(_aicc),
    "one-step-ahead": _prediction_error,
    "lepski": _lepski,
}
