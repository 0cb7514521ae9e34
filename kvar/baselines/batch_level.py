"""Baselines that are one number for all prompts: none at all, the batch mean, the mean of the past."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.online.running_moments import RunningMoments
from kvar.rollouts.batch import Batch, sums_of_others

__all__ = ["BatchMean", "NoBaseline", "RunningMean", "others_in_batch"]


def others_in_batch(batch: Batch) -> np.ndarray:
    """Mean reward of all other rollouts of the batch."""
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
    """Mean of all rewards of earlier steps, whatever the prompt (Williams 1992; Sutton and Barto 2018, 2.8).

    Before there is a past the value is 0.
    """

    name: ClassVar[str] = "running-mean"
    _past: RunningMoments = field(default=RunningMoments(), init=False, repr=False, compare=False)

    def values(self, batch: Batch) -> np.ndarray:
        """The mean of the past."""
        return np.full(batch.rewards.shape, self._past.mean)

    def learn(self, batch: Batch) -> None:
        """Take the batch's rewards into the mean."""
        self._past = self._past.updated(batch.rewards[batch.scored])

    def _state(self) -> dict:
        return self._past.state_dict()

    def _load_state(self, state: dict) -> None:
        self._past = RunningMoments.from_state_dict(state)
