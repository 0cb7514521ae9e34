"""Kernel-weighted sums over the past visits of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from kvar.history.visits import History
from kvar.kernels import Kernel
from kvar.rollouts.prompt_ids import as_keys

__all__ = ["WindowWeights", "kernel_sums"]

# Visits at a time. Arrays of this size stay in the processor's cache, which halves the time of large batches.
_CHUNK = 16_384
# Whole lags below this number, or as many as there are visits, are looked up.
_LAGS = 4096


class WindowWeights:
    """Weights of visits under K kernels with their bandwidths; whole lags are few, and theirs are kept in a table."""

    def __init__(self, windows: Sequence[tuple[Kernel, float]]):
        self._windows = tuple(windows)
        self._table = self._computed(np.zeros(1))

    def __len__(self) -> int:
        """Number K of kernels."""
        return len(self._windows)

    def of(self, lag: np.ndarray) -> np.ndarray:
        """Weights at lags that are not negative, with the kernels in a last axis of length K."""
        longest = lag.max(initial=0.0)
        if longest < max(_LAGS, lag.size):
            whole = lag.astype(np.intp)
            if (whole == lag).all():
                if longest >= len(self._table):
                    self._table = self._computed(np.arange(2 * longest + 1))
                # `take` has 16 times the speed of an index here.
                return self._table.take(whole, axis=0)
        return self._computed(lag)

    def _computed(self, lag: np.ndarray) -> np.ndarray:
        return np.stack([kernel(lag / bandwidth) for kernel, bandwidth in self._windows], axis=-1)


def kernel_sums(
    history: History,
    prompt_ids: list[int | str] | np.ndarray,
    now: float,
    windows: WindowWeights,
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
    squared = [k for k, name in enumerate(sums) if name.startswith("squared_")]
    for members, visits in history.visits(keys, _CHUNK):
        lag = now - visits.steps
        # Strictly earlier: a reward of this very step may be the one to predict. The lag of an empty cell is infinite.
        within = (lag > 0) & (lag <= history.reach)
        if clock == "visits":
            lag = visits.ages
        # Infinity times a weight of 0 would be NaN.
        lag, counts = np.where(within, lag, 0.0), np.where(within, visits.counts, 0.0)
        totals = np.where(within, visits.totals, 0.0)
        factors = np.empty((len(lag), len(sums), lag.shape[1]))
        for k, name in enumerate(sums):
            factors[:, k] = totals if name.endswith("total") else counts
            if "lag" in name:
                factors[:, k] *= lag**2 if "lag_square" in name else lag
        weights = windows.of(lag)
        found = np.matmul(factors, weights)
        if squared:
            found[:, squared] = np.matmul(factors[:, squared], weights**2)
        results[:, members] = found.swapaxes(0, 1)
    return list(results)
