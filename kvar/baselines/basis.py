"""Offline values, rescaled by the rewards of the other prompts in the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.rollouts.batch import Batch, sums_of_others

__all__ = ["BASIS"]

_OFFLINE = "offline_value"


@dataclass
class BASIS(Baseline):
    """Offline values rescaled by the rewards of the other prompts of the batch, after BASIS (arXiv 2605.27293).

    Let V_i be the success rate of prompt i before training, in the column ``offline_value``. Then::

        b_i = V_i * [sum_j V_j r_j / s_j] / [sum_j V_j^2 / s_j],   s_j = V_j (1 - V_j)

    with sums over the rollouts j of all other prompts. This is the best linear unbiased estimate if all values have
    changed by one factor. Prompts with V of 0 or 1 enter neither sum and have the value 0. If no other prompt is left,
    the factor is 1.

    *The form is unverified*: only summaries of the paper were available. They name the other prompts' rewards,
    Bernoulli variances, linear unbiasedness and the value 0 of prompts with V of 0 or 1. Two parts of the method are
    left out: the transform of V by the temperature of the regularised optimum, chosen by least squares at each step,
    and the thresholds from which V counts as 0 or 1.
    """

    name: ClassVar[str] = "basis"
    needs: ClassVar[tuple[str, ...]] = (_OFFLINE,)

    def values(self, batch: Batch) -> np.ndarray:
        """Rescaled offline values."""
        offline = batch.columns[_OFFLINE]
        if (wrong := batch.scored & ~((offline >= 0) & (offline <= 1))).any():
            raise ValueError(
                f"{_OFFLINE} must be from 0 to 1 for every rollout with a reward, got {offline[wrong][0]:g}"
            )
        uncertain = (offline > 0) & (offline < 1)
        # V / s is 1 / (1 - V).
        weights = np.divide(1.0, 1.0 - offline, out=np.zeros(offline.shape), where=uncertain & batch.scored)
        rewards = sums_of_others(batch.sums(weights * batch.filled))
        expected = sums_of_others(batch.sums(weights * np.where(uncertain, offline, 0.0)))
        factor = np.divide(rewards, expected, out=np.ones(expected.shape), where=expected > 0)
        return np.where(uncertain, offline, 0.0) * batch.spread(factor)
