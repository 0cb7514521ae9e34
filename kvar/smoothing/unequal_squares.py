"""Student's ratio of a local fit whose variance is a sum of few squares, which differ in weight and depend on another.

The squared standard error with local noise is ``S = sum_i a_i e_i**2`` over leave-one-out residuals e. Under normal
noise of one variance S is a sum of independent squares with the eigenvalues of the covariance of ``sqrt(a_i) e_i`` as
weights. Student's t with as many degrees of freedom as S has in its first two moments is too wide where a few of these
weights are most of the sum, as at an end. The distribution of the ratio itself is one integral.
"""

from __future__ import annotations

import math

import numpy as np

from kvar.kernels import Kernel
from kvar.smoothing.design import Design
from kvar.smoothing.smoother_rows import by_series, smoother_matrix, smoother_rows

__all__ = ["ratio_quantiles"]

# Series up to so many points: the smoother matrix is written down.
_MOST_POINTS = 300
# Part of its own fit above which a response leaves nothing to its neighbours.
_ALL_OWN = 1.0 - 1e-9
# Gauss-Legendre nodes on (0, pi / 2), as squared sines, and their weights, which sum to one.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(40)
_SINES, _WEIGHTS = np.sin(0.25 * math.pi * (_NODES + 1.0)) ** 2, 0.5 * _WEIGHTS


def ratio_quantiles(
    design: Design, targets, series, level: float, kernel: Kernel, h: float, *, past: bool, degree: int
) -> np.ndarray:
    """Quantiles c with which ``estimate -+ c standard_error`` covers at each target, for the errors of `local_noise`.

    NaN in series of more than 300 points, and where no square is known.
    """
    quantiles = np.full(targets.size, math.nan)
    for part, mine in by_series(design, targets, series):
        if part.x.size <= _MOST_POINTS:
            quantiles[mine] = _of_series(part, targets[mine], level, kernel, h, past=past, degree=degree)
    return quantiles


def _of_series(design, targets, level, kernel, h, **options):
    """The quantiles of one series; a point of weight w is w observations."""
    hat, w = smoother_matrix(design, kernel, h, **options), design.w
    own = np.zeros(w.size) if options["past"] else np.divide(np.diag(hat), w, where=w > 0.0, out=np.ones(w.size))
    known = (w > 0.0) & np.isfinite(hat).all(axis=1) & (own < _ALL_OWN)
    root = np.sqrt(w)
    # The mean residual at a point, times the root of its weight, in standard independent noise.
    with np.errstate(divide="ignore", invalid="ignore"):
        between = root[:, None] * (np.eye(w.size) - hat) / root
        between = np.where(w > 0.0, between, 0.0)[known] / (1.0 - own[known, None])
        w, within = w[known], 1.0 / (1.0 - own[known]) ** 2
    mates = np.maximum(w - 1.0, 0.0)
    expected = (np.sum(between**2, axis=1) + mates * within) / w
    distinct, which = np.unique(targets, return_inverse=True)
    quantiles = np.full(distinct.size, math.nan)
    for rows, columns, weights in smoother_rows(design, distinct, kernel, h, **options):
        row = np.zeros((weights.shape[0], design.x.size))
        row[:, columns] = weights
        for k, squares in zip(range(rows.start, rows.stop), (row[:, known] / w) ** 2 / expected, strict=True):
            use = squares > 0.0
            if use.any():  # and so no NaN
                near = np.sqrt(squares[use, None]) * between[use]
                parts = np.append(np.linalg.eigvalsh(near @ near.T).clip(0.0), squares[use] * within[use])
                counts = np.append(np.ones(near.shape[0]), mates[use])
                quantiles[k] = _quantile(parts, counts, level)
    return quantiles[which]


def _quantile(parts, counts, level):
    """The c that ``|z| / sqrt(sum_i parts_i * chi-square with counts_i) `` exceeds with probability ``1 - level``.

    The sum is scaled to mean one. By the formula of Craig (1991, IEEE Military Communications Conference 91, 571-575) a
    normal z exceeds the root of q with the probability that is the mean over angles of ``exp(-q / (2 sin**2))``; the
    mean over q is the moment generating function of a sum of squares.
    """
    from scipy.optimize import brentq  # slow to import

    parts = parts / np.sum(parts * counts) / _SINES[:, None]

    def excess(log_c):
        powers = np.log1p(math.exp(2.0 * log_c) * parts) @ counts
        return float(_WEIGHTS @ np.exp(-0.5 * powers)) - (1.0 - level)

    high = 1.0
    while excess(high) > 0.0:
        high += 1.0
    return math.exp(brentq(excess, -20.0, high, xtol=1e-10))
