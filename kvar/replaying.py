"""Replay of a baseline over a recorded run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kvar.baselines import Baseline, BaselineName, make_baseline
from kvar.rollouts.batch import Batch
from kvar.rollouts.step_chunks import SortedTrace
from kvar.rollouts.trace import Trace, as_trace

if TYPE_CHECKING:
    from narwhals.typing import IntoFrame

__all__ = ["Replayed", "batches", "replay", "replay_baseline", "replay_steps"]


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
    """Steps of a trace in order: rows of the trace, and a batch whose prompt ids are numbers.

    The rows have the shape of what ``batch.to_rows`` returns.
    """
    for chunk in SortedTrace.of(trace).chunks(columns):
        for places, batch in chunk.batches:
            yield chunk.rows[places], batch


def replay_baseline(trace: Trace, baseline: Baseline) -> Replayed:
    """Replay a fresh baseline over a trace; values are in the row order of the trace."""
    if reason := baseline.reason_not_applicable(trace.reward, trace.extras):
        raise ValueError(f"baseline {baseline.name!r} {reason} in this trace")
    return replay_steps(baseline, batches(trace, baseline.columns_used(trace.extras)), len(trace))


def replay_steps(baseline: Baseline, steps: Iterable[tuple[np.ndarray, Batch]], n_rows: int) -> Replayed:
    """Replay a baseline over steps, each with the places of its rollouts in the result of `n_rows` entries.

    The baseline keeps the history, so that a run can be replayed in parts.
    """
    values, own_weight = np.empty(n_rows), np.empty(n_rows)
    for places, batch in steps:
        values[places] = batch.to_rows(baseline.values(batch))
        own_weight[places] = batch.to_rows(baseline.own_weight(batch))
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
