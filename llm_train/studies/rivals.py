"""Baselines that a comparison needs and `kvar` has no use for; importing this module registers them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines import Baseline, register_baseline
from kvar.baselines.batch_mean import others_in_batch
from kvar.baselines.group_mean import GroupMean
from kvar.rollouts.batch import Batch
from llm_train.studies.weighted_mean import WeightedMean

__all__ = ["GPG", "FractionOfMean"]

register_baseline(WeightedMean)


@register_baseline
@dataclass
class FractionOfMean(Baseline):
    """A fraction of the mean of the batch's other rewards: a low baseline without an estimator."""

    name: ClassVar[str] = "fraction-of-mean"
    fraction: float = 0.5

    def values(self, batch: Batch) -> np.ndarray:
        """The fraction of the leave-one-out mean."""
        return self.fraction * others_in_batch(batch)


@register_baseline
@dataclass
class GPG(GroupMean):
    """The values that give the advantages of GPG (arXiv 2504.02546): those of the group mean times a.

    The factor a is the number of rewards of the batch over that of rewards that are not 0, as in verl; without such a
    reward all advantages are 0.
    """

    name: ClassVar[str] = "gpg"

    def values(self, batch: Batch) -> np.ndarray:
        """Rewards less a times their distance from the group mean."""
        return batch.filled - _factor(batch) * (batch.filled - batch.spread(batch.means))

    def own_weight(self, batch: Batch) -> np.ndarray:
        """Derivative at a fixed factor."""
        return 1.0 - _factor(batch) * (1.0 - super().own_weight(batch))


def _factor(batch: Batch) -> float:
    return batch.n_scored / max(np.count_nonzero(batch.filled), 1)
