"""No baseline: REINFORCE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.rollouts.batch import Batch

__all__ = ["NoBaseline"]


@dataclass
class NoBaseline(Baseline):
    """Zero everywhere: REINFORCE (Williams 1992)."""

    name: ClassVar[str] = "none"
    group_only: ClassVar[bool] = True

    def values(self, batch: Batch) -> np.ndarray:
        """Zeros."""
        return np.zeros(batch.rewards.shape)
