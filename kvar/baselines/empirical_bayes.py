"""Group means drawn toward the mean of everything, with weights from the run's own variances."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.baselines.group import group_means
from kvar.online.running_moments import RunningMoments
from kvar.rollouts.batch import Batch
from kvar.utils.checks import checked_keys

__all__ = ["EmpiricalBayes"]


@dataclass
class EmpiricalBayes(Baseline):
    """Empirical-Bayes shrinkage of the group mean, EBPO (arXiv 2602.05165), own reward included.

    With sigma^2 the variance of all rewards so far, tau^2 that of all group means so far and mu_glob the mean of all
    rewards, the value of a group of G rewards with mean mu is::

        V = (1 - S) mu + S mu_glob,   S = (sigma^2 / G) / (sigma^2 / G + tau^2)

    The current batch enters all three before it is valued, and nothing is forgotten. The paper then centres the
    advantages on their batch mean and divides by their deviation; that is not part of the value and is left out here.
    It does not say what its running variance is divided by: here it is the number of rewards or groups, which is
    defined from the first reward on.

    While all rewards are equal, S is 0. A group without any reward has the value mu_glob, which is 0 before the first
    reward. The own reward enters the variances too, so the value is not linear in it and `own_weight` is the
    derivative at the rewards given.
    """

    name: ClassVar[str] = "empirical-bayes"
    _rewards: RunningMoments = field(default=RunningMoments(), init=False, repr=False, compare=False)
    _means: RunningMoments = field(default=RunningMoments(), init=False, repr=False, compare=False)

    def values(self, batch: Batch) -> np.ndarray:
        """Shrunken group means."""
        rewards, means = self.recalled(batch)
        mean = np.where(batch.counts > 0, group_means(batch), rewards.mean)
        shrinkage = _shrinkage(rewards.variance, means.variance, batch.counts)
        return np.broadcast_to(mean + shrinkage * (rewards.mean - mean), batch.rewards.shape)

    def own_weight(self, batch: Batch) -> np.ndarray:
        """Derivative of a value by its own reward, through the means and through the shrinkage."""
        rewards, means = self.recalled(batch)
        counts = np.maximum(batch.counts, 1)
        mean = np.where(batch.counts > 0, group_means(batch), rewards.mean)
        shrinkage = _shrinkage(rewards.variance, means.variance, batch.counts)
        noise_slope = 2 * (batch.filled - rewards.mean) / (max(rewards.count, 1.0) * counts)
        spread_slope = 2 * (mean - means.mean) / (max(means.count, 1.0) * counts)
        total = rewards.variance / counts + means.variance
        slope = (1 - shrinkage) * noise_slope - shrinkage * spread_slope
        slope = np.divide(slope, total, out=np.zeros(slope.shape), where=total > 0)
        weight = (1 - shrinkage) / counts + shrinkage / max(rewards.count, 1.0) + slope * (rewards.mean - mean)
        return np.where(batch.scored, weight, 0.0)

    def learn(self, batch: Batch) -> None:
        """Take the batch's rewards and group means into the moments."""
        self._rewards, self._means = self.recalled(batch)

    def _recall(self, batch: Batch) -> tuple[RunningMoments, RunningMoments]:
        """Moments of rewards and of group means with the batch in them."""
        means = group_means(batch)[batch.counts > 0]
        return self._rewards.updated(batch.rewards[batch.scored]), self._means.updated(means)

    def _state(self) -> dict:
        return {"rewards": self._rewards.state_dict(), "means": self._means.state_dict()}

    def _load_state(self, state: dict) -> None:
        checked_keys(state, ("rewards", "means"), "this history")
        self._rewards, self._means = (RunningMoments.from_state_dict(state[key]) for key in ("rewards", "means"))


def _shrinkage(noise: float, spread: float, counts: np.ndarray) -> np.ndarray:
    """Share of the global mean in the value of groups of these sizes."""
    of_mean = noise / np.maximum(counts, 1)
    total = of_mean + spread
    return np.divide(of_mean, total, out=np.zeros(total.shape), where=total > 0)
