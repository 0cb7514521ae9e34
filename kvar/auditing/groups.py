"""The groups of a chunk of a trace: one prompt at one step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.rollouts.step_chunks import StepChunk

__all__ = ["Groups"]


@dataclass(frozen=True)
class Groups:
    """Groups, in the order of step and prompt.

    Attributes
    ----------
    prompt : ndarray of int, shape (C,)
        Number of the prompt.
    time : ndarray of int, shape (C,)
        Number of the step, counted over the whole trace.
    step : ndarray, shape (C,)
        The step itself.
    size, count : ndarray of int, shape (C,)
        Rollouts, and those of them with a reward.
    mean, variance : ndarray of float64, shape (C,)
        Of the rewards; NaN where there are fewer than one and two, and a variance of exactly 0 where all are equal.
    low, high : ndarray of float64, shape (C,)
        Least and largest reward.
    """

    prompt: np.ndarray
    time: np.ndarray
    step: np.ndarray
    size: np.ndarray
    count: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, chunk: StepChunk, first_time: int) -> Groups:
        """Sum a chunk up."""
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
        return cls(chunk.code[starts], time, chunk.step[starts], size, count, high + offset, variance, low, high)

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.prompt)
