"""Whether the norm of the score goes with the reward: pairs of rollouts of one prompt, a right and a wrong one."""

from __future__ import annotations

import numpy as np

from kvar.auditing.groups import Groups
from kvar.intervals import ClusteredSums, Ratio
from kvar.rollouts.step_chunks import StepChunk
from kvar.utils.arrays import extended

__all__ = ["NORM", "NormPairs", "squared_norms"]

NORM = "score_norm"
# A larger norm is an accident, and its square would hide all others.
_LARGEST_NORM = 1e30


def squared_norms(chunk: StepChunk) -> np.ndarray:
    """Squared score norms of the rollouts, shape (n,); NaN where the norm or the reward is not known."""
    norms = chunk.columns[NORM]
    known = (norms >= 0) & (norms <= _LARGEST_NORM) & ~np.isnan(chunk.reward)
    return np.where(known, norms, np.nan) ** 2


class NormPairs:
    """Sums over pairs of rollouts i, j of one prompt, of which two combinations have the ratio W1 / W0.

    With n the squared norm and z the reward on the scale from 0 to 1, a pair adds ``n_i z_i (1 - z_j)`` to the first
    and ``n_i (1 - z_i) z_j`` to the second. Given the prompt, their expectations are ``V (1 - V)`` times W1 and W0, the
    means of n weighted by z and by 1 - z. So prompts that differ in both value and norm do not pass for a relation of
    reward and norm. Pairs are those within a group; a single rollout is paired with that of the visit before. The scale
    is that of the whole log, so what is summed are its parts: n_i times 1, r_i, r_j and r_i r_j, with r the reward less
    the least one of the first rollouts, lest digits cancel.
    """

    def __init__(self) -> None:
        self._low, self._high = np.inf, -np.inf
        self._origin = np.nan
        self._last = np.zeros((2, 0))

    def add(self, chunk: StepChunk, groups: Groups, squares: np.ndarray) -> np.ndarray:
        """The four sums of each group, shape (4, C), over i and j and divided by the number of j."""
        self._last = extended(self._last, int(groups.prompt.max(initial=-1)) + 1, np.nan)
        self._low = float(np.fmin.reduce(chunk.reward, initial=self._low))
        self._high = float(np.fmax.reduce(chunk.reward, initial=self._high))
        if np.isnan(self._origin) and np.isfinite(self._low):
            self._origin = self._low
        known = ~np.isnan(squares)
        n, r = np.where(known, squares, 0.0), np.where(known, chunk.reward - self._origin, 0.0)
        count, norms, rewards, products, both = map(chunk.sums, (known.astype(float), n, r, n * r, n * r * r))
        sums = np.zeros((4, len(groups)))
        several = count > 1
        # Of all pairs, those of a rollout with itself are taken off.
        parts = [norms * (count - 1), products * (count - 1), norms * rewards - products, products * rewards - both]
        sums[:, several] = np.array(parts)[:, several] / (count[several] - 1)
        lone = np.flatnonzero(count == 1)
        sums[:, lone] = self._with_the_visit_before(groups.prompt[lone], np.array([norms[lone], rewards[lone]]))
        return sums

    def _with_the_visit_before(self, prompt: np.ndarray, now: np.ndarray) -> np.ndarray:
        """The sums of lone rollouts from their squared norms and rewards, shape (2, L), in the order of steps."""
        order = np.argsort(prompt, kind="stable")
        prompt, now = prompt[order], now[:, order]
        first = np.diff(prompt, prepend=-1) != 0
        before = np.where(first, self._last[:, prompt], np.roll(now, 1, axis=1))
        last = np.roll(first, -1)
        self._last[:, prompt[last]] = now[:, last]
        (n, r), (m, s) = now, before
        sums = np.empty((4, now.shape[1]))
        sums[:, order] = np.nan_to_num([n + m, n * r + m * s, n * s + m * r, (n + m) * r * s])
        return sums

    def ratio(self, sums: ClusteredSums, columns: np.ndarray) -> tuple[float, tuple[float, float]]:
        """W1 / W0 from the columns of the sums, and its 95 % limits, from those of its logarithm to first order."""
        low, high = self._low - self._origin, self._high - self._origin
        # (r_i - low) (high - r_j) and (high - r_i) (r_j - low), in the order of the columns.
        weights = np.array([[-low * high, high, low, -1.0], [-low * high, low, high, -1.0]])
        if not high > low:
            return np.nan, (np.nan, np.nan)
        found = sums.combined(columns, weights).interval(Ratio([0], [1]))
        if not found.mean > 0:
            return found.mean, (np.nan, np.nan)
        factor = float(np.exp((found.high - found.mean) / found.mean))
        return found.mean, (found.mean / factor, found.mean * factor)
