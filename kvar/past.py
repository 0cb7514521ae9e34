"""Kernel-weighted sums over the past of a batch's prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from kvar.history import History
from kvar.kernels import Kernel
from kvar.prompt_index import as_keys

__all__ = ["kernel_sums"]

# Visits worked on at a time: arrays of this size stay in the processor's cache, which halves the time of large batches.
_CHUNK = 16_384


def kernel_sums(
    history: History,
    prompt_ids: list[int | str] | np.ndarray,
    now: float,
    windows: Sequence[tuple[Kernel, float]],
    sums: Sequence[str],
    clock: str = "steps",
) -> list[np.ndarray]:
    """Sum over each prompt's visits with the weights of several kernels.

    Parameters
    ----------
    history : History
        What has been seen. Visits past its reach count for nothing, whether it still holds them or not.
    prompt_ids : list of int or str, or array from `kvar.prompt_index.as_keys`, length P
        Prompts.
    now : float
        Where lags are counted from.
    windows : sequence of (Kernel, float), length K
        Kernels with their bandwidths.
    sums : sequence of str
        Which sums, over the visits j with weight w_j, reward total Z_j, count n_j and lag t_j: ``total`` is
        ``sum w Z``, ``mass`` is ``sum w n``, ``lag_mass`` is ``sum w n t``, ``lag_square_mass`` is ``sum w n t**2``,
        ``lag_total`` is ``sum w Z t``; with the squares of the weights, ``squared_mass`` is ``sum w**2 n``,
        ``squared_lag_mass`` is ``sum w**2 n t`` and ``squared_lag_square_mass`` is ``sum w**2 n t**2``.
    clock : {"steps", "visits"}
        What lags and bandwidths are counted in: steps, or visits of the prompt.

    Returns
    -------
    list of ndarray of float64, each of shape (P, K)
        In the order of `sums`. Cost O(P V K).
    """
    keys = as_keys(prompt_ids)
    results = [np.zeros((len(keys), len(windows))) for _ in sums]
    rows = max(1, _CHUNK // history.width)
    for start in range(0, len(keys), rows):
        visits = history.visits(keys[start : start + rows])
        lag = now - visits.steps
        # Strictly earlier: what was seen at this very step may be the reward that is to be predicted.
        within = (lag > 0) & (lag <= history.reach) & (visits.counts > 0)
        if clock == "visits":
            lag = visits.ages
        # An empty cell has an infinite lag, which a product with its count of zero would turn into NaN.
        lag, counts = np.where(within, lag, 0.0), np.where(within, visits.counts, 0.0)
        totals = np.where(within, visits.totals, 0.0)
        factors = {name: totals if name.endswith("total") else counts for name in sums}
        for name in sums:
            if "lag" in name:
                factors[name] = factors[name] * (lag**2 if "lag_square" in name else lag)
        for k, weights in enumerate(_weights(windows, lag)):
            for name, result in zip(sums, results, strict=True):
                operands = (weights, weights) if name.startswith("squared") else (weights,)
                subscripts = ",".join(["pv"] * (len(operands) + 1)) + "->p"
                result[start : start + rows, k] = np.einsum(subscripts, *operands, factors[name])
    return results


def _weights(windows: Sequence[tuple[Kernel, float]], lag: np.ndarray) -> Iterator[np.ndarray]:
    """Weights of each kernel; whole lags, which are few, are looked up in a table instead of worked out one by one."""
    longest = lag.max(initial=0.0)
    whole = lag.astype(np.intp) if longest < lag.size else None
    if whole is None or (whole != lag).any():
        for kernel, bandwidth in windows:
            yield kernel(lag / bandwidth)
    else:
        for kernel, bandwidth in windows:
            yield np.take(kernel(np.arange(longest + 1) / bandwidth), whole)
