"""Groups of rollouts, one prompt at one step each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.rollouts.step_chunks import StepChunk

__all__ = ["Groups"]


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
    def of(cls, chunk: StepChunk) -> Groups:
        """Summarise the rewards of each group."""
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
        place = chunk.code[starts], chunk.time[starts], chunk.step[starts]
        return cls(*place, size, count, high + offset, variance, low, high, *_copies(chunk, count))

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
