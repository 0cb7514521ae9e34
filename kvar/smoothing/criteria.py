"""Criteria for a bandwidth: how each scores the candidates, and what it makes of the scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kvar.smoothing.data_checks import check_counts
from kvar.smoothing.local_fits import fit_points, leave_one_out, nearest, squared_norms
from kvar.smoothing.pilot import mean_squared_error, plug_in_pilot, polynomial_pilot
from kvar.smoothing.selection_problem import Problem
from kvar.theory import optimal_bandwidth

__all__ = ["CRITERIA", "Criterion", "least"]

# Gaussian sums on a grid may err by this fraction of the range of the responses; scores then move by about as much.
_TOLERANCE = 1e-7
# Standard deviation of the logarithm of the bandwidth about the reference: two of them are a factor of six.
_REFERENCE_SPREAD = 0.9


def least(scores) -> int:
    """The candidate with the least score; of equal ones the widest, which has the least variance."""
    return scores.size - 1 - int(np.argmin(scores[::-1]))


def _all_on_the_least(problem, scores):
    return (np.arange(scores.size) == least(scores)).astype(float)


@dataclass(frozen=True)
class Criterion:
    """One method of `kvar.select_bandwidth`."""

    # From a problem and increasing candidates to the score of each (lower is better; infinite or NaN rejects) and the
    # number of scored observations that it leaves without a neighbour.
    score: Callable[[Problem, np.ndarray], tuple[np.ndarray, np.ndarray]]
    # From a problem and the scores to the weight of each candidate in the choice.
    weigh: Callable[[Problem, np.ndarray], np.ndarray] = _all_on_the_least
    looks_back: bool = True  # Whether it can score an estimator that uses earlier points only
    pools: bool = True  # Whether it can score one bandwidth for many series
    quadratics: bool = True  # Whether it can score local quadratics
    counts: bool = True  # Whether the weights count observations, rather than only compare them
    continuous: bool = True  # Whether it has its least score, which may lie between candidates
    whole_step: bool = False  # Whether it predicts an observation without those at the same x
    logarithmic: bool = False  # Whether a score is the logarithm of a squared error, rather than one itself

    def in_units(self, scores, unit):
        """Scores of responses that were divided by a unit, in the units of the responses."""
        return scores + 2.0 * math.log(unit) if self.logarithmic else scores * unit**2


def _prediction_error(problem, grid):
    """Mean squared error of predictions that do not use the response: leave-one-out, or from the past."""
    scores, lonely = np.empty(grid.size), np.zeros(grid.size, dtype=np.int64)
    use = slice(None) if np.all(problem.scored) else problem.scored
    weight = problem.weight[use] / np.sum(problem.weight[use])
    y = problem.y[use]
    stand_in = nearest(problem.design, past=problem.past)[problem.design.member][use]
    for g, h in enumerate(grid):
        fits = leave_one_out(
            problem.design,
            problem.kernel,
            h,
            past=problem.past,
            degree=problem.degree,
            tolerance=_TOLERANCE,
            whole_step=problem.whole_step,
        )
        estimate = fits.estimate[use]
        # A line whose window holds one x only has no slope.
        alone = np.isnan(estimate) | fits.degenerate[use]
        lonely[g] = np.count_nonzero(alone)
        if lonely[g] and np.any(alone & problem.required[use]):
            scores[g] = math.inf
            continue
        if lonely[g]:
            estimate = np.where(np.isnan(estimate), stand_in, estimate)
        scores[g] = np.sum(weight * (y - estimate) ** 2)  # a dot product would wake the threads of BLAS
    return scores, lonely


def _penalised(penalty, spare):
    """Scores that trade the residuals against the trace of the smoother matrix, and need it to leave `spare` of n."""

    def score(problem, grid):
        scores, lonely = np.empty(grid.size), np.zeros(grid.size, dtype=np.int64)
        design, n = problem.design, float(np.sum(problem.weight))
        if n <= problem.degree + 1 + spare:
            raise ValueError(
                f"this method needs at least {problem.degree + 2 + spare} observations at degree {problem.degree},"
                f" got {n:g}; use loo-cv"
            )
        within = np.sum(design.squares(problem.y, problem.weight))
        for g, h in enumerate(grid):
            fits = fit_points(design, problem.kernel, h, past=False, degree=problem.degree, tolerance=_TOLERANCE)
            residual = (np.sum(design.w * (design.mean - fits.estimate) ** 2) + within) / n
            alone = _alone(problem, fits)
            lonely[g] = np.count_nonzero(alone)
            rejected = lonely[g] and np.any(alone & problem.required)
            scores[g] = math.inf if rejected else penalty(residual, float(np.sum(fits.influence)), n)
        return scores, lonely

    return score


def _alone(problem, fits):
    """Scored observations whose fit is their own response, or a line through one point."""
    member = problem.design.member
    return problem.scored & ((fits.influence[member] * problem.share >= 1.0 - 1e-12) | fits.degenerate[member])


def _gcv(residual, trace, n):
    return residual / (1.0 - trace / n) ** 2 if trace < n else math.inf


def _aicc(residual, trace, n):
    if trace + 2.0 >= n:
        return math.inf
    return math.log(max(residual, 1e-300)) + 1.0 + 2.0 * (trace + 1.0) / (n - trace - 2.0)


def _asymptotic(find_pilot):
    """Scores from the first-order theory, with pilot estimates of its unknowns."""

    def score(problem, grid):
        if problem.y.size <= 5 or problem.design.x.size < 5:
            raise ValueError(
                f"a quartic pilot fit needs more than 5 observations at 5 or more points, got {problem.y.size} at"
                f" {problem.design.x.size}; use loo-cv"
            )
        check_counts(problem.weight, 6)
        pilot = find_pilot(problem.design, problem.design.squares(problem.y, problem.weight))
        scores = mean_squared_error(pilot, problem.kernel, problem.degree, grid, past=problem.past)
        return scores, np.zeros(grid.size, dtype=np.int64)

    return score


def _aicc_with_reference(problem, grid):
    """AICc plus a penalty on the distance from the reference bandwidth, as a prior density would put it."""
    scores, lonely = _penalised(_aicc, 2)(problem, grid)
    distance = np.log(grid / _reference_bandwidth(problem)) / _REFERENCE_SPREAD
    return scores + 2.0 * distance**2 / np.sum(problem.weight), lonely


def _exponential_weights(problem, scores):
    """Weights proportional to ``exp(-n score / 4)``."""
    weights = np.exp(-0.25 * np.sum(problem.weight) * (scores - np.min(scores)))
    return weights / np.sum(weights)


def _reference_bandwidth(problem):
    """The best bandwidth, to first order, for one wave over the range with as much variance as the noise."""
    spans = problem.design.spans[problem.design.spans > 0.0]
    width = float(np.mean(spans)) if spans.size else 1.0
    n = float(np.sum(problem.weight)) / max(spans.size, 1)
    curvature = (2.0 * math.pi / width) ** 2
    return optimal_bandwidth(problem.kernel, problem.degree, n=n, noise=1.0, curvature=curvature, density=1.0 / width)


def _lepski(problem, grid):
    """Squared distance to every less smooth fit beyond what its noise explains, plus the variance of the fit itself.

    Goldenshluger and Lepski (2011), with the distance taken over the data. The noise variance comes from differences of
    neighbouring responses, which need no bandwidth.
    """
    design, past = problem.design, problem.past
    weight = np.bincount(design.member, problem.weight * problem.scored / np.sum(problem.weight[problem.scored]))
    noise = _difference_noise(problem)
    stand_in = nearest(design, past=past)
    fits, variances = [], np.empty(grid.size)
    scores, lonely = np.full(grid.size, math.inf), np.zeros(grid.size, dtype=np.int64)
    for g, h in enumerate(grid):
        fit = fit_points(design, problem.kernel, h, past=past, degree=problem.degree)
        norms = squared_norms(design, problem.kernel, h, fit, past=past, degree=problem.degree)
        alone = np.isnan(fit.estimate)[design.member] & problem.scored if past else _alone(problem, fit)
        lonely[g] = np.count_nonzero(alone)
        variances[g] = noise * np.sum((weight * np.where(np.isnan(norms), 1.0, norms))[weight > 0.0])
        fits.append(np.where(weight > 0.0, np.where(np.isnan(fit.estimate), stand_in, fit.estimate), 0.0))
        if lonely[g] and np.any(alone & problem.required):
            continue
        bias = 0.0
        for k in range(g):
            if np.isfinite(scores[k]):
                # Of the noise of the rougher fit the smoother one keeps its own part.
                noise_part = variances[k] - variances[g]
                bias = max(bias, float(np.sum(weight * (fits[g] - fits[k]) ** 2)) - noise_part)
        scores[g] = bias + variances[g]
    return scores, lonely


def _difference_noise(problem):
    """Noise variance from responses at equal points and differences between neighbouring ones (Rice 1984)."""
    design = problem.design
    together = design.first[1:] == design.first[:-1]
    # A difference of two means has variance sigma**2 (1 / w + 1 / w').
    squares = (np.diff(design.mean) ** 2 / (1.0 / design.w[1:] + 1.0 / design.w[:-1]))[together]
    freedom = np.sum(design.w) - design.x.size if design.mates_w is not None else 0.0
    total = float(np.sum(squares) + np.sum(design.squares(problem.y, problem.weight)))
    return total / (squares.size + freedom) if squares.size + freedom > 0.0 else 0.0


CRITERIA = {
    "averaged": Criterion(
        _aicc_with_reference,
        weigh=_exponential_weights,
        looks_back=False,
        quadratics=False,
        continuous=False,
        logarithmic=True,
    ),
    "rule-of-thumb": Criterion(_asymptotic(polynomial_pilot), pools=False, quadratics=False),
    "plug-in": Criterion(_asymptotic(plug_in_pilot), pools=False, quadratics=False),
    "loo-cv": Criterion(_prediction_error, counts=False),
    "leave-one-step-out": Criterion(_prediction_error, counts=False, whole_step=True),
    "gcv": Criterion(_penalised(_gcv, 0), looks_back=False),
    "aicc": Criterion(_penalised(_aicc, 2), looks_back=False, logarithmic=True),
    "one-step-ahead": Criterion(_prediction_error, counts=False),
    "lepski": Criterion(_lepski, continuous=False),
}
