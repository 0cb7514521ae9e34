"""The mean reward of the group, weighted by the lengths of the completions: OPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.baselines.one_rollout import OneRollout
from kvar.rollouts.batch import Batch

__all__ = ["OPO"]

_LENGTH = "completion_length"


@dataclass
class OPO(Baseline):
    """Mean reward of the group weighted by the lengths of the completions, own reward included: OPO (arXiv 2505.23585).

    The value is ``sum L r / sum L`` over the group, with lengths L from the column ``completion_length``. It is the
    variance-optimal baseline if the squared norm of the score is proportional to the length. The value is 0 in a group
    of fewer than two rewards, as in verl, so that the advantage is the reward. It is also 0 if all completions of the
    group are empty.
    """

    name: ClassVar[str] = "opo"
    needs: ClassVar[tuple[str, ...]] = (_LENGTH,)
    group_only: ClassVar[bool] = True
    one_rollout: ClassVar[OneRollout] = "refused"

    def values(self, batch: Batch) -> np.ndarray:
        """Weighted group means."""
        return batch.spread(batch.sums(self.own_weight(batch) * batch.filled))

    def own_weight(self, batch: Batch) -> np.ndarray:
        """Fraction of the group's total length."""
        lengths = batch.columns[_LENGTH]
        if (wrong := batch.scored & ~((lengths >= 0) & np.isfinite(lengths))).any():
            raise ValueError(
                f"{_LENGTH} must be a number from 0 on for every completion with a reward, got {lengths[wrong][0]:g}"
            )
        lengths = np.where(batch.scored, lengths, 0.0)
        total = batch.spread(batch.sums(lengths))
        compared = batch.spread(batch.counts > 1) & (total > 0)
        return np.divide(lengths, total, out=np.zeros(lengths.shape), where=compared)
