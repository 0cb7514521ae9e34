"""Kernel-weighted sums over the past of a batch's prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kvar.history import History
from kvar.kernels import Kernel

__all__ = ["kernel_sums"]

# Visits worked on at a time: arrays of this size stay in the processor's cache, which halves the time of large batches.
_CHUNK = 16_384


def kernel_sums(
    history: History,
    prompt_ids: list[int | str],
    now: float,
    windows: Sequence[tuple[Kernel, float]],
    sums: Sequence[str],
) -> list[np.ndarray]:
    """Sum over each prompt's visits with the weights of several kernels.

    Parameters
    ----------
    history : History
        What has been seen. Visits past its reach count for nothing, whether it still holds them or not.
    prompt_ids : list of int or str, length P
        Prompts.
    now : float
        Where lags are counted from.
    windows : sequence of (Kernel, float), length K
        Kernels with their bandwidths.
    sums : sequence of str
        Which sums, over the visits j with weight w_j, reward total Z_j, count n_j and lag t_j: ``total`` is
        ``sum w Z``, ``mass`` is ``sum w n``, ``square_mass`` is ``sum w**2 n``, ``lag_mass`` is ``sum w n t``,
        ``lag_square_mass`` is ``sum w n t**2``, ``lag_total`` is ``sum w Z t``.

    Returns
    -------
    list of ndarray of float64, each of shape (P, K)
        In the order of `sums`. Cost O(P V K).
    """
    results = [np.zeros((len(prompt_ids), len(windows))) for _ in sums]
    rows = max(1, _CHUNK // history.width)
    for start in range(0, len(prompt_ids), rows):
        visits = history.visits(prompt_ids[start : start + rows])
        lag = now - visits.steps
        # Strictly earlier: what was seen at this very step may be the reward that is to be predicted.
        within = (lag > 0) & (lag <= history.reach)
        # An empty cell has an infinite lag, which a product with its count of zero would turn into NaN.
        lag, counts = np.where(within, lag, 0.0), np.where(within, visits.counts, 0.0)
        totals = np.where(within, visits.totals, 0.0)
        factors = {
            "total": totals,
            "mass": counts,
            "lag_mass": counts * lag,
            "lag_square_mass": counts * lag**2 if "lag_square_mass" in sums else None,
            "lag_total": totals * lag if "lag_total" in sums else None,
        }
        for k, (kernel, bandwidth) in enumerate(windows):
            weights = kernel(lag / bandwidth)
            for name, result in zip(sums, results, strict=True):
                if name == "square_mass":
                    result[start : start + rows, k] = np.einsum("pv,pv,pv->p", weights, weights, counts)
                else:
                    result[start : start + rows, k] = np.einsum("pv,pv->p", weights, factors[name])
    return results
