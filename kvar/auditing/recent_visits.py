"""The last visits of each prompt, kept as groups come in the order of steps."""

from __future__ import annotations

import numpy as np

from kvar.auditing.groups import Groups
from kvar.utils.arrays import extended

__all__ = ["MOST_VISITS", "RecentVisits"]

# How far back a verdict on a prompt looks.
MOST_VISITS = 32
# Numbers kept of a visit.
_STEP, _COUNT, _TOTAL, _SQUARES = range(4)


class RecentVisits:
    """A ring of the last `MOST_VISITS` visits of each prompt.

    Memory is 32 bytes for a prompt and visit, and no more visits than the prompt seen most often has. What is added
    does not depend on what comes later, so that a log may grow.
    """

    def __init__(self) -> None:
        self.n_visits = np.zeros(0, dtype=np.int64)
        self.last_reward = np.zeros(0)  # Mean reward of the last visit
        self.low, self.high = np.inf, -np.inf  # Least and largest reward so far
        self._rings = np.zeros((4, 0, 1))

    def grow(self, n_prompts: int) -> None:
        """Expect so many prompts."""
        self.n_visits = extended(self.n_visits, n_prompts)
        self.last_reward = extended(self.last_reward, n_prompts, np.nan)
        self._rings = extended(self._rings, n_prompts, axis=1)

    def add(self, groups: Groups) -> None:
        """Add some groups; those without a reward are no visits."""
        self.grow(int(groups.prompt.max(initial=-1)) + 1)
        kept = np.flatnonzero(groups.count > 0)
        if not len(kept):
            return
        self.low = min(self.low, float(groups.low[kept].min()))
        self.high = max(self.high, float(groups.high[kept].max()))
        kept = kept[np.argsort(groups.prompt[kept], kind="stable")]
        prompt = groups.prompt[kept]
        starts = np.flatnonzero(np.diff(prompt, prepend=-1))
        lengths = np.diff(starts, append=len(prompt))
        number = self.n_visits[prompt] + np.arange(len(prompt)) - np.repeat(starts, lengths)
        self.n_visits[prompt[starts]] += lengths
        self.last_reward[prompt] = groups.mean[kept]
        self._widen(int(self.n_visits[prompt[starts]].max()))
        # Of more visits than the ring holds, the last.
        fresh = number >= self.n_visits[prompt] - MOST_VISITS
        kept, prompt, place = kept[fresh], prompt[fresh], number[fresh] % self._rings.shape[2]
        count, mean = groups.count[kept], groups.mean[kept]
        squares = np.where(count > 1, (count - 1) * np.nan_to_num(groups.variance[kept]), 0.0)
        for ring, numbers in zip(self._rings, (groups.step[kept], count, count * mean, squares), strict=True):
            ring[prompt, place] = numbers

    def _widen(self, n_visits: int) -> None:
        width = self._rings.shape[2]
        # Below its full width a ring has not come round, and its places are the numbers of the visits.
        if n_visits > width and width < MOST_VISITS:
            wider = min(1 << (n_visits - 1).bit_length(), MOST_VISITS)
            self._rings = extended(self._rings, wider)

    @property
    def step(self) -> np.ndarray:
        """Step of each visit, shape (P, V), in no order; 0 where there is none."""
        return self._rings[_STEP]

    @property
    def count(self) -> np.ndarray:
        """Rewards of each visit, shape (P, V); 0 where there is none."""
        return self._rings[_COUNT]

    @property
    def total(self) -> np.ndarray:
        """Sum of the rewards of each visit, shape (P, V)."""
        return self._rings[_TOTAL]

    @property
    def squares(self) -> np.ndarray:
        """Sum of the squared deviations from the mean of each visit, shape (P, V)."""
        return self._rings[_SQUARES]

    @property
    def age(self) -> np.ndarray:
        """Visits since each visit, shape (P, V): 0 for the last one; meaningless where there is none."""
        width = self._rings.shape[2]
        return (self.n_visits[:, None] - 1 - np.arange(width)) % width
