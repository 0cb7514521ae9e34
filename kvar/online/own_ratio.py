"""How far the norms of a prompt depart from those of prompts of like value, learned from its own past."""

from __future__ import annotations

import math

import numpy as np

from kvar.history.prompt_table import PromptTable
from kvar.online.discount import discount_for
from kvar.online.reward_scale import RewardScale
from kvar.rollouts.batch import Batch
from kvar.utils.checks import MOST_REWARDS, checked_array, checked_keys, require

__all__ = ["OwnRatio"]

_DISCOUNT = 0.985
# What a prompt keeps of its past from one visit to the next, and what the mean of all prompts is worth, in rollouts.
_KEPT, _POOLED = 0.98, 3.0
# Standard errors that the part must be away from 0 to be used.
_SURE = 2.0


class OwnRatio:
    """A factor q of W1 / W0 for each prompt, and the part of its effect that has proved to help.

    Relative to W1 and W0 at the value of a prompt (`NormShift`), the squared norms of its earlier rollouts have means
    m1, weighted by the reward Z in [0, 1], and m0, weighted by 1 - Z, each shrunk to 1. A ratio that is
    ``q = m1 / m0`` times as large makes the odds of the baseline b, a fraction of the range of rewards, q times as
    large: it moves to ``q b / (1 + (q - 1) b)``. A discounted regression of the weighted errors on these moves, over
    all prompts, says which part of them to make, from 0 to 1. The part is shrunk as by James and Stein, and is 0
    within two standard errors of 0: where the prompts of a value are alike, nothing is added.

    Notes
    -----
    O(N) for N rollouts, and 40 bytes a prompt with its id and place aside.
    """

    def __init__(self):
        names = ("right", "wrong", "n_right", "n_wrong")
        self._table = PromptTable(dict.fromkeys(names, (0.0, MOST_REWARDS)), **dict.fromkeys(names, 0.0))
        # Weighted sums of errors times moves and of squared moves, and the squared standard error of the former.
        self._products = self._squares = self._variance = 0.0

    @property
    def part(self) -> float:
        """The part of the moves to make."""
        if min(self._products, self._squares) <= 0:
            return 0.0
        error = min(_SURE * math.sqrt(self._variance) / self._products, 1.0)
        return min(self._products / self._squares, 1.0) * (1.0 - error**2)

    def recall(self, batch: Batch) -> np.ndarray:
        """What is remembered of each prompt, shape (P,)."""
        return self._table.read(batch.keys)

    def moves(self, batch: Batch, records: np.ndarray, baselines: np.ndarray, scale: RewardScale) -> np.ndarray:
        """How far the ratio of each rollout's prompt would move its baseline, in widths of the range; shape (R,)."""
        means = [(records[name] + _POOLED) / (records[f"n_{name}"] + _POOLED) for name in ("right", "wrong")]
        excess, place = batch.spread(means[0] / means[1] - 1.0), scale.fraction(baselines)
        return place * (1.0 - place) * excess / (1.0 + excess * place)

    def learn(
        self, batch: Batch, records: np.ndarray, norms: tuple[np.ndarray, np.ndarray], weights: np.ndarray,
        moves: np.ndarray, errors: np.ndarray, scale: RewardScale,
    ) -> None:  # fmt: skip
        """Take in a step.

        Parameters
        ----------
        batch : Batch
            R rollouts.
        records : array, shape (P,)
            What was remembered before the step.
        norms : (array, array)
            Squared norms relative to W1 and to W0 at the value of each rollout, NaN where not known.
        weights, moves, errors : array, shape (R,)
            Weights of the rollouts, moves as they were before the step, and rewards less baselines without these.
        scale : RewardScale
            Range of the rewards.
        """
        high, low = norms
        known = ~np.isnan(high)
        if not known.any() or not scale.has_range:
            return
        products = np.where(known, weights * moves * errors / scale.width, 0.0)
        discount = discount_for(_DISCOUNT, int(known.sum()))
        self._products = discount * self._products + float(products.sum())
        self._squares = discount * self._squares + float(np.where(known, weights * moves**2, 0.0).sum())
        self._variance = discount**2 * self._variance + float((products**2).sum())
        reward = scale.fraction(batch.filled)
        columns = {"right": reward * high, "wrong": (1 - reward) * low, "n_right": reward, "n_wrong": 1 - reward}
        records = records.copy()
        for name, column in columns.items():
            records[name] = _KEPT * records[name] + batch.sums(np.where(known, column, 0.0))
        self._table.write(batch.keys, records, batch.step)

    def state_dict(self) -> dict:
        """Copy out as plain data."""
        return {"prompts": self._table.state_dict(), "sums": [self._products, self._squares, self._variance]}

    def load_state_dict(self, state: dict) -> None:
        """Take over from plain data."""
        checked_keys(state, ("prompts", "sums"), "own ratios")
        sums = checked_array(state["sums"], "sums of own ratios", (3,), -MOST_REWARDS, MOST_REWARDS)
        require(sums[1:].min() >= 0.0, "sums of squares of own ratios must not be below 0")
        self._table.load_state_dict(state["prompts"])
        self._products, self._squares, self._variance = sums.tolist()
