"""The mean reward of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.rollouts.batch import Batch, sums_of_others

__all__ = ["BatchMean", "others_in_batch"]


def others_in_batch(batch: Batch) -> np.ndarray:
    """Leave-one-out mean of the batch's rewards, shape (R,); 0 for a rollout that has no other."""
    total = sums_of_others(batch.filled)
    count = batch.n_scored - batch.scored
    return np.divide(total, count, out=np.zeros(total.shape), where=count > 0)


@dataclass
class BatchMean(Baseline):
    """Mean reward of the whole batch, own reward included: REINFORCE++ (arXiv 2501.03262) without its whitening.

    A batch without any reward has no mean, and its values are NaN.
    """

    name: ClassVar[str] = "batch-mean"

    def values(self, batch: Batch) -> np.ndarray:
        """The batch mean."""
        mean = batch.rewards[batch.scored].mean() if batch.n_scored else np.nan
        return np.full(batch.rewards.shape, mean)

    def own_weight(self, batch: Batch) -> np.ndarray:
        """One over the number of rewards in the batch."""
        return batch.scored / max(batch.n_scored, 1)
