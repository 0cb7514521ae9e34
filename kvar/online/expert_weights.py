"""Weights of competing predictions, learned from how well each has predicted so far."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kvar.online.discount import discount_for
from kvar.utils.checks import checked_array, checked_keys, checked_number

__all__ = ["ExpertWeights"]


class ExpertWeights:
    """Exponential weights over discounted squared losses.

    A prediction k that has lost ``L_k`` has weight proportional to ``exp(-sharpness (L_k - min L) / noise)``, the noise
    being what the best prediction loses per observation: with sharpness 1/2 these are the posterior probabilities of
    Gaussian predictions (Vovk 1990; Cesa-Bianchi and Lugosi 2006, chapter 2). Scaling the rewards changes nothing.

    Parameters
    ----------
    n : int
        Number of predictions.
    sharpness : float
        Below 1/2 because observations of one step are not independent: they share the policy.
    discount : float
        Factor on all losses from one step to the next, so that what was best long ago does not rule for ever; see
        `kvar.online.discount` for small steps.
    """

    def __init__(self, n: int, sharpness: float = 0.125, discount: float = 0.97):
        self._sharpness = sharpness
        self._discount = discount
        self._losses = np.zeros(n)
        self._best = 0.0
        self._count = 0.0

    @property
    def noise(self) -> float:
        """Discounted mean squared loss per observation of the best prediction at each step; 0 before the first."""
        return self._best / self._count if self._count > 0 else 0.0

    def weights(self) -> np.ndarray:
        """The weights now."""
        behind = self._losses - self._losses.min()
        # Where the best prediction never erred, only predictions without any error keep a weight.
        scale = self.noise if self.noise > 0 else np.finfo(float).tiny
        with np.errstate(over="ignore"):
            weights = np.exp(-self._sharpness * behind / scale)
        return weights / weights.sum()

    def mean_window(self, windows: Sequence[float]) -> float:
        """Geometric mean of the windows of predictions under their weights."""
        weights = self.weights()
        per_window = len(weights) // len(windows)
        shares = weights[: per_window * len(windows)].reshape(len(windows), per_window).sum(axis=1)
        return math.exp(shares @ np.log(windows) / shares.sum()) if shares.sum() > 0 else math.nan

    def learn(self, losses: np.ndarray, count: int) -> None:
        """Take in one step."""
        if count == 0:
            return
        discount = discount_for(self._discount, count)
        self._losses = discount * self._losses + losses
        self._best = discount * self._best + float(losses.min())
        self._count = discount * self._count + count

    def state_dict(self) -> dict:
        """Copy out as plain data."""
        return {"losses": self._losses.copy(), "best": self._best, "count": self._count}

    def load_state_dict(self, state: dict) -> None:
        """Take over from plain data."""
        checked_keys(state, ("losses", "best", "count"), "weights")
        losses = checked_array(state["losses"], "losses of weights", self._losses.shape, low=0.0)
        best, count = (checked_number(state[key], f"{key} of weights", low=0.0) for key in ("best", "count"))
        self._losses, self._best, self._count = losses, best, count
