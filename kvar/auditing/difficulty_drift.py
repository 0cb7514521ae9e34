"""Whether prompts get easier or harder as a run goes on, by which come when and not by how well they are answered."""

from __future__ import annotations

import numpy as np

from kvar.auditing.groups import Groups
from kvar.intervals import Interval
from kvar.utils.arrays import extended

__all__ = ["DifficultyDrift"]

# Rows of the moments: visits, and sums of step, squared step, reward, and step times reward.
_N, _T, _TT, _Y, _TY = range(5)


class DifficultyDrift:
    """Adds up, by prompt, what the two slopes of the mean reward need: within prompts, and between them.

    Let y be the mean reward of a visit and t its logged step. The slope within prompts is ``b = sum (t - t_p) y / sum
    (t - t_p)^2``, with t_p the prompt's mean step: what the policy learns. Freed from it, a prompt's level is ``a_p =
    y_p - b t_p``. The drift of difficulty is the slope of these levels in t over all visits: what the order of prompts
    adds (Mundlak 1978, Econometrica 46:69). It is 0 in expectation where prompts come in random order.
    """

    def __init__(self) -> None:
        self._moments = np.zeros((5, 0))

    def grow(self, n_prompts: int) -> None:
        """Expect so many prompts."""
        self._moments = extended(self._moments, n_prompts)

    def add(self, groups: Groups) -> None:
        """Add some groups; those without a reward are no visits."""
        self.grow(int(groups.prompt.max(initial=-1)) + 1)
        kept = groups.count > 0
        prompt, t, y = groups.prompt[kept], groups.time[kept].astype(np.float64), groups.mean[kept]
        for row, numbers in zip(self._moments, (None, t, t * t, y, t * y), strict=True):
            row += np.bincount(prompt, numbers, minlength=len(row))

    def slope(self) -> Interval:
        """Change of the mean level of the prompts per logged step; NaN if no prompt comes back, or all come at once.

        Prompts are the independent units. The variance is that of the linearised slope, with the error of b in it.
        """
        # Slow to import, and needed only here.
        from scipy.special import stdtrit

        n, t, tt, y, ty = self._moments[:, self._moments[_N] > 0]
        unknown = Interval(np.nan, np.nan, np.nan, np.nan, int(n.sum()), len(n))
        if len(n) < 3:
            return unknown
        mean = t.sum() / n.sum()
        within, product = tt - t * t / n, ty - t * y / n
        spread = tt - 2 * mean * t + n * mean**2
        if not (within.sum() > 0 and spread.sum() > 0):
            return unknown
        learnt = product.sum() / within.sum()
        level = (y - learnt * t) / n
        away = t - n * mean
        parts = away * (level - (n * level).sum() / n.sum())
        drift = parts.sum() / spread.sum()
        between = (away**2 / n).sum() / spread.sum()
        influence = (parts - drift * spread) / spread.sum() - between * (product - learnt * within) / within.sum()
        error = float(np.sqrt((influence**2).sum() * len(n) / (len(n) - 1)))
        half = float(stdtrit(len(n) - 1, 0.975)) * error
        return Interval(float(drift), error, float(drift) - half, float(drift) + half, int(n.sum()), len(n))
