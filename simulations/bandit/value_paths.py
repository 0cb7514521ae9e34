"""Value paths of one prompt: how its true value moves over a run whose length is taken as 1.

A step j of a run of N steps has the value ``m(j / N)``. That is the frame of the theory: the window of the kernel is a
share h of the run, and the curve is the same however many steps it is seen in. All end at 1/2, where a binary reward is
noisiest and its noise does not change to first order.
"""

# ruff: noqa: D102  (the methods are documented in ValuePath)
from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

__all__ = ["Jump", "Parabola", "ValuePath", "Zigzag"]


class ValuePath(ABC):
    """A curve on [0, 1] with values in (0, 1)."""

    @abstractmethod
    def __call__(self, time: np.ndarray) -> np.ndarray:
        """Values."""


@dataclass(frozen=True)
class Zigzag(ValuePath):
    """Straight up and down with one slope: Lipschitz, and no smoother.

    It ends on a straight rise, which among all Lipschitz curves is the worst for an estimate that looks back.

    Attributes
    ----------
    slope : float
        Absolute slope.
    ramp : float
        Length of each straight piece; the last one is whole.
    """

    slope: float = 0.5
    ramp: float = 0.4

    def __call__(self, time):
        back = np.mod(1.0 - np.asarray(time, dtype=np.float64), 2.0 * self.ramp)
        return 0.5 - self.slope * np.minimum(back, 2.0 * self.ramp - back)


@dataclass(frozen=True)
class Parabola(ValuePath):
    """Two derivatives at the end: smooth, so that a local line has less bias than a local mean.

    Attributes
    ----------
    slope, curvature : float
        Derivatives at the end. Where the parabola comes back to 1/2, at time ``1 - 2 slope / curvature``, it begins;
        the value is 1/2 before that.
    """

    slope: float = 1.0
    curvature: float = 4.0

    def __call__(self, time):
        back = np.minimum(1.0 - np.asarray(time, dtype=np.float64), 2.0 * self.slope / self.curvature)
        return 0.5 - self.slope * back + 0.5 * self.curvature * back**2


@dataclass(frozen=True)
class Jump(ValuePath):
    """Constant but for one jump.

    Attributes
    ----------
    time : float
        When it jumps.
    before, after : float
        The two values.
    """

    time: float = 0.5
    before: float = 0.2
    after: float = 0.5

    def __call__(self, time):
        return np.where(np.asarray(time, dtype=np.float64) < self.time, self.before, self.after)
