"""Drift common to all prompts, estimated from how far new rewards lie above past means."""

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

    Past rewards are biased towards old values, since the policy improves: a past mean of mean lag t lacks the change of
    the value during t. If all logits change at one rate, a value v changes by
    ``slope * t * (v - lo)(hi - v) / (hi - lo)``. The slope is a discounted regression, over all prompts, of new rewards
    less past means on that product without the slope. A trend of a single prompt would be far noisier.

    Parameters
    ----------
    n_windows : int
        Number K of windows. Each has a slope of its own, because a long window averages over a longer time.
    """

    def __init__(self, n_windows: int):
        self._products = np.zeros(n_windows)
        self._squares = np.zeros(n_windows)

    @staticmethod
    def regressor(mass: np.ndarray, total: np.ndarray, lag_mass: np.ndarray, scale: RewardScale) -> np.ndarray:
        """Change of each past mean per unit of slope, shape (P, K), from kernel sums of the same shape."""
        mean_lag = np.divide(lag_mass, mass, out=np.zeros(mass.shape), where=mass > 0)
        # Two rewards of the run's mean keep the means of few rewards off the ends, where the slope is 0.
        return mean_lag * scale.logistic_slope((total + 2 * scale.mean) / (mass + 2))

    def correction(self, regressor: np.ndarray, scale: RewardScale) -> np.ndarray:
        """What to add to the past means, shape (P, K); 0 before the first step."""
        # One more observation of no drift, over the width of the range, shrinks the slope while data are few.
        squares = self._squares + scale.width**2
        slope = np.divide(self._products, squares, out=np.zeros(squares.shape), where=squares > 0)
        return slope * regressor

    def learn(self, batch: Batch, mass: np.ndarray, total: np.ndarray, regressor: np.ndarray) -> None:
        """Update the slopes by a step's rewards, given kernel sums and regressor as they were before it."""
        if not batch.n_scored:
            return
        seen = mass > 0
        mean = np.divide(total, mass, out=np.zeros(mass.shape), where=seen)
        counts = batch.counts[:, None]
        excess = np.where(seen, batch.totals[:, None] - counts * mean, 0.0)
        discount = discount_for(_DISCOUNT, batch.n_scored)
        self._products = discount * self._products + (excess * regressor).sum(axis=0)
        self._squares = discount * self._squares + (counts * regressor**2).sum(axis=0)

    def state_dict(self) -> dict:
        """Plain data for `load_state_dict`."""
        return {"products": self._products.copy(), "squares": self._squares.copy()}

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned; a damaged state raises ValueError and changes nothing."""
        checked_keys(state, ("products", "squares"), "a drift")
        products = checked_array(state["products"], "products of a drift", self._products.shape)
        squares = checked_array(state["squares"], "squares of a drift", self._squares.shape, low=0.0)
        self._products, self._squares = products, squares
