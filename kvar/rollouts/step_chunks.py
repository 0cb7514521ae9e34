"""A recorded run in order of steps, in chunks of whole steps that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kvar.rollouts.batch import Batch
from kvar.rollouts.trace import Trace

__all__ = ["SortedTrace", "StepChunk"]

# Rows in memory at a time; more if a single step is longer.
_CHUNK_ROWS = 500_000


@dataclass(frozen=True)
class StepChunk:
    """Consecutive whole steps of a trace, sorted by step, prompt and rollout."""

    rows: np.ndarray  # shape (n,): Row of each rollout in the trace
    step: np.ndarray  # shape (n,): Step of each rollout
    time: np.ndarray  # shape (n,): Number of that step among the steps of the trace
    code: np.ndarray  # shape (n,): Number of each rollout's prompt, its index in `SortedTrace.prompts`
    reward: np.ndarray  # shape (n,): Reward of each rollout
    columns: dict[str, np.ndarray]  # each of shape (n,): Extra columns

    def __len__(self) -> int:
        """Number of rollouts."""
        return len(self.rows)

    def only(self, kept: np.ndarray) -> StepChunk:
        """Some of the groups, marked by a mask over the rollouts, shape (n,)."""
        columns = {name: column[kept] for name, column in self.columns.items()}
        rows, step, time, code, reward = (c[kept] for c in (self.rows, self.step, self.time, self.code, self.reward))
        return StepChunk(rows, step, time, code, reward, columns)

    @cached_property
    def steps(self) -> np.ndarray:
        """Index of the first rollout of each step."""
        return np.flatnonzero(np.diff(self.step, prepend=np.nan) != 0)

    @cached_property
    def groups(self) -> np.ndarray:
        """Index of the first rollout of each group (one prompt at one step), shape (C,)."""
        change = np.diff(self.code, prepend=-1) != 0
        change[self.steps] = True
        return np.flatnonzero(change)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Number of rollouts of each group, shape (C,)."""
        return np.diff(self.groups, append=len(self))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum of a number a rollout over each group, shape (C,)."""
        return np.add.reduceat(values, self.groups)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Repeat a number a group for each of its rollouts, shape (n,)."""
        return np.repeat(values, self.sizes)

    @cached_property
    def whole(self) -> Batch:
        """The groups of all steps as one batch, in which no prompt comes twice: for what looks at single groups."""
        return Batch.of_groups(self.reward, self.sizes, self.columns)

    @cached_property
    def batches(self) -> list[tuple[slice, Batch]]:
        """Each step as the place of its rollouts in the chunk, and a batch whose prompt ids are their numbers."""
        cuts = [*np.searchsorted(self.groups, self.steps).tolist(), len(self.groups)]
        return self.whole.parts(cuts, self.code[self.groups], self.step[self.steps].astype(np.float64).tolist())


@dataclass(frozen=True)
class SortedTrace:
    """The rows of a trace in order of steps, without copies of its columns.

    Memory grows with the numbers of prompts and steps, and by 8 bytes a rollout if the rows are not in order already.
    """

    trace: Trace  # A recorded run, with rows in any order
    prompts: np.ndarray  # shape (P,): Distinct prompt ids, sorted; the index of an id is the prompt's number
    starts: np.ndarray  # shape (S,): Index of the first row of each step, in order of steps
    _order: np.ndarray | None

    @classmethod
    def of(cls, trace: Trace) -> SortedTrace:
        """Sort a trace by step."""
        step, cuts = trace.step, range(0, len(trace), _CHUNK_ROWS)
        pieces = [np.unique(trace.prompt_id[k : k + _CHUNK_ROWS]) for k in cuts]
        prompts = np.unique(np.concatenate(pieces)) if pieces else trace.prompt_id
        # One row more than a piece, to include the difference across its end.
        ordered = all((np.diff(step[k : k + _CHUNK_ROWS + 1]) >= 0).all() for k in cuts)
        order = None if ordered else np.argsort(step, kind="stable")
        starts = [np.zeros(min(len(trace), 1), dtype=np.intp)]
        for k in cuts:
            rows = slice(k, k + _CHUNK_ROWS + 1) if order is None else order[k : k + _CHUNK_ROWS + 1]
            starts.append(np.flatnonzero(np.diff(step[rows])) + k + 1)
        return cls(trace, prompts, np.concatenate(starts), order)

    def chunks(
        self, columns: Sequence[str] = (), whole_steps: int = 1, first: int = 0, last: int | None = None
    ) -> Iterator[StepChunk]:
        """Chunks of at least half a million rollouts (but the last), cut after a multiple of `whole_steps` steps.

        They cover the steps numbered from ``first`` up to ``last``, or all.
        """
        trace, bounds = self.trace, np.append(self.starts, len(self.trace))
        last = len(self.starts) if last is None else last
        start, end = int(bounds[first]), int(bounds[last])
        ends = np.append(bounds[first + whole_steps : last : whole_steps], end)
        while start < end:
            stop = int(ends[min(int(np.searchsorted(ends, start + _CHUNK_ROWS)), len(ends) - 1)])
            places = np.arange(start, stop)
            time = np.searchsorted(self.starts, places, side="right") - 1
            rows = places if self._order is None else self._order[start:stop]
            distinct, code = np.unique(trace.prompt_id[rows], return_inverse=True)
            code = np.searchsorted(self.prompts, distinct)[code]
            step = trace.step[rows]
            within = np.lexsort((trace.rollout[rows], code, step))
            rows = rows[within]
            extras = {name: np.asarray(trace.extras[name][rows], dtype=np.float64) for name in columns}
            yield StepChunk(rows, step[within], time, code[within], trace.reward[rows], extras)
            start = stop
