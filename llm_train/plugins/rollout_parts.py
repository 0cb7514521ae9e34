"""Rollouts that a trainer splits into several rows, such as the segments of an agent's session, count once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

__all__ = ["RolloutParts"]


class RolloutParts:
    """Rows grouped by the rollout that they are part of.

    The rows of one rollout are one sample of the policy, so a baseline may see them only as one: else the reward of a
    row would enter its own value through its siblings.

    Parameters
    ----------
    rollout_ids : sequence of hashable, length n
        The rollout of each row.
    rewards : ndarray, shape (n,)
        Reward of each row; NaN if it could not be scored.

    Attributes
    ----------
    first_rows : ndarray, shape (m,)
        The first row of each of m rollouts.
    rewards : ndarray, shape (m,)
        Mean reward of the scored rows of each rollout; NaN if none is.
    """

    def __init__(self, rollout_ids: Sequence[Hashable], rewards: np.ndarray):
        places: dict[Hashable, int] = {}
        self._rollout = np.array([places.setdefault(name, len(places)) for name in rollout_ids], dtype=np.intp)
        self.first_rows = np.unique(self._rollout, return_index=True)[1]
        self._row_rewards = rewards
        self._scored = ~np.isnan(rewards)
        # Siblings mostly share their reward. Taken relative to the largest, their mean is that number to the last bit.
        largest = np.full(len(places), np.nan)
        np.fmax.at(largest, self._rollout, rewards)
        with np.errstate(invalid="ignore"):  # infinite rewards, which baselines refuse
            below = rewards - largest[self._rollout]
        below = self._sum(np.where(np.isnan(below), 0.0, below))
        self.rewards = largest + below / np.maximum(self._sum(self._scored), 1)

    def _sum(self, column: np.ndarray) -> np.ndarray:
        return np.bincount(self._rollout, column, minlength=len(self.first_rows))

    def norms(self, row_norms: np.ndarray) -> np.ndarray:
        """Norm of each rollout's score, the sum of its rows' scores, as far as tokens have nothing in common."""
        return np.sqrt(self._sum(np.where(self._scored, np.square(row_norms), 0.0)))

    def in_rows(self, advantages: np.ndarray) -> np.ndarray:
        """Advantage of each row: its own reward less the value of its rollout; 0 without a reward."""
        difference = self._row_rewards - self.rewards[self._rollout]
        return np.where(self._scored, advantages[self._rollout] + difference, 0.0)
