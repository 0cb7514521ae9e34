"""Mean and variance of a stream of numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from kvar.utils.checks import LARGEST, MOST_REWARDS, checked_keys, checked_number

__all__ = ["RunningMoments"]


@dataclass(frozen=True)
class RunningMoments:
    """Count, mean and sum of squares, from which the mean and variance of a stream follow."""

    count: float = 0.0  # How many numbers there were
    mean: float = 0.0  # Mean of the numbers; 0 if there are none
    squares: float = 0.0  # Sum of their squared deviations from the mean

    @property
    def variance(self) -> float:
        """Mean squared deviation; 0 if there are no numbers."""
        return self.squares / max(self.count, 1.0)

    def updated(self, values: np.ndarray) -> RunningMoments:
        """Moments of the stream after more numbers.

        Welford's update for several numbers at once (Chan, Golub and LeVeque 1983, The American Statistician 37:242).
        """
        if values.size == 0:
            return self
        count = self.count + values.size
        mean = float(values.mean())
        shift = mean - self.mean
        return RunningMoments(
            count,
            self.mean + shift * (values.size / count),
            self.squares + float(((values - mean) ** 2).sum()) + shift**2 * (self.count * values.size / count),
        )

    def state_dict(self) -> dict:
        """Plain data for `from_state_dict`."""
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state: dict) -> RunningMoments:
        """Restore what `state_dict` returned; a damaged state raises ValueError."""
        checked_keys(state, ("count", "mean", "squares"), "running moments")
        count = checked_number(state["count"], "count of running moments", 0.0, MOST_REWARDS)
        squares = checked_number(state["squares"], "squares of running moments", 0.0, 8 * LARGEST**2 * max(count, 1.0))
        return cls(count, checked_number(state["mean"], "mean of running moments", -LARGEST, LARGEST), squares)
