"""A baseline run over a recorded run, as if it had been there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kvar.baselines import Baseline, make_baseline
from kvar.rollouts.batch import Batch
from kvar.rollouts.step_chunks import SortedTrace
from kvar.rollouts.trace import Trace

__all__ = ["Replayed", "batches", "replay", "replay_baseline", "replay_steps"]


@dataclass(frozen=True)
class Replayed:
    """What a baseline would have said of some rollouts.

    Attributes
    ----------
    values : ndarray of float64, shape (n,) or (P, N)
        Value of each rollout.
    own_weight : ndarray of float64, of the same shape
        How much of the rollout's own reward is in it.
    """

    values: np.ndarray
    own_weight: np.ndarray


def batches(trace: Trace, columns: Sequence[str] = ()) -> Iterator[tuple[np.ndarray, Batch]]:
    """Cut a trace into its steps."""
    for chunk in SortedTrace.of(trace).chunks(columns):
        for places, batch in chunk.batches:
            yield chunk.rows[places], batch


def replay_baseline(trace: Trace, baseline: Baseline) -> Replayed:
    """Run one baseline over a trace."""
    if obstacle := baseline.reason_not_applicable(trace.reward, trace.extras):
        raise ValueError(f"baseline {baseline.name!r} {obstacle} in this trace")
    return replay_steps(baseline, batches(trace, baseline.columns_used(trace.extras)), len(trace))


def replay_steps(baseline: Baseline, steps: Iterable[tuple[np.ndarray, Batch]], n_rows: int) -> Replayed:
    """Run one baseline over some steps."""
    values, own_weight = np.empty(n_rows), np.empty(n_rows)
    for places, batch in steps:
        values[places] = batch.to_rows(baseline.values(batch))
        own_weight[places] = batch.to_rows(baseline.own_weight(batch))
        baseline.remember(batch)
    return Replayed(values, own_weight)


def replay(trace: Trace, name: str, **parameters) -> np.ndarray:
    """Values that a baseline would have given to a recorded run.

    Parameters
    ----------
    trace : Trace
        A recorded run.
    name : str
        A registered baseline.
    **parameters
        Its parameters.

    Returns
    -------
    ndarray of float64, shape (n,)
        One value a rollout, in the row order of the trace.

    Raises
    ------
    ValueError
        If the baseline or a parameter is unknown, the trace lacks a column that the baseline needs, or a reward lies
        outside of the baseline's range, which is from 0 to 1 for ``"kalman"``.
    TypeError
        If it is no trace.

    Notes
    -----
    Cost: the rows are sorted once, O(n log n), and every step then costs what the baseline's class says of a step.
    """
    if not isinstance(trace, Trace):
        raise TypeError(f"replay takes a Trace, got {trace!r:.60}; kvar.read_trace(path) makes one of a file")
    return replay_baseline(trace, make_baseline(name, **parameters)).values
