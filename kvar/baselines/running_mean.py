"""The mean of all earlier rewards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.online.running_moments import RunningMoments
from kvar.rollouts.batch import Batch

__all__ = ["RunningMean"]


@dataclass
class RunningMean(Baseline):
    """Mean of all rewards of earlier steps, over all prompts (Williams 1992; Sutton and Barto 2018, section 2.8).

    The value is 0 until a reward has been remembered.
    """

    name: ClassVar[str] = "running-mean"
    _moments: RunningMoments = field(default=RunningMoments(), init=False, repr=False, compare=False)

    def values(self, batch: Batch) -> np.ndarray:
        """Mean of the past rewards."""
        return np.full(batch.rewards.shape, self._moments.mean)

    def learn(self, batch: Batch) -> None:
        """Update the mean."""
        self._moments = self._moments.updated(batch.rewards[batch.scored])

    def _state(self) -> dict:
        return self._moments.state_dict()

    def _load_state(self, state: dict) -> None:
        self._moments = RunningMoments.from_state_dict(state)
