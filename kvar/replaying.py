"""A baseline run over a recorded run, as if it had been there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kvar.baselines import Baseline, make_baseline
from kvar.batch import Batch
from kvar.traces import Trace

__all__ = ["Replayed", "StepOrder", "Stretch", "batches", "replay", "replay_baseline", "replay_steps"]

# Rows held in memory at a time, but for a step that is longer.
_STRETCH = 500_000


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


@dataclass(frozen=True)
class Stretch:
    """Some consecutive steps of a trace, whole, in the order of step, prompt and rollout.

    Attributes
    ----------
    rows : ndarray of int, shape (n,)
        Rows of the trace.
    step : ndarray, shape (n,)
        Their steps.
    code : ndarray of int, shape (n,)
        Their prompts, numbered.
    reward : ndarray of float64, shape (n,)
        Their rewards.
    columns : dict of str to ndarray, each of shape (n,)
        Extra columns.
    """

    rows: np.ndarray
    step: np.ndarray
    code: np.ndarray
    reward: np.ndarray
    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        """Number of rollouts."""
        return len(self.rows)

    @cached_property
    def steps(self) -> np.ndarray:
        """Where each step begins."""
        return np.flatnonzero(np.diff(self.step, prepend=np.nan) != 0)

    @cached_property
    def groups(self) -> np.ndarray:
        """Where each group begins, the rollouts of one prompt at one step; shape (C,)."""
        change = np.diff(self.code, prepend=-1) != 0
        change[self.steps] = True
        return np.flatnonzero(change)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Rollouts of each group, shape (C,)."""
        return np.diff(self.groups, append=len(self))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum by group.

        Parameters
        ----------
        values : ndarray, shape (n,)
            A number a rollout.

        Returns
        -------
        ndarray, shape (C,)
            A number a group.
        """
        return np.add.reduceat(values, self.groups)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Give every rollout what belongs to its group.

        Parameters
        ----------
        values : ndarray, shape (C,)
            A number a group.

        Returns
        -------
        ndarray, shape (n,)
            A number a rollout.
        """
        return np.repeat(values, self.sizes)

    @cached_property
    def batches(self) -> list[tuple[np.ndarray, Batch]]:
        """The steps one by one, prompts in the order of their numbers.

        Beside each stand the places of its rollouts in the stretch, a group a row if all groups are of one size.
        """
        cut = []
        first_groups = np.searchsorted(self.groups, self.steps)
        for start, stop in zip(first_groups, [*first_groups[1:], len(self.groups)], strict=True):
            sizes = self.sizes[start:stop]
            places = np.arange(self.groups[start], self.groups[start] + sizes.sum())
            if (sizes == sizes[0]).all():
                places = places.reshape(len(sizes), sizes[0])
            codes = self.code[places] if places.ndim == 1 else self.code[places[:, 0]]
            columns = {name: column[places] for name, column in self.columns.items()}
            batch = Batch.from_rows(codes, self.reward[places], self.step[self.groups[start]], columns)
            cut.append((places, batch))
        return cut


@dataclass(frozen=True)
class StepOrder:
    """The rows of a trace in the order of steps, without a copy of its columns.

    Attributes
    ----------
    trace : Trace
        A recorded run; its rows may be in any order.
    prompts : ndarray, shape (P,)
        Every prompt once, sorted; its place is its number.
    starts : ndarray of int, shape (S,)
        Where each step begins, in the order of steps.
    """

    trace: Trace
    prompts: np.ndarray
    starts: np.ndarray
    _order: np.ndarray | None

    @classmethod
    def of(cls, trace: Trace) -> StepOrder:
        """Find the order.

        Parameters
        ----------
        trace : Trace
            A recorded run.

        Returns
        -------
        StepOrder
            Memory grows with the numbers of prompts and steps; where rows are not in the order of steps already, with 8
            bytes a rollout as well.
        """
        step, cuts = trace.step, range(0, len(trace), _STRETCH)
        pieces = [np.unique(trace.prompt_id[k : k + _STRETCH]) for k in cuts]
        prompts = np.unique(np.concatenate(pieces)) if pieces else trace.prompt_id
        # One row more than a piece, so that no boundary is missed.
        ordered = all((np.diff(step[k : k + _STRETCH + 1]) >= 0).all() for k in cuts)
        order = None if ordered else np.argsort(step, kind="stable")
        starts = [np.zeros(min(len(trace), 1), dtype=np.intp)]
        for k in cuts:
            rows = slice(k, k + _STRETCH + 1) if order is None else order[k : k + _STRETCH + 1]
            starts.append(np.flatnonzero(np.diff(step[rows])) + k + 1)
        return cls(trace, prompts, np.concatenate(starts), order)

    def rows_of(self, prompts: np.ndarray) -> np.ndarray:
        """Find all rollouts of some prompts.

        Parameters
        ----------
        prompts : ndarray
            Which.

        Returns
        -------
        ndarray of int
            Rows of the trace, ascending.
        """
        ids, cuts = self.trace.prompt_id, range(0, len(self.trace), _STRETCH)
        return np.concatenate([np.flatnonzero(np.isin(ids[k : k + _STRETCH], prompts)) + k for k in cuts])

    def stretches(self, columns: Sequence[str] = (), whole_steps: int = 1) -> Iterator[Stretch]:
        """Cut into stretches that fit in memory.

        Parameters
        ----------
        columns : sequence of str
            Extra columns that shall come along.
        whole_steps : int
            Cut only after a multiple of this many steps.

        Yields
        ------
        Stretch
            Half a million rollouts, or as few more as whole steps need.
        """
        trace, start = self.trace, 0
        ends = np.append(self.starts[whole_steps::whole_steps], len(trace))
        while start < len(trace):
            stop = int(ends[min(np.searchsorted(ends, start + _STRETCH), len(ends) - 1)])
            rows = np.arange(start, stop) if self._order is None else self._order[start:stop]
            distinct, code = np.unique(trace.prompt_id[rows], return_inverse=True)
            code = np.searchsorted(self.prompts, distinct)[code]
            step = trace.step[rows]
            within = np.lexsort((trace.rollout[rows], code, step))
            rows = rows[within]
            extras = {name: np.asarray(trace.extras[name][rows], dtype=np.float64) for name in columns}
            yield Stretch(rows, step[within], code[within], trace.reward[rows], extras)
            start = stop


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
        If the baseline or a parameter is unknown, or the trace lacks a column that the baseline needs.
    """
    return replay_baseline(trace, make_baseline(name, **parameters)).values
