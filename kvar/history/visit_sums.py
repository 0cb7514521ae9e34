"""Kernel-weighted sums over the past visits of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from kvar.history.visits import History
from kvar.kernels import Kernel
from kvar.rollouts.prompt_ids import as_keys

__all__ = ["kernel_sums"]

# Visits at a time. Arrays of this size stay in the processor's cache, which halves the time of large batches.
_CHUNK = 16_384


def kernel_sums(
    history: History,
    prompt_ids: list[int | str] | np.ndarray,
    now: float,
    windows: Sequence[tuple[Kernel, float]],
    sums: Sequence[str],
    clock: Literal["steps", "visits"] = "steps",
) -> list[np.ndarray]:
    """Sums over each prompt's visits under the weights of K kernels, each of shape (P, K), in the order of `sums`.

    With weight w, reward total Z, number of rewards n and lag t of a visit, ``total`` is ``sum w Z``, ``mass``
    ``sum w n``, ``lag_mass`` ``sum w n t``, ``lag_square_mass`` ``sum w n t**2``, ``lag_total`` ``sum w Z t``. A prefix
    ``squared_`` stands for ``w**2`` in place of w. Lags and bandwidths count steps, or with ``clock="visits"`` the
    prompt's visits. Visits beyond the reach of the history do not count. Cost O(K) for each visit.
    """
    keys = as_keys(prompt_ids)
    results = np.zeros((len(sums), len(keys), len(windows)))
    squared = np.array([name.startswith("squared_") for name in sums])
    for members, visits in history.visits(keys, _CHUNK):
        lag = now - visits.steps
        # Strictly earlier: a reward of this very step may be the one to predict.
        within = (lag > 0) & (lag <= history.reach) & (visits.counts > 0)
        if clock == "visits":
            lag = visits.ages
        # An empty cell has an infinite lag, and infinity times its count of 0 would be NaN.
        lag, counts = np.where(within, lag, 0.0), np.where(within, visits.counts, 0.0)
        totals = np.where(within, visits.totals, 0.0)
        factors = np.empty((len(lag), len(sums), lag.shape[1]))
        for name, factor in zip(sums, factors.swapaxes(0, 1), strict=True):
            factor[:] = totals if name.endswith("total") else counts
            if "lag" in name:
                factor *= lag**2 if "lag_square" in name else lag
        weights = _weights(windows, lag)
        for squares, of_kind in ((False, ~squared), (True, squared)):
            if of_kind.any():
                found = np.matmul(factors[:, of_kind], weights**2 if squares else weights)
                results[np.ix_(of_kind, members)] = found.swapaxes(0, 1)
    return list(results)


def _weights(windows: Sequence[tuple[Kernel, float]], lag: np.ndarray) -> np.ndarray:
    """Weights of each kernel, shape (P, V, K); whole lags are few, so that a table of their weights is faster."""
    longest = lag.max(initial=0.0)
    whole = lag.astype(np.intp) if longest < lag.size else None
    if whole is None or (whole != lag).any():
        return np.stack([kernel(lag / bandwidth) for kernel, bandwidth in windows], axis=-1)
    lags = np.arange(longest + 1)
    # `take` has 16 times the speed of an index here.
    return np.stack([kernel(lags / bandwidth) for kernel, bandwidth in windows], axis=-1).take(whole, axis=0)
