"""A Kalman filter along the rewards of the group: KRPO."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.baselines.one_rollout import OneRollout
from kvar.rollouts.batch import Batch
from kvar.utils.checks import is_number

__all__ = ["KRPO"]


@dataclass
class KRPO(Baseline):
    """Scalar Kalman filter over the rewards of one group: KRPO (arXiv 2505.07527) without its division by sqrt(P).

    The filter starts from x = 0 and P = 1 in every group and takes the rewards in turn. The value of a rollout is the
    state x after its own reward r::

        P <- P + Q,   K = P / (P + R),   x <- x + K (r - x),   P <- (1 - K) P

    This is nearly the mean of the rewards up to and including the own one. It depends on the order of the rollouts, and
    with the default noises the first value is 0.99 of the own reward. Nothing is kept between steps, as in the paper's
    code. A rollout without a reward does not change the state, and has the state before it as its value.

    Parameters
    ----------
    process_noise : float
        Variance Q of the change between rewards, not negative.
    measurement_noise : float
        Variance R of a reward, positive.
    """

    name: ClassVar[str] = "krpo"
    group_only: ClassVar[bool] = True
    one_rollout: ClassVar[OneRollout] = "refused"
    process_noise: float = 1e-5
    measurement_noise: float = 1e-2

    def __post_init__(self):
        if not (is_number(self.process_noise) and 0 <= self.process_noise < math.inf):
            raise ValueError(f"process_noise must be a number from 0 on, got {self.process_noise!r:.60}")
        if not (is_number(self.measurement_noise) and 0 < self.measurement_noise < math.inf):
            raise ValueError(f"measurement_noise must be a positive number, got {self.measurement_noise!r:.60}")

    def values(self, batch: Batch) -> np.ndarray:
        """State of the filter after each reward."""
        return batch.by_group(_states, self.own_weight(batch), batch.filled)

    def own_weight(self, batch: Batch) -> np.ndarray:
        """Gain K of the filter at each reward; 0 without a reward."""
        return batch.by_group(self._gains, batch.scored)

    def _gains(self, scored: np.ndarray) -> np.ndarray:
        """Gains of some groups of one size, shape (M, N)."""
        gains = np.zeros(scored.shape)
        variance = np.ones(len(gains))
        for k, present in enumerate(scored.T):
            predicted = variance + self.process_noise
            gains[:, k] = np.where(present, predicted / (predicted + self.measurement_noise), 0.0)
            variance = np.where(present, (1.0 - gains[:, k]) * predicted, variance)
        return gains


def _states(gains: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """State after each reward, for some groups of one size, shape (M, N)."""
    states = np.zeros(rewards.shape)
    state = np.zeros(len(states))
    for k, gain in enumerate(gains.T):
        state = state + gain * (rewards[:, k] - state)
        states[:, k] = state
    return states
