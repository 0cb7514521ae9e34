"""The rows of a recorded run in the order of steps, some steps at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kvar.batch import Batch
from kvar.traces import Trace

__all__ = ["StepOrder", "Stretch"]

# Rows held in memory at a time, but for a step that is longer.
_STRETCH = 500_000


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
            stop = int(ends[min(int(np.searchsorted(ends, start + _STRETCH)), len(ends) - 1)])
            rows = np.arange(start, stop) if self._order is None else self._order[start:stop]
            distinct, code = np.unique(trace.prompt_id[rows], return_inverse=True)
            code = np.searchsorted(self.prompts, distinct)[code]
            step = trace.step[rows]
            within = np.lexsort((trace.rollout[rows], code, step))
            rows = rows[within]
            extras = {name: np.asarray(trace.extras[name][rows], dtype=np.float64) for name in columns}
            yield Stretch(rows, step[within], code[within], trace.reward[rows], extras)
            start = stop
