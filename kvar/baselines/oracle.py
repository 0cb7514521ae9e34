"""The true value, where it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.rollouts.batch import Batch

__all__ = ["Oracle"]


@dataclass
class Oracle(Baseline):
    """The true value of each prompt under the current policy, given with the rewards as ``true_value``.

    What every other baseline is measured against; no estimate that depends on the prompt alone does better when the
    reward is uncorrelated with the squared norm of the score.
    """

    name: ClassVar[str] = "oracle"
    needs: ClassVar[tuple[str, ...]] = ("true_value",)

    def values(self, batch: Batch) -> np.ndarray:
        """The given values."""
        return batch.columns["true_value"]
