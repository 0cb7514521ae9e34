"""One number for all prompts: the mean of rewards weighted by squared score norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar import Baseline
from kvar.online.discount import discount_for
from kvar.rollouts.batch import Batch, sums_of_others
from kvar.utils.checks import checked_array, checked_keys

__all__ = ["WeightedMean"]

_DISCOUNT = 0.95


@dataclass
class WeightedMean(Baseline):
    """``sum n Z / sum n`` over the other rollouts of the batch and the recent past, n the squared score norm."""

    name: ClassVar[str] = "weighted-mean"
    needs: ClassVar[tuple[str, ...]] = ("score_norm",)

    def __post_init__(self):
        self._total = self._mass = 0.0

    def values(self, batch: Batch) -> np.ndarray:
        """The weighted mean without the own reward and norm; 0 before there is a norm."""
        weights = self._weights(batch)
        total, mass = (sums_of_others(column) for column in (weights * batch.filled, weights))
        mass = mass + self._mass
        return np.divide(total + self._total, mass, out=np.zeros(mass.shape), where=mass > 0)

    def learn(self, batch: Batch) -> None:
        """Take in the rewards and norms of a step."""
        weights = self._weights(batch)
        discount = discount_for(_DISCOUNT, batch.n_scored)
        self._total = discount * self._total + float((weights * batch.filled).sum())
        self._mass = discount * self._mass + float(weights.sum())

    def _state(self) -> dict:
        return {"sums": [self._total, self._mass]}

    def _load_state(self, state: dict) -> None:
        checked_keys(state, ("sums",), "the state of a weighted mean")
        self._total, self._mass = checked_array(state["sums"], "sums of a weighted mean", (2,)).tolist()

    def _weights(self, batch: Batch) -> np.ndarray:
        return np.where(batch.scored, batch.columns["score_norm"], 0.0) ** 2
