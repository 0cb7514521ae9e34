"""The drift that all prompts share, seen in how far rewards come out above what the past says."""

from __future__ import annotations

import numpy as np

from kvar.online.discount import discount_for
from kvar.online.reward_scale import RewardScale
from kvar.rollouts.batch import Batch
from kvar.utils.checks import checked_array, checked_keys

__all__ = ["SharedDrift"]

_DISCOUNT = 0.97


class SharedDrift:
    """One slope a window for all prompts, on the logistic scale of the rewards.

    Past rewards are stale in one direction, since the policy improves: a mean of lag t lies behind by what its value
    has moved in t. If all prompts move alike on the logistic scale, a value v moves by ``slope * t * (v - lo)(hi - v) /
    (hi - lo)``, and the slope is the discounted regression of the rewards' surprise on that product. Pooled over
    prompts it is well determined where no single prompt's own trend would be.

    Parameters
    ----------
    n_windows : int
        Number of windows, each with a slope of its own: a long window averages over a longer stretch of the drift.
    """

    def __init__(self, n_windows: int):
        self._products = np.zeros(n_windows)
        self._squares = np.zeros(n_windows)

    @staticmethod
    def regressor(mass: np.ndarray, total: np.ndarray, lag_mass: np.ndarray, scale: RewardScale) -> np.ndarray:
        """What a unit of slope moves each prompt's past mean by."""
        mean_lag = np.divide(lag_mass, mass, out=np.zeros(mass.shape), where=mass > 0)
        return mean_lag * scale.logistic_slope((total + 2 * scale.mean) / (mass + 2))

    def moved(self, regressor: np.ndarray, scale: RewardScale) -> np.ndarray:
        """How far past means are behind."""
        squares = self._squares + scale.width**2
        slope = np.divide(self._products, squares, out=np.zeros(squares.shape), where=squares > 0)
        return slope * regressor

    def learn(self, batch: Batch, mass: np.ndarray, total: np.ndarray, regressor: np.ndarray) -> None:
        """Take in how far a step's rewards came out above the past means."""
        if not batch.counts.any():
            return
        seen = mass > 0
        mean = np.divide(total, mass, out=np.zeros(mass.shape), where=seen)
        surprise = np.where(seen, batch.filled.sum(axis=1, keepdims=True) - batch.counts * mean, 0.0)
        discount = discount_for(_DISCOUNT, batch.counts.sum())
        self._products = discount * self._products + (surprise * regressor).sum(axis=0)
        self._squares = discount * self._squares + (batch.counts * regressor**2).sum(axis=0)

    def state_dict(self) -> dict:
        """Copy out as plain data."""
        return {"products": self._products.copy(), "squares": self._squares.copy()}

    def load_state_dict(self, state: dict) -> None:
        """Take over from plain data."""
        checked_keys(state, ("products", "squares"), "a drift")
        products = checked_array(state["products"], "products of a drift", self._products.shape)
        squares = checked_array(state["squares"], "squares of a drift", self._squares.shape, low=0.0)
        self._products, self._squares = products, squares
