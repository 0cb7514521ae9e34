"""A baseline run over a recorded run, as if it had been there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kvar.baselines import Baseline, make_baseline
from kvar.batch import Batch
from kvar.traces import Trace

__all__ = ["Replayed", "batches", "replay", "replay_baseline"]


@dataclass(frozen=True)
class Replayed:
    """What a baseline would have said of every rollout of a trace.

    Attributes
    ----------
    values : ndarray of float64, shape (n,)
        Value of each rollout, in the row order of the trace.
    own_weight : ndarray of float64, shape (n,)
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
    rows : ndarray of int
        Rows of the trace that make up the step.
    batch : Batch
        Their rollouts, the prompts numbered instead of named.
    """
    if len(trace) == 0:
        return
    _, code = np.unique(trace.prompt_id, return_inverse=True)
    order = np.lexsort((trace.rollout, code, trace.step))
    starts = np.flatnonzero(np.diff(trace.step[order], prepend=np.nan) != 0)
    extras = {name: np.asarray(trace.extras[name], dtype=np.float64) for name in columns}
    for rows in np.split(order, starts[1:]):
        step = trace.step[rows[0]]
        yield rows, Batch.from_rows(code[rows], trace.reward[rows], step, {n: c[rows] for n, c in extras.items()})


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
        Its values, each from what was known before and beside the rollout.

    Raises
    ------
    ValueError
        If the trace lacks a column that the baseline needs, or has rewards outside of its range.
    """
    if obstacle := baseline.obstacle(trace.reward, trace.extras):
        raise ValueError(f"baseline {baseline.name!r} {obstacle} in this trace")
    values, own_weight = np.empty(len(trace)), np.empty(len(trace))
    for rows, batch in batches(trace, baseline.columns_used(trace.extras)):
        values[rows] = batch.to_rows(baseline.values(batch))
        own_weight[rows] = batch.to_rows(baseline.own_weight(batch))
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
        If the baseline or a parameter is unknown, or the trace lacks a column that the baseline needs.
    """
    return replay_baseline(trace, make_baseline(name, **parameters)).values
