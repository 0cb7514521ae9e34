"""The mean of the other rewards in the group: RLOO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.baselines.one_rollout import OneRollout
from kvar.rollouts.batch import Batch

__all__ = ["LeaveOneOut"]


@dataclass
class LeaveOneOut(Baseline):
    """Leave-one-out mean of the group's rewards: RLOO (arXiv 2402.14740).

    The value is 0 for a rollout that is alone in its group, so that its advantage is its reward.
    """

    name: ClassVar[str] = "leave-one-out"
    group_only: ClassVar[bool] = True
    one_rollout: ClassVar[OneRollout] = "no baseline"

    def values(self, batch: Batch) -> np.ndarray:
        """Leave-one-out means."""
        total, count = batch.totals_of_others, batch.n_others
        return np.divide(total, count, out=np.zeros(total.shape), where=count > 0)
