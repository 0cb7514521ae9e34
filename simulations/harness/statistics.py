"""Means, ratios and slopes over repetitions, with their Monte Carlo standard errors, and what is claimed of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

__all__ = ["Claim", "Crossing", "Estimate", "crossing", "log_slope", "mean_of", "ratio_of", "resamples"]


@dataclass(frozen=True)
class Estimate:
    """A figure from a simulation.

    Attributes
    ----------
    value : float
        The figure.
    standard_error : float
        Monte Carlo standard error; NaN from a single repetition.
    repetitions : int
        Independent repetitions behind it.
    """

    value: float
    standard_error: float
    repetitions: int

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval, Student's t with one degree of freedom less than there are repetitions."""
        if self.repetitions < 2:
            return math.nan
        return float(stdtrit(self.repetitions - 1, 0.975)) * self.standard_error

    def shifted(self, by: float) -> Estimate:
        """Add a constant."""
        return Estimate(self.value + by, self.standard_error, self.repetitions)


def mean_of(values) -> Estimate:
    """Mean over repetitions."""
    values = np.asarray(values, dtype=np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), float(error), len(values))


def ratio_of(numerator, denominator) -> Estimate:
    """Ratio of two means over the same repetitions."""
    numerator, denominator = (np.asarray(v, dtype=np.float64) for v in (numerator, denominator))
    ratio = numerator.mean() / denominator.mean()
    residual = mean_of((numerator - ratio * denominator) / denominator.mean())
    return Estimate(float(ratio), residual.standard_error, residual.repetitions)


def log_slope(x, samples) -> Estimate:
    """Least-squares slope of the logarithm of a mean against log x."""
    logs = np.log(np.asarray(x, dtype=np.float64))
    weights = (logs - logs.mean()) / ((logs - logs.mean()) ** 2).sum()
    means = [mean_of(sample) for sample in samples]
    slope = sum(w * math.log(m.value) for w, m in zip(weights, means, strict=True))
    error = math.sqrt(sum((w * m.standard_error / m.value) ** 2 for w, m in zip(weights, means, strict=True)))
    return Estimate(float(slope), error, means[0].repetitions)


def resamples(repetitions: int, number: int = 1000) -> np.ndarray:
    """Bootstrap: how often each repetition is drawn when as many are drawn anew, as a share."""
    rng = np.random.default_rng(0)
    return rng.multinomial(repetitions, np.full(repetitions, 1.0 / repetitions), size=number) / repetitions


@dataclass(frozen=True)
class Crossing:
    """When a mean curve reaches a level.

    Attributes
    ----------
    time : float
        Infinite where it does not.
    resampled : ndarray, shape (S,)
        That time in each of the resamples.
    repetitions : int
        Curves behind the mean.
    """

    time: float
    resampled: np.ndarray
    repetitions: int

    @property
    def standard_error(self) -> float:
        """Monte Carlo standard error of the time, infinite where too many resamples do not arrive."""
        return _spread(self.resampled)

    def over(self, other: Crossing) -> Estimate:
        """Ratio of two times over the same repetitions."""
        with np.errstate(invalid="ignore"):  # neither of the two arrives
            ratios = self.resampled / other.resampled
        return Estimate(self.time / other.time, _spread(np.nan_to_num(ratios, nan=np.inf)), self.repetitions)

    def or_sooner(self, other: Crossing) -> Crossing:
        """The sooner of the two, in each resample anew, so that luck in the choice is in the error."""
        both = np.minimum(self.resampled, other.resampled)
        return Crossing(min(self.time, other.time), both, self.repetitions)


def _spread(resampled: np.ndarray) -> float:
    """Half of the interval that two thirds of the resamples lie in, which a few infinite ones do not move."""
    low, high = np.quantile(resampled, [0.1587, 0.8413], method="nearest")
    return float((high - low) / 2) if math.isfinite(high) else math.inf


def crossing(times, curves, level: float, shares: np.ndarray) -> Crossing:
    """First time that the mean of some rising curves reaches a level, by linear interpolation."""
    times, curves = np.asarray(times, dtype=np.float64), np.asarray(curves, dtype=np.float64)
    means = np.concatenate([curves.mean(axis=0)[None], shares @ curves])
    above = means >= level
    k = np.maximum(above.argmax(axis=1), 1)
    rows = np.arange(len(means))
    before, after = means[rows, k - 1], means[rows, k]
    arrives = above[rows, k] & ~above[:, 0]
    share = np.divide(level - before, after - before, out=np.zeros(len(means)), where=arrives)
    found = np.where(arrives, times[k - 1] + share * (times[k] - times[k - 1]), np.inf)
    return Crossing(float(found[0]), found[1:], len(curves))


@dataclass(frozen=True)
class Claim:
    """A statement with the figure that decides it.

    Attributes
    ----------
    statement : str
        What is claimed.
    value, low, high : float
        The figure and its 95 % interval.
    bound : str
        What the figure is held against.
    verdict : {"holds", "misses", "undecided"}
        ``undecided`` where the interval lies on both sides of the bound.
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
    def at_most(cls, statement: str, estimate: Estimate, bound: float) -> Claim:
        """The whole interval lies at or below a bound."""
        return cls._judged(
            statement, estimate, f"at most {bound:g}", lambda low, high: high <= bound, lambda low, high: low > bound
        )

    @classmethod
    def above(cls, statement: str, estimate: Estimate, bound: float) -> Claim:
        """The whole interval lies above a bound."""
        return cls._judged(
            statement, estimate, f"above {bound:g}", lambda low, high: low > bound, lambda low, high: high <= bound
        )

    @classmethod
    def covers(cls, statement: str, estimate: Estimate, target: float, half_width: float) -> Claim:
        """The interval holds a target and is narrow."""
        narrow = estimate.half_width <= half_width
        return cls._judged(
            statement,
            estimate,
            f"{target:.4g} inside, half width at most {half_width:g}",
            lambda low, high: low <= target <= high and narrow,
            lambda low, high: not low <= target <= high,
        )

    @classmethod
    def share(cls, statement: str, holding: int, of: int, bound: float) -> Claim:
        """A share of cases is at least a bound; a count has no interval."""
        share = holding / of
        return cls(statement, share, share, share, f"at least {bound:g}", "holds" if share >= bound else "misses")
