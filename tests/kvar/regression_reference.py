"""Kernel regression as slow loops that read like the formulas: what the fast code is checked against."""

from __future__ import annotations

import math

import numpy as np

from kvar.kernels import get_kernel


def neighbour_weights(x, w, t, kernel, h, past, skip=None):
    """Kernel weight of every observation at t: ``w_j K(|x_j - t| / h)``."""
    kernel = get_kernel(kernel)
    weights = []
    for j in range(len(x)):
        if j == skip or (past and not x[j] < t):
            weights.append(0.0)
        else:
            weights.append(w[j] * float(kernel(abs(x[j] - t) / h)))
    return np.array(weights)


def smoother_row(x, w, t, kernel, h, degree, past=False, skip=None):
    """Weights l_j with ``estimate(t) = sum_j l_j y_j``; all NaN for an empty window."""
    k = neighbour_weights(x, w, t, kernel, h, past, skip)
    total = math.fsum(k)
    if total == 0.0:
        return np.full(len(x), math.nan)
    mean_row = k / total
    if degree == 0:
        return mean_row
    u = (np.asarray(x) - t) / h
    near = k > 0
    mean = math.fsum(mean_row[near] * u[near])
    spread = math.fsum(mean_row[near] * (u[near] - mean) ** 2)
    if spread <= 1e-26:
        return mean_row
    row = np.zeros(len(x))
    row[near] = mean_row[near] * (1.0 - mean * (u[near] - mean) / spread)
    return row


def estimate(x, y, w, t, kernel, h, degree, past=False, skip=None):
    """The estimate at t; observation number `skip` is left out."""
    row = smoother_row(x, w, t, kernel, h, degree, past, skip)
    if np.isnan(row).any():
        return math.nan
    # The row sums to one; responses measured from the local mean keep the digits where a slope hangs on a tiny weight.
    k = neighbour_weights(x, w, t, kernel, h, past, skip)
    mean = math.fsum(k * np.asarray(y)) / math.fsum(k)
    return mean + math.fsum(row * (np.asarray(y) - mean))


def predict(x, y, w, targets, kernel, h, degree, past=False):
    return np.array([estimate(x, y, w, t, kernel, h, degree, past) for t in targets])


def leave_one_out(x, y, w, kernel, h, degree, past=False):
    return np.array([estimate(x, y, w, x[i], kernel, h, degree, past, skip=i) for i in range(len(x))])


def hat_matrix(x, w, kernel, h, degree):
    return np.array([smoother_row(x, w, t, kernel, h, degree) for t in x])
