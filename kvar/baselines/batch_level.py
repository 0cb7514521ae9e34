"""Baselines that are the same for all prompts: zero, the batch mean, the running mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.online.running_moments import RunningMoments
from kvar.rollouts.batch import Batch, sums_of_others

__all__ = ["BatchMean", "NoBaseline", "RunningMean", "others_in_batch"]


def others_in_batch(batch: Batch) -> np.ndarray:
    """Leave-one-out mean of the batch's rewards, shape (P, N); 0 for a rollout that has no other."""
    total = sums_of_others(batch.filled.ravel()).reshape(batch.rewards.shape)
    count = batch.counts.sum() - batch.scored
    return np.divide(total, count, out=np.zeros(total.shape), where=count > 0)


@dataclass
class NoBaseline(Baseline):
    """Zero everywhere: REINFORCE (Williams 1992)."""

    name: ClassVar[str] = "none"

    def values(self, batch: Batch) -> np.ndarray:
        """Zeros."""
        return np.zeros(batch.rewards.shape)


@dataclass
class BatchMean(Baseline):
    """Mean reward of the whole batch, own reward included: REINFORCE++ (arXiv 2501.03262) without its whitening.

    A batch without any reward has no mean, and its values are NaN.
    """

    name: ClassVar[str] = "batch-mean"

    def values(self, batch: Batch) -> np.ndarray:
        """The batch mean."""
        mean = batch.rewards[batch.scored].mean() if batch.scored.any() else np.nan
        return np.full(batch.rewards.shape, mean)

    def own_weight(self, batch: Batch) -> np.ndarray:
        """One over the number of rewards in the batch."""
        return batch.scored / max(batch.scored.sum(), 1)


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
