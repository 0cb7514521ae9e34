"""Sums over a whole trace, and what they say of each prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.auditing.log_statistics import LogStatistics
from kvar.baselines import Baseline
from kvar.intervals import ClusteredSums, Interval, Mean

__all__ = ["Collected"]


@dataclass
class Collected:
    """Sums over a whole trace.

    Attributes
    ----------
    baselines : list of Baseline
        With the whole trace in their history.
    sums : ClusteredSums
        Counts, noise, and for each baseline the columns ``error:k``, ``lone:k`` (the part of it in groups of one
        reward, which show no noise), ``defined:k`` and, with known truth, ``value:k`` and ``known:k``.
    facts : LogStatistics
        What the log itself says.
    refusals : dict of int to str
        Baselines that could not be replayed to the end, and why.
    comparable : list of bool
        Whether a baseline has a score for every rollout compared; means of the others are over other rollouts.
    """

    baselines: list[Baseline]
    sums: ClusteredSums
    facts: LogStatistics
    refusals: dict[int, str]
    comparable: list[bool]

    @property
    def knows_truth(self) -> bool:
        """Whether the trace holds true values."""
        return "value:0" in self.sums.columns

    def error(self, k: int) -> Interval:
        """One-step-ahead squared error of baseline k over the rollouts compared."""
        return self.sums.interval({f"error:{k}": self._mean(k)})

    def difference(self, k: int, best: int) -> Interval:
        """Error of baseline k less that of another, rollout by rollout."""
        if not (self.comparable[k] and self.comparable[best]):
            return Interval(np.nan, np.nan, np.nan, np.nan, 0, 0)
        if k == best:
            error = self.error(k)
            return Interval(0.0, 0.0, 0.0, 0.0, error.n_rollouts, error.n_prompts)
        return self.sums.interval({f"error:{k}": Mean("count"), f"error:{best}": Mean("count", -1.0)})

    def value_mse(self, k: int) -> Interval:
        """Squared error of baseline k against the true value, over all rollouts with a reward."""
        return self.sums.interval({f"value:{k}": Mean(f"known:{k}")})

    def estimated_value_mse(self, k: int, best: int) -> Interval:
        """Squared error of baseline k against the true value, without knowing it: its error less the noise."""
        error = {f"error:{k}": self._mean(k)}
        if self.facts.noise_source == "groups":
            if self.comparable[k]:
                error = {f"error:{k}": Mean("noisy"), f"lone:{k}": Mean("noisy", -1.0)}
            return self.sums.interval({**error, "noise": Mean("noisy", -1.0)})
        if self.facts.noise_source == "visits":
            # Half squares are noise + D(lag) / 2; D grows like the square of the lag, like the lag, or not at all.
            middle, most, least = (
                self.sums.interval(
                    {**error, "half_square_1": Mean("pairs_1", -one), "half_square_2": Mean("pairs_2", two)}
                )
                for one, two in ((4 / 3, 1 / 3), (2.0, 1.0), (1.0, 0.0))
            )
            limits = (min(least.low, middle.low), max(most.high, middle.high))
            return Interval(middle.mean, middle.standard_error, *limits, middle.n_rollouts, middle.n_prompts)
        alone, above = self.error(k), self.difference(k, best)
        return Interval(np.nan, np.nan, max(above.low, 0.0), alone.high, alone.n_rollouts, alone.n_prompts)

    def error_by_period(self, k: int, n_parts: int) -> np.ndarray:
        """Mean error of baseline k in successive parts of the run."""
        errors, counts = (self.sums.by_period(name) for name in (f"error:{k}", self._mean(k).count))
        edges = np.linspace(0, len(counts), min(n_parts, len(counts)) + 1).astype(int)[:-1]
        with np.errstate(invalid="ignore"):
            return np.add.reduceat(errors, edges) / np.add.reduceat(counts, edges)

    def _mean(self, k: int) -> Mean:
        return Mean("count" if self.comparable[k] else f"defined:{k}")
