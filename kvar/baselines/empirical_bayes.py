"""Group means shrunk to the overall mean, with variances estimated from the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.online.running_moments import RunningMoments
from kvar.rollouts.batch import Batch
from kvar.utils.checks import checked_keys

__all__ = ["EmpiricalBayes"]


@dataclass
class EmpiricalBayes(Baseline):
    """Empirical-Bayes shrinkage of the group mean, own reward included: EBPO (arXiv 2602.05165).

    Let sigma^2 be the variance and mu_glob the mean of all rewards so far, and tau^2 the variance of all group means so
    far. The value of a group of G rewards with mean mu is::

        V = (1 - S) mu + S mu_glob,   S = (sigma^2 / G) / (sigma^2 / G + tau^2)

    The current batch enters all three before the values are computed, and nothing is discounted. The paper then
    subtracts the batch mean of the advantages and divides by their standard deviation; that is not part of the value
    and is left out. The paper does not give the divisor of its running variance. Here it is the number of rewards or
    groups, which is defined from the first reward on.

    As long as all rewards are equal, S is 0. A group without rewards has the value mu_glob, which is 0 before the first
    reward. The own reward enters the variances too. The value is therefore not linear in it, and `own_weight` is the
    derivative at the rewards of the batch.
    """

    name: ClassVar[str] = "empirical-bayes"
    _rewards: RunningMoments = field(default=RunningMoments(), init=False, repr=False, compare=False)
    _means: RunningMoments = field(default=RunningMoments(), init=False, repr=False, compare=False)

    def values(self, batch: Batch) -> np.ndarray:
        """Shrunken group means, the same for all rollouts of a group."""
        rewards, means = self.recalled(batch)
        mean = np.where(batch.counts > 0, batch.means, rewards.mean)
        shrinkage = _shrinkage(rewards.variance, means.variance, batch.counts)
        return batch.spread(mean + shrinkage * (rewards.mean - mean))

    def own_weight(self, batch: Batch) -> np.ndarray:
        """Derivative of a value by its own reward, through both means and through the shrinkage."""
        rewards, means = self.recalled(batch)
        group_mean = np.where(batch.counts > 0, batch.means, rewards.mean)
        mean, counts = batch.spread(group_mean), batch.spread(np.maximum(batch.counts, 1))
        shrinkage = batch.spread(_shrinkage(rewards.variance, means.variance, batch.counts))
        noise_slope = 2 * (batch.filled - rewards.mean) / (max(rewards.count, 1.0) * counts)
        mean_slope = 2 * (mean - means.mean) / (max(means.count, 1.0) * counts)
        total = rewards.variance / counts + means.variance
        slope = (1 - shrinkage) * noise_slope - shrinkage * mean_slope
        slope = np.divide(slope, total, out=np.zeros(slope.shape), where=total > 0)
        weight = (1 - shrinkage) / counts + shrinkage / max(rewards.count, 1.0) + slope * (rewards.mean - mean)
        return np.where(batch.scored, weight, 0.0)

    def learn(self, batch: Batch) -> None:
        """Keep the moments that include the batch."""
        self._rewards, self._means = self.recalled(batch)

    def _recall(self, batch: Batch) -> tuple[RunningMoments, RunningMoments]:
        """Moments of rewards and of group means, including the batch."""
        means = batch.means[batch.counts > 0]
        return self._rewards.updated(batch.rewards[batch.scored]), self._means.updated(means)

    def _state(self) -> dict:
        return {"rewards": self._rewards.state_dict(), "means": self._means.state_dict()}

    def _load_state(self, state: dict) -> None:
        checked_keys(state, ("rewards", "means"), "this history")
        self._rewards, self._means = (RunningMoments.from_state_dict(state[key]) for key in ("rewards", "means"))


def _shrinkage(reward_variance: float, mean_variance: float, counts: np.ndarray) -> np.ndarray:
    """Weight S of the overall mean in the value of groups of these sizes."""
    noise = reward_variance / np.maximum(counts, 1)
    total = noise + mean_variance
    return np.divide(noise, total, out=np.zeros(total.shape), where=total > 0)
