"""Replay of a baseline over a recorded run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kvar.baselines import Baseline, BaselineName, make_baseline
from kvar.rollouts.batch import Batch
from kvar.rollouts.step_chunks import SortedTrace, StepChunk
from kvar.rollouts.trace import Trace, as_trace

if TYPE_CHECKING:
    from narwhals.typing import IntoFrame

__all__ = ["Replayed", "batches", "replay", "replay_baseline", "replay_chunk"]


@dataclass(frozen=True)
class Replayed:
    """Values that a baseline would have given to some rollouts."""

    values: np.ndarray  # shape (n,): Value of each rollout
    own_weight: np.ndarray  # Derivative of the value by the rollout's own reward

    def squared_advantages(self, reward: np.ndarray) -> np.ndarray:
        """Squared advantages that leave the own reward out; NaN without a reward or where the value is that alone."""
        rest = np.where(self.own_weight < 1, 1.0 - self.own_weight, np.nan)
        return ((reward - self.values) / rest) ** 2


def batches(trace: Trace, columns: Sequence[str] = ()) -> Iterator[tuple[np.ndarray, Batch]]:
    """Steps of a trace in order: rows of the trace, and a batch of them whose prompt ids are numbers."""
    for chunk in SortedTrace.of(trace).chunks(columns):
        for places, batch in chunk.batches:
            yield chunk.rows[places], batch


def replay_baseline(trace: Trace, baseline: Baseline) -> Replayed:
    """Replay a fresh baseline over a trace; values are in the row order of the trace."""
    if reason := baseline.reason_not_applicable(trace.reward, trace.extras):
        raise ValueError(f"baseline {baseline.name!r} {reason} in this trace")
    values, own_weight = np.empty(len(trace)), np.empty(len(trace))
    for chunk in SortedTrace.of(trace).chunks(baseline.columns_used(trace.extras)):
        replayed = replay_chunk(baseline, chunk)
        values[chunk.rows], own_weight[chunk.rows] = replayed.values, replayed.own_weight
    return Replayed(values, own_weight)


def replay_chunk(
    baseline: Baseline, chunk: StepChunk, look: Callable[[slice, Batch], object] = lambda place, batch: None
) -> Replayed:
    """Replay a baseline over a chunk, in whose order the values are; `look` is called before each step.

    The baseline keeps the history, so that a run can be replayed in parts.
    """
    if baseline.group_only:
        return Replayed(baseline.values(chunk.whole), baseline.own_weight(chunk.whole))
    values, own_weight = np.empty(len(chunk)), np.empty(len(chunk))
    for place, batch in chunk.batches:
        look(place, batch)
        values[place] = baseline.values(batch)
        own_weight[place] = baseline.own_weight(batch)
        baseline.remember(batch)
    return Replayed(values, own_weight)


def replay(trace: Trace | IntoFrame, name: BaselineName, **parameters: float | str) -> np.ndarray:
    """Values that a baseline would have given to the rollouts of a recorded run.

    Parameters
    ----------
    trace : Trace or DataFrame
        A recorded run, or a table with its columns, as in `Trace.from_columns`.
    name : str
        A registered baseline.
    **parameters
        Parameters of the baseline.

    Returns
    -------
    ndarray of float64, shape (n,)
        One value a rollout, in the row order of the trace.

    Raises
    ------
    ValueError
        If the baseline or a parameter is unknown, the trace lacks a column that the baseline needs, or a reward is
        outside of the baseline's range, such as from 0 to 1 for ``"kalman"``.
    TypeError
        If `trace` is neither.

    Notes
    -----
    Each value uses the history and the other rollouts of its step, as during training. The rows are sorted once, at a
    cost of O(n log n). The cost of a step is given in the docstring of the baseline's class.

    Examples
    --------
    >>> import kvar
    >>> columns = {"step": [0, 0, 1, 1], "prompt_id": ["2+3="] * 4, "reward": [1.0, 0.0, 1.0, 1.0]}
    >>> kvar.replay(kvar.Trace.from_columns(columns), "kernel", bandwidth=10)
    array([0.        , 1.        , 0.67857143, 0.67857143])
    """
    return replay_baseline(as_trace(trace), make_baseline(name, **parameters)).values
