"""What the run as a whole has shown of its rewards: their range and their recent mean."""

from __future__ import annotations

import math

import numpy as np

from kvar.online.discount import discount_for
from kvar.rollouts.batch import Batch
from kvar.utils.checks import LARGEST, checked_keys, checked_number, require

__all__ = ["RewardScale"]

_DISCOUNT = 0.95
# What the recent mean of the run is worth beside the other rewards of a batch, in rewards.
_MASS = 64.0


class RewardScale:
    """Range and recent mean of all rewards of earlier steps."""

    def __init__(self):
        self._total = self._count = 0.0
        self._lowest, self._highest = math.inf, -math.inf

    @property
    def mean(self) -> float:
        """Discounted mean of the rewards of earlier steps; 0 before the first."""
        return self._total / self._count if self._count > 0 else 0.0

    @property
    def mass(self) -> float:
        """How many rewards that mean is worth: as many as went into it, 64 at most."""
        return min(_MASS, self._count)

    @property
    def known(self) -> bool:
        """Whether two different rewards have been seen."""
        return self._lowest < self._highest

    @property
    def width(self) -> float:
        """Width of the range; 0 before a reward was seen."""
        return self._highest - self._lowest if self._count > 0 else 0.0

    @property
    def lowest(self) -> float:
        """Least reward so far; 0 before a reward was seen."""
        return self._lowest if self._count > 0 else 0.0

    @property
    def middle(self) -> float:
        """Middle of the range; 0 before a reward was seen."""
        return (self._lowest + self._highest) / 2 if self._count > 0 else 0.0

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Largest variance that a reward with this mean can have within the range (Bhatia and Davis 2000)."""
        if not self.known:
            return np.zeros(values.shape)
        return np.maximum((values - self._lowest) * (self._highest - values), 0.0)

    def logistic_slope(self, values: np.ndarray) -> np.ndarray:
        """How far values move when all move alike on the logistic scale of the range."""
        return self.spread(values) / (self._highest - self._lowest) if self.known else np.zeros(values.shape)

    def clipped(self, values: np.ndarray) -> np.ndarray:
        """Values moved into the range."""
        return np.clip(values, self._lowest, self._highest) if self._count > 0 else values

    def learn(self, batch: Batch) -> None:
        """Take in the rewards of a step."""
        rewards = batch.rewards[batch.scored]
        if rewards.size:
            discount = discount_for(_DISCOUNT, rewards.size)
            self._total = discount * self._total + float(rewards.sum())
            self._count = discount * self._count + rewards.size
            self._lowest = min(self._lowest, float(rewards.min()))
            self._highest = max(self._highest, float(rewards.max()))

    def state_dict(self) -> dict:
        """Copy out as plain data."""
        return {"total": self._total, "count": self._count, "lowest": self._lowest, "highest": self._highest}

    def load_state_dict(self, state: dict) -> None:
        """Take over from plain data."""
        checked_keys(state, ("total", "count", "lowest", "highest"), "a reward scale")
        total = checked_number(state["total"], "total of a reward scale")
        count = checked_number(state["count"], "count of a reward scale", low=0.0)
        lowest, highest = (
            checked_number(state[key], f"{key} of a reward scale", -math.inf, math.inf) for key in ("lowest", "highest")
        )
        ordered = -LARGEST <= lowest <= highest <= LARGEST if count > 0 else lowest == math.inf == -highest
        require(ordered, "a reward scale goes from its lowest to its highest reward")
        require(abs(total) <= 2 * LARGEST * count, "total of a reward scale is larger than that of the largest rewards")
        self._total, self._count, self._lowest, self._highest = total, count, lowest, highest
