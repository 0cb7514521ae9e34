"""How the rewards of a prompt change from one visit to the next: gaps, noise, movement, and jumps of all prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.auditing.groups import Groups
from kvar.utils.arrays import extended

__all__ = ["Changes", "VisitChanges"]


@dataclass(frozen=True)
class Changes:
    """Each of C groups against the groups of its prompt one and two visits before; 0 where there is none."""

    half_square: np.ndarray  # shape (2, C): Half the squared difference of two lone rewards, one and two visits apart
    pairs: np.ndarray  # shape (2, C): Where there are two such rewards
    rise: np.ndarray  # shape (C,): Change of the group's mean since the last visit
    gap: np.ndarray  # shape (C,): Logged steps since the last visit


class VisitChanges:
    """Compares groups with the last two visits of their prompts, as they come in the order of steps."""

    def __init__(self) -> None:
        self.n_visits, self.gap_counts = np.zeros((2, 0), dtype=np.int64)
        # The last two visits of each prompt: time, mean, variance of the mean (NaN for one reward), number of rewards.
        self._last = np.zeros((0, 2, 4))
        # Squared changes by gap, less what the noise of two group means adds, and how many.
        self._squares, self._n_squares = np.zeros((2, 0))
        # By step: number, sum and sum of squares of the changes of group means.
        self._rises = np.zeros((3, 0))
        self._half_squares, self._n_pairs = np.zeros(2), np.zeros(2)

    def grow(self, n_prompts: int, n_steps: int) -> None:
        """Expect so many prompts and steps."""
        self.n_visits = extended(self.n_visits, n_prompts)
        self._last = extended(self._last, n_prompts, np.nan, axis=0)
        self.gap_counts, self._rises = extended(self.gap_counts, n_steps), extended(self._rises, n_steps)
        self._squares, self._n_squares = extended(self._squares, n_steps), extended(self._n_squares, n_steps)

    def add(self, groups: Groups) -> Changes:
        """Compare some groups; those without a reward are no visits."""
        self.grow(int(groups.prompt.max(initial=-1)) + 1, int(groups.time.max(initial=-1)) + 1)
        kept = np.flatnonzero(groups.count > 0)
        kept = kept[np.argsort(groups.prompt[kept], kind="stable")]
        prompt = groups.prompt[kept]
        count = groups.count[kept].astype(np.float64)
        now = np.column_stack([groups.time[kept], groups.mean[kept], groups.variance[kept] / count, count])
        starts = np.flatnonzero(np.diff(prompt, prepend=-1))
        rank = np.arange(len(prompt)) - np.repeat(starts, np.diff(starts, append=len(prompt)))
        shape = (2, len(groups))
        changes = Changes(np.zeros(shape), np.zeros(shape, dtype=bool), *np.zeros(shape))
        for k in (0, 1):
            before = self._before(now, prompt, rank, k + 1)
            lone = (now[:, 3] == 1) & (before[:, 3] == 1)
            changes.half_square[k, kept] = np.where(lone, (now[:, 1] - before[:, 1]) ** 2 / 2, 0.0)
            changes.pairs[k, kept] = lone
            if k == 0:
                changes.gap[kept] = np.nan_to_num(now[:, 0] - before[:, 0])
                changes.rise[kept] = np.nan_to_num(now[:, 1] - before[:, 1])
                self._add_changes(now, before)
        self._half_squares += changes.half_square.sum(axis=1)
        self._n_pairs += changes.pairs.sum(axis=1)
        self.n_visits += np.bincount(prompt, minlength=len(self.n_visits))
        self._remember(now, prompt, starts, rank)
        return changes

    def _before(self, now: np.ndarray, prompt: np.ndarray, rank: np.ndarray, lag: int) -> np.ndarray:
        """The visits a number of visits before; rank counts the visits of a prompt within this chunk."""
        before = np.empty_like(now)
        inside = rank >= lag
        before[inside] = now[np.flatnonzero(inside) - lag]
        # What this chunk does not hold is lag - rank visits before it.
        before[~inside] = self._last[prompt[~inside], lag - 1 - rank[~inside]]
        return before

    def _remember(self, now: np.ndarray, prompt: np.ndarray, starts: np.ndarray, rank: np.ndarray) -> None:
        ends = np.append(starts[1:], len(prompt)) - 1 if len(prompt) else starts
        single = rank[ends] == 0
        self._last[prompt[ends], 1] = np.where(
            single[:, None], self._last[prompt[ends], 0], now[np.maximum(ends - 1, 0)]
        )
        self._last[prompt[ends], 0] = now[ends]

    def _add_changes(self, now: np.ndarray, before: np.ndarray) -> None:
        again = ~np.isnan(before[:, 0])
        gap = (now[again, 0] - before[again, 0]).astype(np.int64)
        rise = now[again, 1] - before[again, 1]
        n_steps = len(self.gap_counts)
        self.gap_counts += np.bincount(gap, minlength=n_steps)
        time = now[again, 0].astype(np.int64)
        self._rises += [np.bincount(time, weights=rise**k, minlength=n_steps) for k in range(3)]
        square = rise**2 - now[again, 2] - before[again, 2]
        known = ~np.isnan(square)
        self._squares += np.bincount(gap[known], weights=square[known], minlength=n_steps)
        self._n_squares += np.bincount(gap[known], minlength=n_steps)

    @property
    def has_pairs(self) -> bool:
        """Whether lone rewards one and two visits apart were seen."""
        return bool((self._n_pairs > 0).all())

    def noise(self) -> float:
        """Variance of a reward from visits.

        Half the squared difference of two rewards of a prompt exceeds the noise by half the squared movement of its
        value, whose growth shows between one and two visits.
        """
        first, second = self._half_squares / self._n_pairs
        return float(max((4 * first - second) / 3, 0.0))

    def median_gap(self) -> float:
        """Median number of logged steps between visits; NaN if no prompt comes back."""
        below = np.cumsum(self.gap_counts)
        return float(np.searchsorted(below, below[-1] / 2)) if below[-1] else np.nan

    def movement(self, source: str) -> float:
        """Root mean square change of a value over the median gap, by the source of the noise; NaN if unknown."""
        gap = self.median_gap()
        square = np.nan
        if source == "visits":
            square = 2 * (self._half_squares[0] / self._n_pairs[0] - self.noise())
        elif source == "groups" and not np.isnan(gap):
            # Gaps from half to twice the median, so that one rare gap does not decide.
            near = slice(max(int(gap // 2), 1), int(2 * gap) + 1)
            if number := self._n_squares[near].sum():
                square = self._squares[near].sum() / number
        return float(np.sqrt(max(square, 0.0))) if not np.isnan(square) else np.nan

    def jump(self, smallest: float) -> tuple[float, float, int | None]:
        """Largest mean change of all prompts within a median gap, its standard error, and the number of its first step.

        A jump stands out from the noise of the changes by five standard errors and is larger than ``smallest``.
        """
        gap = self.median_gap()
        if np.isnan(gap):
            return np.nan, np.nan, None
        # In a median gap most prompts come back once.
        width = max(int(gap), 1)
        sums = np.cumsum(np.pad(self._rises, ((0, 0), (1, 0))), axis=1)
        number, rise, square = sums[:, width:] - sums[:, :-width]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = rise / number
            error = np.sqrt(np.maximum(square / number - mean**2, 0.0) / (number - 1))
        size = np.where((number > 4) & (np.abs(mean) > 5 * error), np.abs(mean), 0.0)
        k = int(np.argmax(size))
        return (float(mean[k]), float(error[k]), k) if size[k] > smallest else (np.nan, np.nan, None)
