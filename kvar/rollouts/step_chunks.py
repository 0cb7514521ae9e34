"""A recorded run in order of steps, in chunks of whole steps that fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
    code: np.ndarray  # shape (n,): Number of each rollout's prompt, its index in `SortedTrace.prompts`
    reward: np.ndarray  # shape (n,): Reward of each rollout
    columns: dict[str, np.ndarray]  # each of shape (n,): Extra columns

    def __len__(self) -> int:
        """Number of rollouts."""
        return len(self.rows)

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
    def batches(self) -> list[tuple[np.ndarray, Batch]]:
        """Each step as indices of its rollouts in the chunk, and a batch whose prompt ids are their numbers.

        If all groups of a step have one size, its indices have shape (P, G), one group a row; otherwise (n,).
        """
        steps = []
        first_groups = np.searchsorted(self.groups, self.steps)
        for start, stop in zip(first_groups, [*first_groups[1:], len(self.groups)], strict=True):
            sizes = self.sizes[start:stop]
            places = np.arange(self.groups[start], self.groups[start] + sizes.sum())
            if (sizes == sizes[0]).all():
                places = places.reshape(len(sizes), sizes[0])
            codes = self.code[places] if places.ndim == 1 else self.code[places[:, 0]]
            columns = {name: column[places] for name, column in self.columns.items()}
            batch = Batch.from_rows(codes, self.reward[places], self.step[self.groups[start]], columns)
            steps.append((places, batch))
        return steps


@dataclass(frozen=True)
class SortedTrace:
    """The rows of a trace in order of steps, without copies of its columns.

    Memory grows with the numbers of prompts and steps, and by 8 bytes a rollout if the rows are not in order already.
    """

    trace: Trace  # A recorded run, with rows in any order
    prompts: np.ndarray  # shape (P,): Distinct prompt ids, sorted; the index of an id is the prompt's number
    starts: np.ndarray  # shape (S,): Index of the first row of each step, in order of steps
    _order: np.ndarray | None
    one_in: int = 1  # Every how many prompts of the recorded run one was kept, see `sample_prompts`

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

    def sample_prompts(self, most: int, columns: Sequence[str] = ()) -> SortedTrace:
        """Every k-th prompt with all of its rollouts, about `most` rollouts in total, with the named extra columns."""
        trace, one_in = self.trace, -(-len(self.trace) // most)
        if one_in == 1:
            return self
        rows = self._rows_of(self.prompts[::one_in])
        extras = {name: np.asarray(trace.extras[name][rows]) for name in columns}
        kept = Trace(trace.step[rows], trace.prompt_id[rows], trace.rollout[rows], trace.reward[rows], extras)
        return replace(SortedTrace.of(kept), one_in=one_in)

    def _rows_of(self, prompts: np.ndarray) -> np.ndarray:
        """Rows of the trace that belong to some prompts, ascending."""
        ids, cuts = self.trace.prompt_id, range(0, len(self.trace), _CHUNK_ROWS)
        return np.concatenate([np.flatnonzero(np.isin(ids[k : k + _CHUNK_ROWS], prompts)) + k for k in cuts])

    def chunks(self, columns: Sequence[str] = (), whole_steps: int = 1) -> Iterator[StepChunk]:
        """Chunks of at least half a million rollouts (but the last), cut after a multiple of `whole_steps` steps."""
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
