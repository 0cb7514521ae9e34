"""A baseline run over a recorded run, as if it had been there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kvar.baselines import Baseline, make_baseline
from kvar.batch import Batch
from kvar.stretches import StepOrder
from kvar.traces import Trace

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
    """Cut a trace into its steps.

    Parameters
    ----------
    trace : Trace
        A recorded run; its rows may be in any order.
    columns : sequence of str
        Extra columns that the batches shall carry.

    Yields
    ------
    rows : ndarray of int, shape (P, N) or (n,)
        Rows of the trace that make up the step, in the shape that ``batch.to_rows`` gives.
    batch : Batch
        Their rollouts, the prompts numbered instead of named.
    """
    for stretch in StepOrder.of(trace).stretches(columns):
        for places, batch in stretch.batches:
            yield stretch.rows[places], batch


def replay_baseline(trace: Trace, baseline: Baseline) -> Replayed:
    """Run one baseline over a trace.

    Parameters
    ----------
    trace : Trace
        A recorded run.
    baseline : Baseline
        Fresh from `make_baseline`; it ends up with the history of the whole run.

    Returns
    -------
    Replayed
        Its values in the row order of the trace, each from what was known before and beside the rollout.

    Raises
    ------
    ValueError
        If the trace lacks a column that the baseline needs, or has rewards outside of its range.
    """
    if obstacle := baseline.obstacle(trace.reward, trace.extras):
        raise ValueError(f"baseline {baseline.name!r} {obstacle} in this trace")
    return replay_steps(baseline, batches(trace, baseline.columns_used(trace.extras)), len(trace))


def replay_steps(baseline: Baseline, steps: Iterable[tuple[np.ndarray, Batch]], n_rows: int) -> Replayed:
    """Run one baseline over some steps.

    Parameters
    ----------
    baseline : Baseline
        With what came before in its history; it is moved on.
    steps : iterable of (ndarray of int, Batch)
        Steps in their order, and where the rollouts of each stand in the result.
    n_rows : int
        How many rollouts the steps have together.

    Returns
    -------
    Replayed
        Flat, each value from what was known before and beside the rollout.

    Raises
    ------
    ValueError
        If the baseline refuses a step.
    """
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
