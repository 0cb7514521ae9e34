"""How far the variance-optimal baseline lies from the value, learned from score norms over all prompts of a run."""

from __future__ import annotations

import numpy as np

from kvar.online.discount import discount_for
from kvar.online.reward_scale import RewardScale
from kvar.rollouts.batch import Batch
from kvar.utils.checks import LARGEST, MOST_REWARDS, checked_array, checked_keys, checked_number

__all__ = ["NormShift", "Shift"]

_DISCOUNT = 0.985
_MEAN_DISCOUNT = 0.95
# Values between which mean norms are interpolated, as fractions of the range of rewards, and where the shift is drawn.
_NODES = np.linspace(0.0, 1.0, 9)
_GRID = np.linspace(0.0, 1.0, 65)
# What the mean norm of all prompts is worth at each node, in rollouts.
_POOLED = 5.0
# Larger squared norms, relative to the mean at their value and reward, are cut, in the ranking and in the means.
# Tails are heavy, and a cut that is common to all rewards would distort their ratio.
_CAP = 5.0
_MEAN_CAP = 10.0


class Shift:
    """The shift as a piecewise linear function of the value, constant beyond the range of rewards."""

    def __init__(self, lowest: float, width: float, shifts: np.ndarray, slopes: np.ndarray):
        self._lowest, self._steps = lowest, (len(shifts) - 1) / width
        self._gradients = np.append(np.diff(shifts), 0.0)
        self._intercepts = shifts - self._gradients * np.arange(len(shifts))
        self._slopes = slopes

    def of(self, values: np.ndarray) -> np.ndarray:
        """Shifts of some values, in half of the time of `numpy.interp`."""
        place = values - self._lowest
        place *= self._steps
        np.clip(place, 0.0, len(self._slopes) - 1, out=place)
        left = place.astype(np.int32).astype(np.intp)  # by way of 32 bits in half of the time
        place *= self._gradients.take(left)
        place += self._intercepts.take(left)
        return place

    def slope(self, values: np.ndarray) -> np.ndarray:
        """Derivatives of the shifted values by the values."""
        return np.interp((values - self._lowest) * self._steps, np.arange(len(self._slopes)), self._slopes)


class NormShift:
    """The shift from a value v to the baseline ``E[n Z] / E[n]``, with n the squared norm of a rollout's score.

    With rewards in [0, 1], and W1 and W0 the means of n weighted by Z and by 1 - Z among rollouts of prompts with value
    v, that baseline is ``v W1 / (v W1 + (1 - v) W0)`` exactly, whatever the rewards are. W1 and W0 are functions of v,
    since a policy that is sure of an answer has small scores on it; they are interpolated geometrically between nodes.
    Pooled over prompts they are well determined where those of no single prompt would be. Equal norms give no shift.

    Notes
    -----
    O(N) for N rollouts and 36 numbers in memory.
    """

    def __init__(self):
        # At each node the sums of n Z, n (1 - Z), Z and 1 - Z.
        self._sums = np.zeros((4, len(_NODES)))
        self._total = self._count = 0.0
        self._means = self._pooled_means()

    def weights(self, batch: Batch, values: np.ndarray, norms: np.ndarray, scale: RewardScale) -> np.ndarray:
        """Squared norms over their mean of earlier steps, cut at 5 means of that value and reward; 1 if not known."""
        known = batch.scored & np.isfinite(norms)
        place, reward = scale.fraction(values), scale.fraction(batch.filled)
        high, low = self._cut(self._relative(norms, known), place, _CAP)
        return np.where(known, reward * high + (1.0 - reward) * low, 1.0) * batch.scored

    def _relative(self, norms: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Squared norms over their mean of earlier steps."""
        squares = np.square(norms, out=np.zeros(norms.shape), where=known)
        total, count = (self._total, self._count) if self._count > 0 else (squares.sum(), known.sum())
        return squares * (count / total) if total > 0 else np.ones(norms.shape)

    def _cut(self, weights: np.ndarray, place: np.ndarray, cap: float) -> list[np.ndarray]:
        """Weights cut at so many times W1, and at so many times W0, of their values."""
        return [np.minimum(weights, cap * np.interp(place, _NODES, mean)) for mean in self._means]

    def _pooled_means(self) -> np.ndarray:
        """W1 and W0 at the nodes, shape (2, nodes)."""
        norms, counts = self._sums[:2], self._sums[2:]
        pooled = (norms.sum(axis=1) + 1.0) / (counts.sum(axis=1) + 1.0)
        return (norms + _POOLED * pooled[:, None]) / (counts + _POOLED)

    def shift(self, scale: RewardScale) -> Shift:
        """The shift as a function of the value; none before two different rewards were seen."""
        if not scale.has_range:
            return Shift(0.0, 1.0, np.zeros(len(_GRID)), np.ones(len(_GRID)))
        high, low = self._means
        # Norms of zero on one side would move the baseline to an end of the range at once.
        ratio = np.clip(np.maximum(high, 1e-9) / np.maximum(low, 1e-9), 1e-6, 1e6)
        ratio = np.exp(np.interp(_GRID, _NODES, np.log(ratio)))
        norm = 1.0 + (ratio - 1.0) * _GRID
        shift = (ratio - 1.0) * _GRID * (1.0 - _GRID) / norm
        return Shift(scale.lowest, scale.width, scale.width * shift, ratio / norm**2)

    def second_moments(self, values: np.ndarray, shift: Shift, scale: RewardScale) -> np.ndarray:
        """Expected squared norm times squared advantage at some values, over the mean squared norm of all rollouts."""
        if not scale.has_range:
            return np.zeros(values.shape)
        place, baseline = scale.fraction(values), scale.fraction(values + shift.of(values))
        high, low = (np.interp(place, _NODES, mean) for mean in self._means)
        return scale.width**2 * (place * high * (1.0 - baseline) ** 2 + (1.0 - place) * low * baseline**2)

    def learn(
        self, batch: Batch, values: np.ndarray, norms: np.ndarray, scale: RewardScale
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take in the rewards and norms of a step, each at the value that it was predicted to have.

        Returns the squared norms over W1 and over W0 as they were before, cut at 10; NaN if not known, shape (R,).
        """
        known, place = batch.scored & np.isfinite(norms), scale.fraction(values)
        squares = np.where(known, self._relative(norms, known), np.nan)
        means = [np.interp(place, _NODES, mean) for mean in self._means]
        high, low = (np.minimum(squares / mean, _MEAN_CAP) for mean in means)
        n = int(known.sum())
        if n and scale.has_range:
            reward = scale.fraction(batch.filled)
            columns = (high * means[0] * reward, low * means[1] * (1 - reward), reward, 1 - reward)
            sums = [_by_node(place, np.where(known, column, 0.0)) for column in columns]
            self._sums = discount_for(_DISCOUNT, n) * self._sums + sums
            self._means = self._pooled_means()
        if n:
            discount = discount_for(_MEAN_DISCOUNT, n)
            self._total = discount * self._total + float(np.square(norms[known]).sum())
            self._count = discount * self._count + n
        return high, low

    def state_dict(self) -> dict:
        """Copy out as plain data."""
        return {"sums": self._sums.copy(), "total": self._total, "count": self._count}

    def load_state_dict(self, state: dict) -> None:
        """Take over from plain data."""
        checked_keys(state, ("sums", "total", "count"), "a norm shift")
        sums = checked_array(state["sums"], "sums of a norm shift", self._sums.shape, low=0.0)
        total = checked_number(state["total"], "total of a norm shift", 0.0, LARGEST**2)
        count = checked_number(state["count"], "count of a norm shift", 0.0, MOST_REWARDS)
        self._sums, self._total, self._count = sums, total, count
        self._means = self._pooled_means()


def _by_node(place: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Sums of numbers at the nodes, each shared between the two next to its place as in linear interpolation."""
    right = place * (len(_NODES) - 1)
    left = np.minimum(right.astype(np.intp), len(_NODES) - 2)
    right -= left
    sums = np.bincount(left, numbers * (1.0 - right), len(_NODES))
    sums[1:] += np.bincount(left, numbers * right, len(_NODES) - 1)
    return sums
