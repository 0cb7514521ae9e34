"""Mean and variance of a stream of numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from kvar.utils.checks import LARGEST, checked_keys, checked_number

__all__ = ["RunningMoments"]


@dataclass(frozen=True)
class RunningMoments:
    """What has to be kept of a stream to know its mean and variance.

    Attributes
    ----------
    count : float
        How many numbers.
    mean : float
        Their mean, 0 without any.
    squares : float
        Sum of their squared deviations from the mean.
    """

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    @property
    def variance(self) -> float:
        """Mean squared deviation, 0 without any number."""
        return self.squares / max(self.count, 1.0)

    def including(self, values: np.ndarray) -> RunningMoments:
        """Moments of the stream with more numbers in it.

        Welford's update for many numbers at once (Chan, Golub and LeVeque 1983, The American Statistician 37:242).
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
        """Copy out as plain data."""
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state: dict) -> RunningMoments:
        """Read plain data."""
        checked_keys(state, ("count", "mean", "squares"), "running moments")
        count, squares = (checked_number(state[key], f"{key} of running moments", 0.0) for key in ("count", "squares"))
        return cls(count, checked_number(state["mean"], "mean of running moments", -LARGEST, LARGEST), squares)
