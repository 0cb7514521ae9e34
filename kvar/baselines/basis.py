"""The other prompts' rewards, weighted by an offline estimate of every prompt's value."""

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

    With V_i the success rate of prompt i before training, in the column ``offline_value``::

        b_i = V_i * [sum_j V_j r_j / s_j] / [sum_j V_j^2 / s_j],   s_j = V_j (1 - V_j)

    over the rollouts j of all other prompts: the best linear unbiased estimate if all values have moved by one factor.
    Prompts with V of 0 or 1 stay out of both sums and have the value 0. Where no other prompt is left, the factor is 1.

    *The form is unverified*: the paper was known from summaries only, which name the other prompts' rewards, Bernoulli
    variances, linear unbiasedness and the zero of sure prompts. Its transform of V by the temperature of the
    regularised optimum, chosen by least squares each step, and its cut-offs for sure prompts are left out.
    """

    name: ClassVar[str] = "basis"
    needs: ClassVar[tuple[str, ...]] = (_OFFLINE,)

    def values(self, batch: Batch) -> np.ndarray:
        """Rescaled offline values."""
        offline = batch.columns[_OFFLINE]
        known = offline[batch.scored]
        if not ((known >= 0) & (known <= 1)).all():
            raise ValueError(f"{_OFFLINE} must be from 0 to 1 for every rollout that has a reward")
        unsure = (offline > 0) & (offline < 1)
        # V / s is 1 / (1 - V).
        weights = np.divide(1.0, 1.0 - offline, out=np.zeros(offline.shape), where=unsure & batch.scored)
        rewards = sums_of_others((weights * batch.filled).sum(axis=1))
        expected = sums_of_others((weights * np.where(unsure, offline, 0.0)).sum(axis=1))
        factor = np.divide(rewards, expected, out=np.ones(expected.shape), where=expected > 0)
        return np.where(unsure, offline, 0.0) * factor[:, None]
