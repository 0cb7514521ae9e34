"""What the summed scores of baselines say of each: its error, its difference to another, its value error."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kvar.auditing.log_statistics import LogStatistics
from kvar.baselines import Baseline
from kvar.intervals import ClusteredSums, Interval, Ratio

__all__ = ["ScoreColumns", "ScoreSums"]


@dataclass(frozen=True)
class ScoreColumns:
    """Numbers of the columns in `ClusteredSums`, by quantity and, in the last axis, by baseline.

    The first axis of length 2 tells groups that every baseline has a score for (0) from the other groups (1).

    Attributes
    ----------
    count, noise, noisy : ndarray of int, shape (2,)
        Rewards, and see `statistics_collector.NoiseTerms`.
    error, lone : ndarray of int, shape (2, n)
        One-step-ahead squared error, and the part of it in groups of one reward, which show no noise.
    defined : ndarray of int, shape (n,)
        Rewards in groups of the other kind that the baseline has a score for.
    value, known : ndarray of int, shape (n,) or (0,)
        Squared error against the true value, and number of rewards, in all groups where both are known.
    half_square, pairs : ndarray of int, shape (2,)
        See `NoiseTerms`, by lag.
    """

    count: np.ndarray
    noise: np.ndarray
    noisy: np.ndarray
    error: np.ndarray
    lone: np.ndarray
    defined: np.ndarray
    value: np.ndarray
    known: np.ndarray
    half_square: np.ndarray
    pairs: np.ndarray

    @classmethod
    def of(cls, n_baselines: int, knows_truth: bool) -> ScoreColumns:
        """Number the columns."""
        n, known = n_baselines, n_baselines if knows_truth else 0
        shapes = [(2,), (2,), (2,), (2, n), (2, n), (n,), (known,), (known,), (2,), (2,)]
        ends = np.cumsum([np.prod(shape) for shape in shapes])
        numbers = np.split(np.arange(ends[-1]), ends[:-1])
        return cls(*(block.reshape(shape) for block, shape in zip(numbers, shapes, strict=True)))

    def __len__(self) -> int:
        """Number of columns."""
        return int(self.pairs[-1]) + 1


@dataclass
class ScoreSums:
    """Scores of baselines, summed over a whole trace.

    Attributes
    ----------
    baselines : list of Baseline
        With the whole trace in their history.
    columns : ScoreColumns
        Where each quantity is in the sums.
    sums : ClusteredSums
        All quantities by prompt and by period.
    facts : LogStatistics
        What the log shows without any baseline.
    refusals : dict of int to str
        Baselines that could not be replayed to the end, and why.
    """

    baselines: list[Baseline]
    columns: ScoreColumns
    sums: ClusteredSums
    facts: LogStatistics
    refusals: dict[int, str]

    @property
    def knows_truth(self) -> bool:
        """Whether the trace holds true values."""
        return len(self.columns.value) > 0

    @cached_property
    def _compared(self) -> slice:
        """Groups that are compared: those with a score of every baseline, unless these are the smaller part."""
        common, rest = (self.sums.total([column]) for column in self.columns.count)
        return slice(1) if common >= rest else slice(2)

    def comparable(self, k: int) -> bool:
        """Whether baseline k has a score for every rollout compared; the mean of another is over other rollouts."""
        if self._compared == slice(1):
            return True
        return self.sums.total([self.columns.defined[k]]) == self.sums.total([self.columns.count[1]])

    def error(self, k: int) -> Interval:
        """One-step-ahead squared error of baseline k over the rollouts compared."""
        return self.sums.interval(self._error(k))

    def difference(self, k: int, best: int) -> Interval:
        """Error of baseline k less that of another, rollout by rollout."""
        if not (self.comparable(k) and self.comparable(best)):
            return Interval(np.nan, np.nan, np.nan, np.nan, 0, 0)
        if k == best:
            error = self.error(k)
            return Interval(0.0, 0.0, 0.0, 0.0, error.n_rollouts, error.n_prompts)
        return self.sums.interval(self._error(k), self._error(best, -1.0))

    def error_reduction(self, k: int, other: int) -> Interval:
        """Fraction by which the error of baseline k is below that of another; limits to first order."""
        level = self.error(other).mean
        if not level > 0:
            return Interval(np.nan, np.nan, np.nan, np.nan, 0, 0)
        ratio = self.error(k).mean / level
        if k == other:
            spread = self.sums.interval(self._error(k, 0.0))
        else:
            spread = self.sums.interval(self._error(k, -1 / level), self._error(other, ratio / level))
        # The terms are the derivative of the ratio and sum to 0; the estimate is 1 - ratio.
        return dataclasses.replace(spread, mean=1 - ratio, low=1 - ratio + spread.low, high=1 - ratio + spread.high)

    def value_mse(self, k: int) -> Interval:
        """Squared error of baseline k against the true value, over all rollouts with a reward."""
        return self.sums.interval(Ratio([self.columns.value[k]], [self.columns.known[k]]))

    def estimated_value_mse(self, k: int, best: int) -> Interval:
        """Squared error of baseline k against the true value, estimated without it: its error less the noise.

        Where the noise is unknown there is no estimate. The limits are then the error itself and its excess over that
        of the best.
        """
        columns = self.columns
        if self.facts.noise_source == "groups":
            noisy = columns.noisy[self._compared]
            errors = [self._error(k)]
            if self.comparable(k):
                errors = [Ratio(columns.error[self._compared, k], noisy)]
                errors += [Ratio(columns.lone[self._compared, k], noisy, -1.0)]
            return self.sums.interval(*errors, Ratio(columns.noise[self._compared], noisy, -1.0))
        if self.facts.noise_source == "visits":
            # Half squares are noise + D(lag) / 2; D grows like the square of the lag, like the lag, or not at all.
            middle, most, least = (
                self.sums.interval(
                    self._error(k),
                    Ratio(columns.half_square[:1], columns.pairs[:1], -one),
                    Ratio(columns.half_square[1:], columns.pairs[1:], two),
                )
                for one, two in ((4 / 3, 1 / 3), (2.0, 1.0), (1.0, 0.0))
            )
            limits = (min(least.low, middle.low), max(most.high, middle.high))
            return Interval(middle.mean, middle.standard_error, *limits, middle.n_rollouts, middle.n_prompts)
        alone, above = self.error(k), self.difference(k, best)
        return Interval(np.nan, np.nan, max(above.low, 0.0), alone.high, alone.n_rollouts, alone.n_prompts)

    def error_by_part(self, k: int, n_parts: int) -> np.ndarray:
        """Mean error of baseline k in successive parts of the run."""
        error = self._error(k)
        errors, counts = (self.sums.by_period(columns) for columns in (error.columns, error.counts))
        edges = np.linspace(0, len(counts), min(n_parts, len(counts)) + 1).astype(int)[:-1]
        with np.errstate(invalid="ignore"):
            return np.add.reduceat(errors, edges) / np.add.reduceat(counts, edges)

    def _error(self, k: int, coefficient: float = 1.0) -> Ratio:
        counts = self.columns.count[self._compared]
        if not self.comparable(k):
            counts = np.array([self.columns.count[0], self.columns.defined[k]])
        return Ratio(self.columns.error[self._compared, k], counts, coefficient)
