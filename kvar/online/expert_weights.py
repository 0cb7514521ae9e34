"""Weights of competing predictors, learned from their past losses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kvar.online.discount import discount_for
from kvar.utils.checks import checked_array, checked_keys, checked_number

__all__ = ["ExpertWeights"]


class ExpertWeights:
    """Exponential weights over discounted squared losses.

    Predictor k with cumulative loss ``L_k`` has a weight proportional to ``exp(-sharpness (L_k - min L) / noise)``. The
    noise is the mean loss per observation of the best predictor. With sharpness 1/2 the weights are the posterior
    probabilities of Gaussian predictors (Vovk 1990; Cesa-Bianchi and Lugosi 2006, chapter 2). They do not depend on
    the scale of the rewards.

    Parameters
    ----------
    n : int
        Number of predictors.
    sharpness : float
        Learning rate of the weights. Less than 1/2, because observations of one step share the policy and are not
        independent.
    discount : float
        Factor on all losses from one step to the next, so that old losses lose influence; see `kvar.online.discount`
        for small steps.
    """

    def __init__(self, n: int, sharpness: float = 0.125, discount: float = 0.97):
        self._sharpness = sharpness
        self._discount = discount
        self._losses = np.zeros(n)
        self._best = 0.0
        self._count = 0.0

    @property
    def noise(self) -> float:
        """Discounted mean loss per observation of the best predictor of each step; 0 before the first."""
        return self._best / self._count if self._count > 0 else 0.0

    def weights(self) -> np.ndarray:
        """Current weights, shape (n,), with sum 1; equal before the first step."""
        excess = self._losses - self._losses.min()
        # If the best predictor has made no error so far, only predictors without any error keep a weight.
        scale = self.noise if self.noise > 0 else np.finfo(float).tiny
        with np.errstate(over="ignore"):
            weights = np.exp(-self._sharpness * excess / scale)
        return weights / weights.sum()

    def mean_window(self, windows: Sequence[float]) -> float:
        """Geometric mean of the windows under the weights; NaN if only predictors without a window have weight.

        Predictors come in the order of `windows`, equally many a window; those left over at the end have no window.
        """
        weights = self.weights()
        per_window = len(weights) // len(windows)
        by_window = weights[: per_window * len(windows)].reshape(len(windows), per_window).sum(axis=1)
        total = by_window.sum()
        return math.exp(by_window @ np.log(windows) / total) if total > 0 else math.nan

    def learn(self, losses: np.ndarray, count: int) -> None:
        """Add the losses of a step: sums of squared errors over `count` observations, shape (n,)."""
        if count == 0:
            return
        discount = discount_for(self._discount, count)
        self._losses = discount * self._losses + losses
        self._best = discount * self._best + float(losses.min())
        self._count = discount * self._count + count

    def state_dict(self) -> dict:
        """Plain data for `load_state_dict`."""
        return {"losses": self._losses.copy(), "best": self._best, "count": self._count}

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned; a damaged state raises ValueError and changes nothing."""
        checked_keys(state, ("losses", "best", "count"), "weights")
        losses = checked_array(state["losses"], "losses of weights", self._losses.shape, low=0.0)
        best, count = (checked_number(state[key], f"{key} of weights", low=0.0) for key in ("best", "count"))
        self._losses, self._best, self._count = losses, best, count
