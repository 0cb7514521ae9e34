"""What the summed scores of baselines say of each: its error, its difference to another, its value error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kvar.auditing.log_statistics import LogStatistics
from kvar.auditing.mean_errors import MeanErrors
from kvar.auditing.recent_visits import RecentVisits
from kvar.baselines import Baseline
from kvar.intervals import ClusteredSums, Interval, Ratio

__all__ = ["ScoreColumns", "ScoreSums"]


@dataclass(frozen=True)
class ScoreColumns:
    """Numbers of the columns in `ClusteredSums`, by quantity and, in the last axis, by baseline.

    The first axis of length 2 tells groups that every baseline has a score for (0) from the other groups (1).
    """

    count: np.ndarray  # count, noise, noisy: shape (2,): Rewards, and see `statistics_collector.NoiseTerms`
    noise: np.ndarray
    noisy: np.ndarray
    # error, lone: shape (2, n): One-step-ahead squared error, and the part of it in groups of one reward, which show no
    # noise.
    error: np.ndarray
    lone: np.ndarray
    defined: np.ndarray  # shape (n,): Rewards in groups of the other kind that the baseline has a score for
    # value, known: shape (n,) or (0,): Squared error against the true value, and number of rewards, in all groups where
    # both are known.
    value: np.ndarray
    known: np.ndarray
    half_square: np.ndarray  # half_square, pairs: shape (2,): See `NoiseTerms`, by lag
    pairs: np.ndarray
    weight: np.ndarray  # weight, normed: shape (2,) or (0,): Squared score norms, and rewards with a known norm
    normed: np.ndarray
    weighted: np.ndarray  # shape (2, n) or (2, 0): Squared advantages times squared score norms
    # shape (n,) or (0,): Squared score norms in groups of the other kind that the baseline has advantages for.
    weighted_defined: np.ndarray
    norm_pairs: np.ndarray  # shape (4,) or (0,): See `norm_pairs.NormPairs`

    @classmethod
    def of(cls, n_baselines: int, knows_truth: bool, knows_norms: bool) -> ScoreColumns:
        """Number the columns."""
        n, known = n_baselines, n_baselines if knows_truth else 0
        normed, two, four = (n, 2, 4) if knows_norms else (0, 0, 0)
        shapes = [(2,), (2,), (2,), (2, n), (2, n), (n,), (known,), (known,), (2,), (2,)]
        shapes += [(two,), (two,), (2, normed), (normed,), (four,)]
        ends = np.cumsum([np.prod(shape) for shape in shapes])
        numbers = np.split(np.arange(ends[-1]), ends[:-1])
        return cls(*(block.reshape(shape) for block, shape in zip(numbers, shapes, strict=True)))

    def __len__(self) -> int:
        """Number of columns."""
        return sum(block.size for block in vars(self).values())


@dataclass
class ScoreSums:
    """Scores of baselines, summed over a whole trace."""

    baselines: list[Baseline]  # With the whole trace in their history
    columns: ScoreColumns  # Where each quantity is in the sums
    sums: ClusteredSums  # All quantities by prompt and by period
    facts: LogStatistics  # What the log shows without any baseline
    recent_visits: RecentVisits  # The last visits of each prompt
    refusals: dict[int, str]  # Baselines that could not be replayed to the end, and why

    @property
    def knows_truth(self) -> bool:
        """Whether the trace holds true values."""
        return len(self.columns.value) > 0

    @cached_property
    def prediction(self) -> MeanErrors:
        """One-step-ahead squared errors."""
        return MeanErrors(self.sums, self.columns.count, self.columns.error, self.columns.defined)

    @cached_property
    def gradient(self) -> MeanErrors | None:
        """The same of the advantages, weighted by the squared norms of the scores; None if the log has no norms."""
        columns = self.columns
        if not len(columns.weight) or not self.sums.total(columns.weight) > 0:
            return None
        return MeanErrors(self.sums, columns.weight, columns.weighted, columns.weighted_defined, columns.normed)

    def value_mse(self, k: int) -> Interval:
        """Squared error of baseline k against the true value, over all rollouts with a reward."""
        return self.sums.interval(Ratio([self.columns.value[k]], [self.columns.known[k]]))

    def estimated_value_mse(self, k: int, best: int) -> Interval:
        """Squared error of baseline k against the true value, estimated without it: its error less the noise.

        Where the noise is unknown there is no estimate. The limits are then the error itself and its excess over that
        of the best.
        """
        columns, prediction = self.columns, self.prediction
        if self.facts.noise_source == "groups":
            noisy = columns.noisy[prediction.compared]
            errors = [prediction.ratio(k)]
            if prediction.comparable(k):
                errors = [Ratio(columns.error[prediction.compared, k], noisy)]
                errors += [Ratio(columns.lone[prediction.compared, k], noisy, -1.0)]
            return self.sums.interval(*errors, Ratio(columns.noise[prediction.compared], noisy, -1.0))
        if self.facts.noise_source == "visits":
            # Half squares are noise + D(lag) / 2; D grows like the square of the lag, like the lag, or not at all.
            middle, most, least = (
                self.sums.interval(
                    prediction.ratio(k),
                    Ratio(columns.half_square[:1], columns.pairs[:1], -one),
                    Ratio(columns.half_square[1:], columns.pairs[1:], two),
                )
                for one, two in ((4 / 3, 1 / 3), (2.0, 1.0), (1.0, 0.0))
            )
            limits = (min(least.low, middle.low), max(most.high, middle.high))
            return Interval(middle.mean, middle.standard_error, *limits, middle.n_rollouts, middle.n_prompts)
        alone, above = prediction.mean(k), prediction.difference(k, best)
        return Interval(np.nan, np.nan, max(above.low, 0.0), alone.high, alone.n_rollouts, alone.n_prompts)
