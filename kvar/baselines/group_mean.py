"""The mean reward of the group: GRPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.baselines.one_rollout import OneRollout
from kvar.rollouts.batch import Batch

__all__ = ["GroupMean"]


@dataclass
class GroupMean(Baseline):
    """Mean reward of the group, own reward included: GRPO without the division by the standard deviation.

    Sources: DeepSeekMath (arXiv 2402.03300) and Dr. GRPO (arXiv 2503.20783). The advantage of a group of one is 0. The
    values of a group without rewards are NaN.
    """

    name: ClassVar[str] = "group-mean"
    group_only: ClassVar[bool] = True
    one_rollout: ClassVar[OneRollout] = "refused"

    def values(self, batch: Batch) -> np.ndarray:
        """Group means."""
        return batch.spread(batch.means)

    def own_weight(self, batch: Batch) -> np.ndarray:
        """One over the number of rewards in the group."""
        return batch.scored / batch.spread(np.maximum(batch.counts, 1))
