"""Means, ratios, slopes and crossings over repetitions with Monte Carlo standard errors, and claims about them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kvar.intervals import mean_interval
from kvar.utils.crossings import first_crossing

__all__ = ["Claim", "Crossing", "MonteCarloEstimate", "crossing", "log_slope", "mean_of", "ratio_of", "resamples"]


@dataclass(frozen=True)
class MonteCarloEstimate:
    """A quantity estimated by simulation."""

    value: float  # The estimate
    standard_error: float  # Monte Carlo standard error; NaN from a single repetition
    repetitions: int  # Independent repetitions behind it

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval: Student's t with `repetitions` - 1 degrees of freedom, NaN for one repetition."""
        from scipy.special import stdtrit  # slow to import

        if self.repetitions < 2:
            return math.nan
        return float(stdtrit(self.repetitions - 1, 0.975)) * self.standard_error

    def shifted(self, by: float) -> MonteCarloEstimate:
        """Add a constant."""
        return MonteCarloEstimate(self.value + by, self.standard_error, self.repetitions)


def mean_of(values) -> MonteCarloEstimate:
    """Mean over repetitions."""
    found = mean_interval(values)
    return MonteCarloEstimate(found.mean, found.standard_error, found.n)


def ratio_of(numerator, denominator) -> MonteCarloEstimate:
    """Ratio of two means over the same repetitions, with the standard error of the delta method."""
    numerator, denominator = (np.asarray(v, dtype=np.float64) for v in (numerator, denominator))
    ratio = numerator.mean() / denominator.mean()
    residual = mean_of((numerator - ratio * denominator) / denominator.mean())
    return MonteCarloEstimate(float(ratio), residual.standard_error, residual.repetitions)


def log_slope(x, samples) -> MonteCarloEstimate:
    """Least-squares slope of the logarithm of a mean against log x."""
    logs = np.log(np.asarray(x, dtype=np.float64))
    weights = (logs - logs.mean()) / ((logs - logs.mean()) ** 2).sum()
    means = [mean_of(sample) for sample in samples]
    slope = sum(w * math.log(m.value) for w, m in zip(weights, means, strict=True))
    error = math.sqrt(sum((w * m.standard_error / m.value) ** 2 for w, m in zip(weights, means, strict=True)))
    return MonteCarloEstimate(float(slope), error, means[0].repetitions)


def resamples(repetitions: int, number: int = 1000) -> np.ndarray:
    """Bootstrap weights, shape (S, R): how often each repetition is drawn, divided by R, so that a row sums to 1."""
    rng = np.random.default_rng(0)
    return rng.multinomial(repetitions, np.full(repetitions, 1.0 / repetitions), size=number) / repetitions


@dataclass(frozen=True)
class Crossing:
    """Time at which a mean curve reaches a level."""

    time: float  # Infinite where it never does
    resampled: np.ndarray  # shape (S,): The same in each bootstrap resample
    repetitions: int  # Curves behind the mean

    @property
    def standard_error(self) -> float:
        """Bootstrap standard error of the time; infinite where one resample in six or more never reaches the level."""
        return _spread(self.resampled)

    def over(self, other: Crossing) -> MonteCarloEstimate:
        """Ratio of two times over the same repetitions."""
        with np.errstate(invalid="ignore"):  # inf / inf where neither reaches the level
            ratios = self.resampled / other.resampled
        return MonteCarloEstimate(self.time / other.time, _spread(np.nan_to_num(ratios, nan=np.inf)), self.repetitions)

    def or_sooner(self, other: Crossing) -> Crossing:
        """The sooner of the two, chosen anew in each resample, so that the error includes the luck of the choice."""
        both = np.minimum(self.resampled, other.resampled)
        return Crossing(min(self.time, other.time), both, self.repetitions)


def _spread(resampled: np.ndarray) -> float:
    """Half of the central interval with two thirds of the resamples, which a few infinite ones do not move."""
    low, high = np.quantile(resampled, [0.1587, 0.8413], method="nearest")
    return float((high - low) / 2) if math.isfinite(high) else math.inf


def crossing(times, curves, level: float, weights: np.ndarray) -> Crossing:
    """First time that the mean of some curves, shape (R, T), reaches a level; `weights` are those of `resamples`."""
    curves = np.asarray(curves, dtype=np.float64)
    found = first_crossing(times, np.concatenate([curves.mean(axis=0)[None], weights @ curves]), level)
    return Crossing(float(found[0]), found[1:], len(curves))


@dataclass(frozen=True)
class Claim:
    """A statement with the number that decides it.

    Attributes
    ----------
    statement : str
        What is claimed.
    value, low, high : float
        The number and its 95 % interval; a count has no interval, and all three are equal.
    bound : str
        What is asked of the number.
    verdict : {"holds", "misses", "undecided"}
        ``undecided`` where the interval lies on both sides of the bound, or is unknown.
    """

    statement: str
    value: float
    low: float
    high: float
    bound: str
    verdict: str

    @classmethod
    def _judged(cls, statement, estimate, bound, holds, misses):
        low, high = estimate.value - estimate.half_width, estimate.value + estimate.half_width
        verdict = "holds" if holds(low, high) else "misses" if misses(low, high) else "undecided"
        return cls(statement, estimate.value, low, high, bound, verdict)

    @classmethod
    def at_most(cls, statement: str, estimate: MonteCarloEstimate, bound: float) -> Claim:
        """The whole interval lies at or below a bound."""
        return cls._judged(
            statement, estimate, f"at most {bound:g}", lambda low, high: high <= bound, lambda low, high: low > bound
        )

    @classmethod
    def above(cls, statement: str, estimate: MonteCarloEstimate, bound: float) -> Claim:
        """The whole interval lies above a bound."""
        return cls._judged(
            statement, estimate, f"above {bound:g}", lambda low, high: low > bound, lambda low, high: high <= bound
        )

    @classmethod
    def covers(cls, statement: str, estimate: MonteCarloEstimate, target: float, half_width: float) -> Claim:
        """The interval contains a target and is narrow."""
        narrow = estimate.half_width <= half_width
        return cls._judged(
            statement,
            estimate,
            f"{target:.4g} inside, half width at most {half_width:g}",
            lambda low, high: low <= target <= high and narrow,
            lambda low, high: not low <= target <= high,
        )

    @classmethod
    def fraction(cls, statement: str, holding: int, of: int, bound: float) -> Claim:
        """At least a given fraction of the cases hold."""
        found = holding / of
        return cls(statement, found, found, found, f"at least {bound:g}", "holds" if found >= bound else "misses")
