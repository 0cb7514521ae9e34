"""Mean errors of baselines over the rollouts on which they can be compared, and their differences."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kvar.intervals import ClusteredSums, Interval, Ratio

__all__ = ["MeanErrors"]


@dataclass(frozen=True)
class MeanErrors:
    """Weighted mean errors of n baselines, from columns of sums.

    The first axis of length 2 tells groups that every baseline has an error for (0) from the other groups (1).
    """

    sums: ClusteredSums  # All quantities by prompt and by period
    count: np.ndarray  # shape (2,): Columns of the weights of the rollouts, which are 1 where all count alike
    error: np.ndarray  # shape (2, n): Columns of the errors times the weights
    # shape (n,): Columns of the weights in groups of the other kind that the baseline has an error for.
    defined: np.ndarray
    # shape (2,): Columns of the numbers of rollouts, where these are not their weights.
    rollouts: np.ndarray | None = None

    @cached_property
    def compared(self) -> slice:
        """Groups that are compared: those with an error of every baseline, unless these are the smaller part."""
        common, rest = (self.sums.total([column]) for column in self.count)
        return slice(1) if common >= rest else slice(2)

    def comparable(self, k: int) -> bool:
        """Whether baseline k has an error for every rollout compared; the mean of another is over other rollouts."""
        if self.compared == slice(1):
            return True
        return self.sums.total([self.defined[k]]) == self.sums.total([self.count[1]])

    def mean(self, k: int) -> Interval:
        """Mean error of baseline k."""
        return self._interval(self.ratio(k))

    def difference(self, k: int, best: int) -> Interval:
        """Error of baseline k less that of another, rollout by rollout."""
        if not (self.comparable(k) and self.comparable(best)):
            return Interval(np.nan, np.nan, np.nan, np.nan, 0, 0)
        if k == best:
            error = self.mean(k)
            return Interval(0.0, 0.0, 0.0, 0.0, error.n_rollouts, error.n_prompts)
        return self._interval(self.ratio(k), self.ratio(best, -1.0))

    def reduction(self, k: int, other: int) -> Interval:
        """Fraction by which the error of baseline k is below that of another; limits to first order."""
        level = self.mean(other).mean
        if not level > 0:
            return Interval(np.nan, np.nan, np.nan, np.nan, 0, 0)
        ratio = self.mean(k).mean / level
        if k == other:
            spread = self._interval(self.ratio(k, 0.0))
        else:
            spread = self._interval(self.ratio(k, -1 / level), self.ratio(other, ratio / level))
        # The terms are the derivative of the ratio and sum to 0; the estimate is 1 - ratio.
        return dataclasses.replace(spread, mean=1 - ratio, low=1 - ratio + spread.low, high=1 - ratio + spread.high)

    def by_part(self, k: int, n_parts: int) -> np.ndarray:
        """Mean error of baseline k in successive parts of the run."""
        error = self.ratio(k)
        errors, counts = (self.sums.by_period(columns) for columns in (error.columns, error.counts))
        edges = np.linspace(0, len(counts), min(n_parts, len(counts)) + 1).astype(int)[:-1]
        with np.errstate(invalid="ignore"):
            return np.add.reduceat(errors, edges) / np.add.reduceat(counts, edges)

    def ratio(self, k: int, coefficient: float = 1.0) -> Ratio:
        """The mean error of baseline k as a part of an estimate."""
        counts = self.count[self.compared]
        if not self.comparable(k):
            counts = np.array([self.count[0], self.defined[k]])
        return Ratio(self.error[self.compared, k], counts, coefficient)

    def _interval(self, *ratios: Ratio) -> Interval:
        # A first part that is 0 counts the rollouts.
        counted = [] if self.rollouts is None else [Ratio(self.rollouts[:0], self.rollouts[self.compared], 0.0)]
        return self.sums.interval(*counted, *ratios)
