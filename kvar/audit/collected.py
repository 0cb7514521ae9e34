"""Sums over a whole trace, and what they say of each prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.audit.facts import LogFacts
from kvar.audit.intervals import ClusteredSums, Interval, Mean
from kvar.baselines import Baseline

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
    facts : LogFacts
        What the log itself says.
    refusals : dict of int to str
        Baselines that could not be replayed to the end, and why.
    comparable : list of bool
        Whether a baseline has a score for every rollout compared; means of the others are over other rollouts.
    """

    baselines: list[Baseline]
    sums: ClusteredSums
    facts: LogFacts
    refusals: dict[int, str]
    comparable: list[bool]

    @property
    def knows_truth(self) -> bool:
        """Whether the trace holds true values."""
        return "value:0" in self.sums.columns

    def error(self, k: int) -> Interval:
        """One-step-ahead squared error of baseline k over the rollouts compared.

        Parameters
        ----------
        k : int
            Which.

        Returns
        -------
        Interval
            Over the rollouts that it has a score for, where it is not comparable.
        """
        return self.sums.interval({f"error:{k}": self._mean(k)})

    def difference(self, k: int, best: int) -> Interval:
        """Error of baseline k less that of another, rollout by rollout.

        Parameters
        ----------
        k, best : int
            Which, and from which.

        Returns
        -------
        Interval
            NaN where the two are not over the same rollouts.
        """
        if not (self.comparable[k] and self.comparable[best]):
            return Interval(np.nan, np.nan, np.nan, np.nan, 0, 0)
        if k == best:
            error = self.error(k)
            return Interval(0.0, 0.0, 0.0, 0.0, error.n_rollouts, error.n_prompts)
        return self.sums.interval({f"error:{k}": Mean("count"), f"error:{best}": Mean("count", -1.0)})

    def value_mse(self, k: int) -> Interval:
        """Squared error of baseline k against the true value, over all rollouts with a reward.

        Parameters
        ----------
        k : int
            Which.

        Returns
        -------
        Interval
            For traces with known truth only.
        """
        return self.sums.interval({f"value:{k}": Mean(f"known:{k}")})

    def estimated_value_mse(self, k: int, best: int) -> Interval:
        """Squared error of baseline k against the true value, without knowing it: its error less the noise.

        Parameters
        ----------
        k : int
            Which.
        best : int
            The baseline with the least error, which bounds the noise where nothing else does.

        Returns
        -------
        Interval
            Where groups show the noise, unbiased, over the rollouts in groups. Where only visits do, for values that
            move between visits in a straight line; the limits allow for a random walk (the least noise) and for values
            that do not move at all (the most). Where prompts never come back, the limits alone, from all noise the best
            baseline's error could be to none. A baseline that takes the own reward in pays a bound for it at a prompt's
            first visit with one reward, so that its estimate is too large where such visits are many.
        """
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
        """Mean error of baseline k in successive parts of the run.

        Parameters
        ----------
        k : int
            Which.
        n_parts : int
            In how many parts, at most as many as there are periods.

        Returns
        -------
        ndarray of float64
            NaN in a part without a rollout compared.
        """
        errors, counts = (self.sums.by_period(name) for name in (f"error:{k}", self._mean(k).count))
        edges = np.linspace(0, len(counts), min(n_parts, len(counts)) + 1).astype(int)[:-1]
        with np.errstate(invalid="ignore"):
            return np.add.reduceat(errors, edges) / np.add.reduceat(counts, edges)

    def _mean(self, k: int) -> Mean:
        return Mean("count" if self.comparable[k] else f"defined:{k}")
