"""Range and recent mean of all rewards of a run."""

from __future__ import annotations

import math

import numpy as np

from kvar.online.discount import discount_for
from kvar.rollouts.batch import Batch
from kvar.utils.checks import LARGEST, MOST_REWARDS, checked_keys, checked_number, require

__all__ = ["RewardScale"]

_DISCOUNT = 0.95
# Largest effective sample size of the recent mean, in rewards.
_LARGEST_SIZE = 64.0


class RewardScale:
    """Range and recent mean of the rewards of all earlier steps, over all prompts."""

    def __init__(self):
        self._total = self._count = 0.0
        self._lowest, self._highest = math.inf, -math.inf

    @property
    def mean(self) -> float:
        """Discounted mean of the rewards of earlier steps; 0 before the first."""
        return self._total / self._count if self._count > 0 else 0.0

    @property
    def effective_size(self) -> float:
        """Effective sample size of the mean, in rewards: the discounted count, 64 at most."""
        return min(_LARGEST_SIZE, self._count)

    @property
    def has_range(self) -> bool:
        """Whether two different rewards have been seen."""
        return self._lowest < self._highest

    @property
    def width(self) -> float:
        """Largest less smallest reward; 0 before the first reward."""
        return self._highest - self._lowest if self._count > 0 else 0.0

    @property
    def lowest(self) -> float:
        """Least reward so far; 0 before a reward was seen."""
        return self._lowest if self._count > 0 else 0.0

    @property
    def midrange(self) -> float:
        """Mean of the largest and the smallest reward; 0 before the first reward."""
        return (self._lowest + self._highest) / 2 if self._count > 0 else 0.0

    def largest_variance(self, means: np.ndarray) -> np.ndarray:
        """Largest variance of a reward with this mean, ``(v - lo)(hi - v)`` (Bhatia and Davis 2000).

        It is the variance itself if rewards take two values only. 0 outside of the range, or while there is none.
        """
        if not self.has_range:
            return np.zeros(means.shape)
        return np.maximum((means - self._lowest) * (self._highest - means), 0.0)

    def logistic_slope(self, values: np.ndarray) -> np.ndarray:
        """Derivative of a value by its logit in the range: ``(v - lo)(hi - v) / (hi - lo)``, or 0 without a range."""
        return self.largest_variance(values) / self.width if self.has_range else np.zeros(values.shape)

    def fraction(self, rewards: np.ndarray) -> np.ndarray:
        """Rewards as fractions of the range, from 0 to 1; 0 while there is none."""
        if not self.has_range:
            return np.zeros(rewards.shape)
        return np.clip((rewards - self._lowest) / self.width, 0.0, 1.0)

    def clipped(self, values: np.ndarray) -> np.ndarray:
        """Values clipped to the range; unchanged before the first reward."""
        return np.clip(values, self._lowest, self._highest) if self._count > 0 else values

    def learn(self, batch: Batch) -> None:
        """Update range and mean with the rewards of a step."""
        rewards = batch.rewards[batch.scored]
        if rewards.size:
            discount = discount_for(_DISCOUNT, rewards.size)
            self._total = discount * self._total + float(rewards.sum())
            self._count = discount * self._count + rewards.size
            self._lowest = min(self._lowest, float(rewards.min()))
            self._highest = max(self._highest, float(rewards.max()))

    def state_dict(self) -> dict:
        """Plain data for `load_state_dict`."""
        return {"total": self._total, "count": self._count, "lowest": self._lowest, "highest": self._highest}

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned; a damaged state raises ValueError and changes nothing."""
        checked_keys(state, ("total", "count", "lowest", "highest"), "a reward scale")
        total = checked_number(state["total"], "total of a reward scale")
        count = checked_number(state["count"], "count of a reward scale", 0.0, MOST_REWARDS)
        lowest, highest = (
            checked_number(state[key], f"{key} of a reward scale", -math.inf, math.inf) for key in ("lowest", "highest")
        )
        ordered = -LARGEST <= lowest <= highest <= LARGEST if count > 0 else lowest == math.inf == -highest
        require(ordered, "lowest of a reward scale must not be above its highest")
        require(abs(total) <= 2 * LARGEST * count, "total of a reward scale is larger than that of the largest rewards")
        self._total, self._count, self._lowest, self._highest = total, count, lowest, highest
