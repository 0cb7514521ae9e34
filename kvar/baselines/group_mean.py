"""The mean reward of the group: GRPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.baselines.one_rollout import OneRollout
from kvar.rollouts.batch import Batch

__all__ = ["GroupMean", "group_means", "group_variances"]


def group_means(batch: Batch) -> np.ndarray:
    """Mean reward of each group, shape (P,); NaN for a group without rewards."""
    total = batch.totals
    return np.divide(total, batch.counts, out=np.full(total.shape, np.nan), where=batch.counts > 0)


def group_variances(batch: Batch) -> np.ndarray:
    """Unbiased variance of each group's rewards, shape (P,); NaN for fewer than two rewards."""
    # Differences from the largest reward, so that the variance of equal rewards is exactly 0.
    largest = batch.by_group(lambda rewards: np.fmax.reduce(rewards, axis=1, initial=-np.inf), batch.rewards)
    below = np.where(batch.scored, batch.rewards - batch.spread(largest), 0.0)
    mean = batch.sums(below) / np.maximum(batch.counts, 1)
    squares = batch.sums(np.where(batch.scored, below - batch.spread(mean), 0.0) ** 2)
    return np.divide(squares, batch.counts - 1, out=np.full(squares.shape, np.nan), where=batch.counts > 1)


@dataclass
class GroupMean(Baseline):
    """Mean reward of the group, own reward included: GRPO without the division by the standard deviation.

    Sources: DeepSeekMath (arXiv 2402.03300) and Dr. GRPO (arXiv 2503.20783). The advantage of a group of one is 0. The
    values of a group without rewards are NaN.
    """

    name: ClassVar[str] = "group-mean"
    one_rollout: ClassVar[OneRollout] = "refused"

    def values(self, batch: Batch) -> np.ndarray:
        """Group means."""
        return batch.spread(group_means(batch))

    def own_weight(self, batch: Batch) -> np.ndarray:
        """One over the number of rewards in the group."""
        return batch.scored / batch.spread(np.maximum(batch.counts, 1))
