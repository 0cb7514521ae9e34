"""Whether the norm of the score goes with the reward: pairs of rollouts of one prompt, a right and a wrong one."""

from __future__ import annotations

import numpy as np

from kvar.auditing.groups import Groups
from kvar.intervals import ClusteredSums, Ratio
from kvar.rollouts.step_chunks import SortedTrace, StepChunk

__all__ = ["NORM", "NormPairs", "norm_ratio", "squared_norms"]

NORM = "score_norm"
# A larger norm is an accident, and its square would hide all others.
_LARGEST_NORM = 1e30


def squared_norms(chunk: StepChunk) -> np.ndarray:
    """Squared score norms of the rollouts, shape (n,); NaN where the norm or the reward is not known."""
    norms = chunk.columns[NORM]
    known = (norms >= 0) & (norms <= _LARGEST_NORM) & ~np.isnan(chunk.reward)
    return np.where(known, norms, np.nan) ** 2


class NormPairs:
    """Sums over pairs of rollouts i, j of one prompt, whose ratio is W1 / W0.

    With n the squared norm and z the reward on the scale from 0 to 1, a pair adds ``n_i z_i (1 - z_j)`` to the first
    sum and ``n_i (1 - z_i) z_j`` to the second. Given the prompt, their expectations are ``V (1 - V)`` times W1 and W0,
    the means of n weighted by z and by 1 - z. So prompts that differ in both value and norm do not pass for a relation
    of reward and norm. Pairs are those within a group; a single rollout is paired with that of the visit before.
    """

    def __init__(self, order: SortedTrace):
        reward = order.trace.reward
        self._low, self._high = (float(f.reduce(reward)) for f in (np.fmin, np.fmax))
        self._last = np.full((2, len(order.prompts)), np.nan)

    def add(self, chunk: StepChunk, groups: Groups, squares: np.ndarray) -> np.ndarray:
        """Both sums of each group, shape (2, C), over i and j and divided by the number of j."""
        sums = np.zeros((2, len(groups)))
        if not self._high > self._low:
            return sums
        known = ~np.isnan(squares)
        squares = np.where(known, squares, 0.0)
        z = np.where(known, (chunk.reward - self._low) / (self._high - self._low), 0.0)
        high, low, right, wrong, both, count = (
            chunk.sums(x)
            for x in (squares * z, squares * (1 - z), z, known - z, squares * z * (1 - z), known.astype(float))
        )
        several = count > 1
        for part, total in zip(sums, (high * wrong - both, low * right - both), strict=True):
            part[several] = total[several] / (count[several] - 1)
        lone = np.flatnonzero(count == 1)
        sums[:, lone] = self._with_the_visit_before(
            groups.prompt[lone], np.array([high[lone] + low[lone], right[lone]])
        )
        return sums

    def _with_the_visit_before(self, prompt: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Both sums of lone rollouts from their squared norms and rewards, shape (2, L), in the order of steps."""
        order = np.argsort(prompt, kind="stable")
        prompt, now = prompt[order], now[:, order]
        first = np.diff(prompt, prepend=-1) != 0
        before = np.where(first, self._last[:, prompt], np.roll(now, 1, axis=1))
        last = np.roll(first, -1)
        self._last[:, prompt[last]] = now[:, last]
        (n, z), (m, y) = now, before
        sums = np.empty(now.shape)
        sums[:, order] = np.nan_to_num([n * z * (1 - y) + m * y * (1 - z), n * (1 - z) * y + m * (1 - y) * z])
        return sums


def norm_ratio(sums: ClusteredSums, columns: np.ndarray) -> tuple[float, tuple[float, float]]:
    """W1 / W0 from the columns of both sums, and its 95 % limits, from those of its logarithm to first order."""
    found = sums.interval(Ratio(columns[:1], columns[1:]))
    if not found.mean > 0:
        return found.mean, (np.nan, np.nan)
    factor = float(np.exp((found.high - found.mean) / found.mean))
    return found.mean, (found.mean / factor, found.mean * factor)
