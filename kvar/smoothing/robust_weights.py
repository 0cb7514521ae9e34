"""Weights that take outlying responses out of a kernel regression, by repeated fits (Cleveland 1979)."""

from __future__ import annotations

import numpy as np

from kvar.smoothing.design import Design
from kvar.smoothing.local_fits import fit_points

__all__ = ["pseudo_responses", "robust_weights"]

# Residuals beyond this many median absolute ones have no weight: Cleveland (1979), section 2.
_CUT = 6.0
# A median residual below this fraction of the mean one means an exact fit to most of the data.
_EXACT = 1e-7


def robust_weights(x, y, weight, groups, iterations: int, **smoother):
    """Bisquare weights of the residuals after `iterations` fits, and the residual from which on they are zero.

    An exact fit to most of the data, which has no scale of residuals, ends the iterations; nothing is cut after it.
    """
    keep, cut = np.ones(y.size), np.inf
    for _ in range(iterations):
        design = Design.build(x, y, weight * keep, groups)
        fitted = fit_points(design, **smoother).estimate[design.member]
        # Nothing speaks against a response whose window has no fit.
        residual = np.abs(np.where(np.isnan(fitted), 0.0, y - fitted))
        median = _weighted_median(residual, weight * ~np.isnan(fitted))
        if not median > _EXACT * np.sum(weight * residual) / np.sum(weight):
            return keep, np.inf
        cut = _CUT * median
        keep = np.maximum(1.0 - (residual / cut) ** 2, 0.0) ** 2
    return keep, cut


def pseudo_responses(y, weight, fitted, cut: float):
    """Responses whose scatter about the curve is that of the robust fit (Cleveland, Grosse and Shyu 1992).

    These are ``fitted + psi(r) / mean psi'(r)`` with psi the residual r times its bisquare weight: linear smoothing of
    them has the variance of the robust fit.
    """
    z2 = np.where(np.isnan(fitted), 0.0, (y - fitted) / cut) ** 2
    inside = z2 < 1.0
    slope = np.where(inside, (1.0 - z2) * (1.0 - 5.0 * z2), 0.0)
    scale = np.sum(weight * slope) / np.sum(weight)
    pull = np.where(inside, (1.0 - z2) ** 2, 0.0) / scale
    return np.where(np.isnan(fitted), y, fitted + (y - fitted) * pull)


def _weighted_median(values, weight):
    order = np.argsort(values)
    sums = np.cumsum(weight[order])
    middle = np.searchsorted(sums, 0.5 * sums[-1])
    after = middle + (sums[middle] == 0.5 * sums[-1])
    return 0.5 * (values[order[middle]] + values[order[min(after, values.size - 1)]])
