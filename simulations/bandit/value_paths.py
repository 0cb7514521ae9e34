"""Value paths of one prompt: how its value moves over a run of length 1.

Step j of a run of N steps has the value ``m(j / N)``. This is the setting of the theory: the window of the kernel is a
fraction h of the run, and the curve is the same for any number of steps. All paths end at 1/2, where a binary reward is
noisiest and its noise is constant to first order.
"""

# ruff: noqa: D102  (the methods are documented in ValuePath)
from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

__all__ = ["Parabola", "ValuePath", "Zigzag"]


class ValuePath(ABC):
    """A curve on [0, 1] with values in (0, 1)."""

    @abstractmethod
    def __call__(self, time: np.ndarray) -> np.ndarray:
        """Values at times from 0 to 1."""


@dataclass(frozen=True)
class Zigzag(ValuePath):
    """Straight lines up and down with one absolute slope: Lipschitz, and no smoother.

    It ends with a straight rise, the worst of all Lipschitz curves for an estimate from the past.
    """

    slope: float = 0.5  # Absolute slope
    ramp: float = 0.4  # Length of each straight piece, the last one included

    def __call__(self, time):
        back = np.mod(1.0 - np.asarray(time, dtype=np.float64), 2.0 * self.ramp)
        return 0.5 - self.slope * np.minimum(back, 2.0 * self.ramp - back)


@dataclass(frozen=True)
class Parabola(ValuePath):
    """Twice differentiable at the end, so that a local line has less bias there than a local mean."""

    # slope, curvature: First and second derivative at the end. The parabola begins where it is 1/2 again, at time ``1 -
    # 2 slope / curvature``; before that the value is 1/2.
    slope: float = 1.0
    curvature: float = 4.0

    def __call__(self, time):
        back = np.minimum(1.0 - np.asarray(time, dtype=np.float64), 2.0 * self.slope / self.curvature)
        return 0.5 - self.slope * back + 0.5 * self.curvature * back**2
