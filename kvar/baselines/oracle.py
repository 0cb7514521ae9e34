"""The oracle: the true value of each prompt, where it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.rollouts.batch import Batch

__all__ = ["Oracle"]


@dataclass
class Oracle(Baseline):
    """The true value of each prompt under the current policy, from the column ``true_value``.

    It is the reference for all other baselines. No value that depends on the prompt alone gives a policy gradient of
    smaller variance if the reward is uncorrelated with the squared norm of the score.
    """

    name: ClassVar[str] = "oracle"
    needs: ClassVar[tuple[str, ...]] = ("true_value",)
    group_only: ClassVar[bool] = True

    def values(self, batch: Batch) -> np.ndarray:
        """The true values."""
        return batch.columns["true_value"]
