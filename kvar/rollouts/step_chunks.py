"""The rows of a recorded run in the order of steps, some steps at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kvar.rollouts.batch import Batch
from kvar.rollouts.trace import Trace

__all__ = ["SortedTrace", "StepChunk"]

# Rows held in memory at a time, but for a step that is longer.
_CHUNK_ROWS = 500_000


@dataclass(frozen=True)
class StepChunk:
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
        """Sum by group."""
        return np.add.reduceat(values, self.groups)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Give every rollout what belongs to its group."""
        return np.repeat(values, self.sizes)

    @cached_property
    def batches(self) -> list[tuple[np.ndarray, Batch]]:
        """The steps one by one, prompts in the order of their numbers.

        Beside each stand the places of its rollouts in the chunk, a group a row if all groups are of one size.
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
class SortedTrace:
    """The rows of a trace in the order of steps, without a copy of its columns.

    Attributes
    ----------
    trace : Trace
        A recorded run; its rows may be in any order.
    prompts : ndarray, shape (P,)
        Every prompt once, sorted; its place is its number.
    starts : ndarray of int, shape (S,)
        Where each step begins, in the order of steps.
    one_in : int
        One in how many prompts of the recorded run are here, see `sample_prompts`.
    """

    trace: Trace
    prompts: np.ndarray
    starts: np.ndarray
    _order: np.ndarray | None
    one_in: int = 1

    @classmethod
    def of(cls, trace: Trace) -> SortedTrace:
        """Find the order."""
        step, cuts = trace.step, range(0, len(trace), _CHUNK_ROWS)
        pieces = [np.unique(trace.prompt_id[k : k + _CHUNK_ROWS]) for k in cuts]
        prompts = np.unique(np.concatenate(pieces)) if pieces else trace.prompt_id
        # One row more than a piece, so that no boundary is missed.
        ordered = all((np.diff(step[k : k + _CHUNK_ROWS + 1]) >= 0).all() for k in cuts)
        order = None if ordered else np.argsort(step, kind="stable")
        starts = [np.zeros(min(len(trace), 1), dtype=np.intp)]
        for k in cuts:
            rows = slice(k, k + _CHUNK_ROWS + 1) if order is None else order[k : k + _CHUNK_ROWS + 1]
            starts.append(np.flatnonzero(np.diff(step[rows])) + k + 1)
        return cls(trace, prompts, np.concatenate(starts), order)

    def sample_prompts(self, most: int, columns: Sequence[str] = ()) -> SortedTrace:
        """Every k-th prompt with all of its rollouts, about `most`, for studies that replay a run often."""
        trace, one_in = self.trace, -(-len(self.trace) // most)
        if one_in == 1:
            return self
        rows = self._rows_of(self.prompts[::one_in])
        extras = {name: np.asarray(trace.extras[name][rows]) for name in columns}
        kept = Trace(trace.step[rows], trace.prompt_id[rows], trace.rollout[rows], trace.reward[rows], extras)
        return replace(SortedTrace.of(kept), one_in=one_in)

    def _rows_of(self, prompts: np.ndarray) -> np.ndarray:
        """Rows of the trace with one of the prompts, ascending."""
        ids, cuts = self.trace.prompt_id, range(0, len(self.trace), _CHUNK_ROWS)
        return np.concatenate([np.flatnonzero(np.isin(ids[k : k + _CHUNK_ROWS], prompts)) + k for k in cuts])

    def chunks(self, columns: Sequence[str] = (), whole_steps: int = 1) -> Iterator[StepChunk]:
        """Cut into chunks that fit in memory."""
        trace, start = self.trace, 0
        ends = np.append(self.starts[whole_steps::whole_steps], len(trace))
        while start < len(trace):
            stop = int(ends[min(int(np.searchsorted(ends, start + _CHUNK_ROWS)), len(ends) - 1)])
            rows = np.arange(start, stop) if self._order is None else self._order[start:stop]
            distinct, code = np.unique(trace.prompt_id[rows], return_inverse=True)
            code = np.searchsorted(self.prompts, distinct)[code]
            step = trace.step[rows]
            within = np.lexsort((trace.rollout[rows], code, step))
            rows = rows[within]
            extras = {name: np.asarray(trace.extras[name][rows], dtype=np.float64) for name in columns}
            yield StepChunk(rows, step[within], code[within], trace.reward[rows], extras)
            start = stop
