"""Weighted means of the group's rewards: KRPO's filter and OPO's completion lengths."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.rollouts.batch import Batch
from kvar.utils.checks import is_number

__all__ = ["KRPO", "OPO"]

_LENGTH = "completion_length"


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
    process_noise: float = 1e-5
    measurement_noise: float = 1e-2

    def __post_init__(self):
        if not (is_number(self.process_noise) and 0 <= self.process_noise < math.inf):
            raise ValueError(f"process_noise must be a number from 0 on, got {self.process_noise!r:.60}")
        if not (is_number(self.measurement_noise) and 0 < self.measurement_noise < math.inf):
            raise ValueError(f"measurement_noise must be a positive number, got {self.measurement_noise!r:.60}")

    def values(self, batch: Batch) -> np.ndarray:
        """State of the filter after each reward."""
        values = np.zeros(batch.rewards.shape)
        state = np.zeros(len(values))
        for k, gain in enumerate(self.own_weight(batch).T):
            state = state + gain * (batch.filled[:, k] - state)
            values[:, k] = state
        return values

    def own_weight(self, batch: Batch) -> np.ndarray:
        """Gain K of the filter at each reward; 0 without a reward."""
        gains = np.zeros(batch.rewards.shape)
        variance = np.ones(len(gains))
        for k, scored in enumerate(batch.scored.T):
            predicted = variance + self.process_noise
            gains[:, k] = np.where(scored, predicted / (predicted + self.measurement_noise), 0.0)
            variance = np.where(scored, (1.0 - gains[:, k]) * predicted, variance)
        return gains


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

    def values(self, batch: Batch) -> np.ndarray:
        """Weighted group means."""
        mean = (self.own_weight(batch) * batch.filled).sum(axis=1, keepdims=True)
        return np.broadcast_to(mean, batch.rewards.shape)

    def own_weight(self, batch: Batch) -> np.ndarray:
        """Fraction of the group's total length."""
        lengths = batch.columns[_LENGTH]
        if (wrong := batch.scored & ~((lengths >= 0) & np.isfinite(lengths))).any():
            raise ValueError(
                f"{_LENGTH} must be a number from 0 on for every completion with a reward, got {lengths[wrong][0]:g}"
            )
        lengths = np.where(batch.scored, lengths, 0.0)
        total = lengths.sum(axis=1, keepdims=True)
        return np.divide(lengths, total, out=np.zeros(lengths.shape), where=(batch.counts > 1) & (total > 0))
