"""Groups of rollouts, one prompt at one step each, and sums over all groups of a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from kvar.intervals import ClusteredSums, period_length
from kvar.rollouts.step_chunks import SortedTrace, StepChunk
from kvar.utils.parallel import prefetch

__all__ = ["Groups", "sum_over_groups"]

T = TypeVar("T")


@dataclass(frozen=True)
class Groups:
    """The groups of a chunk, in the order of step and prompt."""

    prompt: np.ndarray  # shape (C,): Number of the prompt
    time: np.ndarray  # shape (C,): Number of the step, counted over the whole trace
    step: np.ndarray  # shape (C,): The step itself
    size: np.ndarray  # size, count: shape (C,): Rollouts, and those of them with a reward
    count: np.ndarray
    # mean, variance: shape (C,): Mean of the rewards, NaN without any, and their unbiased variance, NaN for fewer than
    # two and exactly 0 where all are equal.
    mean: np.ndarray
    variance: np.ndarray
    low: np.ndarray  # low, high: shape (C,): Least and largest reward
    high: np.ndarray
    # one_off, two_off: shape (C,): Number of different rewards that all but one, or all but two, of the group are equal
    # to.
    one_off: np.ndarray
    two_off: np.ndarray

    @classmethod
    def of(cls, chunk: StepChunk, first_time: int) -> Groups:
        """Summarise the rewards of each group; steps are counted from ``first_time``."""
        reward, starts, size = chunk.reward, chunk.groups, chunk.sizes
        scored = ~np.isnan(reward)
        count = chunk.sums(scored.astype(np.int64))
        low, high = (f.reduceat(reward, starts) for f in (np.fmin, np.fmax))
        # From the largest of the group, so that equal rewards leave no rounding behind.
        below = np.where(scored, reward - chunk.spread(high), 0.0)
        with np.errstate(invalid="ignore"):
            offset = chunk.sums(below) / count
            squares = np.where(scored, below - chunk.spread(offset), 0.0) ** 2
            variance = np.where(count > 1, chunk.sums(squares) / np.maximum(count - 1, 1), np.nan)
        time = first_time + np.searchsorted(chunk.steps, starts, side="right") - 1
        off = _copies(chunk, count)
        return cls(chunk.code[starts], time, chunk.step[starts], size, count, high + offset, variance, low, high, *off)

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.prompt)


def _copies(chunk: StepChunk, count: np.ndarray) -> list[np.ndarray]:
    """How many different rewards of each group all but one, and all but two, of its rewards are equal to."""
    group = chunk.spread(np.arange(len(count)))
    order = np.lexsort((chunk.reward, group))
    group, reward = group[order], chunk.reward[order]
    # NaN comes last in each group and is equal to nothing.
    first = np.flatnonzero((np.diff(group, prepend=-1) != 0) | (np.diff(reward, prepend=np.nan) != 0))
    scored = ~np.isnan(reward[first])
    copies, of = np.diff(first, append=len(group))[scored], group[first][scored]
    return [np.bincount(of[copies == count[of] - k], minlength=len(count)) for k in (1, 2)]


def sum_over_groups(
    order: SortedTrace,
    extras: Sequence[str],
    n_columns: int,
    cells_of: Callable[[StepChunk, Groups, T], np.ndarray],
    prepare: Callable[[Groups], T],
    advance: Callable[[int], object] = lambda n_rollouts: None,
) -> ClusteredSums:
    """Sum what ``cells_of`` makes of each chunk, shape (n_columns, C), by prompt and by period.

    What ``prepare`` makes of the groups is handed to ``cells_of``. It runs one chunk ahead, in a thread. Memory grows
    with the number of prompts, steps and columns, not with the number of rollouts.
    """
    n_steps = len(order.starts)
    length = period_length(n_steps)
    sums = ClusteredSums(n_columns, len(order.prompts), -(-n_steps // length))

    def prepared() -> Iterator[tuple[StepChunk, Groups, T]]:
        first_time = 0
        for chunk in order.chunks(extras, length):
            groups = Groups.of(chunk, first_time)
            yield chunk, groups, prepare(groups)
            first_time = int(groups.time[-1]) + 1

    for chunk, groups, extra in prefetch(prepared()):
        sums.add(cells_of(chunk, groups, extra), groups.prompt, groups.time // length)
        advance(len(chunk))
    return sums
