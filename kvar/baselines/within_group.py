"""Baselines that weigh the rewards of the step's own group: KRPO's filter and OPO's lengths."""

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
    """Scalar Kalman filter along the rewards of one group, KRPO (arXiv 2505.07527), without its division by sqrt(P).

    From x = 0 and P = 1, new for every group, each reward in turn, the own one included, gives the value of its
    rollout::

        P <- P + Q,   K = P / (P + R),   x <- x + K (r - x),   P <- (1 - K) P

    This is nearly the mean of the rewards up to the own one: it depends on the order of the rollouts, the first value
    is 0.99 of the own reward, and nothing is kept between steps, in the paper's code as here. A rollout without reward
    is passed over and has the value that stands when it is reached.

    Parameters
    ----------
    process_noise : float
        Q, not negative.
    measurement_noise : float
        R, positive.
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
        """States of the filter after each reward."""
        values = np.zeros(batch.rewards.shape)
        state = np.zeros(len(values))
        for k, gain in enumerate(self.own_weight(batch).T):
            state = state + gain * (batch.filled[:, k] - state)
            values[:, k] = state
        return values

    def own_weight(self, batch: Batch) -> np.ndarray:
        """Gains of the filter."""
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

    The value is ``sum L r / sum L`` over the group, with the lengths L in the column ``completion_length``: the optimal
    baseline if the squared norm of the score grows with the length. A group of fewer than two rewards has the value 0,
    as in verl, so that its advantage is its reward; so has a group whose completions are all empty.
    """

    name: ClassVar[str] = "opo"
    needs: ClassVar[tuple[str, ...]] = (_LENGTH,)

    def values(self, batch: Batch) -> np.ndarray:
        """Weighted group means."""
        mean = (self.own_weight(batch) * batch.filled).sum(axis=1, keepdims=True)
        return np.broadcast_to(mean, batch.rewards.shape)

    def own_weight(self, batch: Batch) -> np.ndarray:
        """Shares of the lengths."""
        lengths = batch.columns[_LENGTH]
        if not ((lengths[batch.scored] >= 0) & np.isfinite(lengths[batch.scored])).all():
            raise ValueError(f"{_LENGTH} must be a number from 0 on for every completion that has a reward")
        lengths = np.where(batch.scored, lengths, 0.0)
        total = lengths.sum(axis=1, keepdims=True)
        return np.divide(lengths, total, out=np.zeros(lengths.shape), where=(batch.counts > 1) & (total > 0))
