"""Means, ratios and slopes over repetitions, with their Monte Carlo standard errors, and what is claimed of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

__all__ = ["Claim", "Crossing", "Estimate", "crossing", "log_slope", "mean_of", "ratio_of"]


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
        """Add a constant.

        Parameters
        ----------
        by : float
            What is added.

        Returns
        -------
        Estimate
            With the same error.
        """
        return Estimate(self.value + by, self.standard_error, self.repetitions)


def mean_of(values) -> Estimate:
    """Mean over repetitions.

    Parameters
    ----------
    values : array_like, shape (R,)
        One number a repetition.

    Returns
    -------
    Estimate
        Their mean.
    """
    values = np.asarray(values, dtype=np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), float(error), len(values))


def ratio_of(numerator, denominator) -> Estimate:
    """Ratio of two means over the same repetitions.

    Parameters
    ----------
    numerator, denominator : array_like, shape (R,)
        Two numbers a repetition; what they have in common cancels in the error (Cochran 1977, 6.4).

    Returns
    -------
    Estimate
        Mean over mean.
    """
    numerator, denominator = (np.asarray(v, dtype=np.float64) for v in (numerator, denominator))
    ratio = numerator.mean() / denominator.mean()
    residual = mean_of((numerator - ratio * denominator) / denominator.mean())
    return Estimate(float(ratio), residual.standard_error, residual.repetitions)


def log_slope(x, samples) -> Estimate:
    """Least-squares slope of the logarithm of a mean against log x.

    Parameters
    ----------
    x : array_like, shape (K,)
        Positive.
    samples : sequence of array_like, length K
        Repetitions behind each mean, independent between the K; all means positive.

    Returns
    -------
    Estimate
        Its error is that of the means, by the delta method; `repetitions` is that of one mean.
    """
    logs = np.log(np.asarray(x, dtype=np.float64))
    weights = (logs - logs.mean()) / ((logs - logs.mean()) ** 2).sum()
    means = [mean_of(sample) for sample in samples]
    slope = sum(w * math.log(m.value) for w, m in zip(weights, means, strict=True))
    error = math.sqrt(sum((w * m.standard_error / m.value) ** 2 for w, m in zip(weights, means, strict=True)))
    return Estimate(float(slope), error, means[0].repetitions)


@dataclass(frozen=True)
class Crossing:
    """When a mean curve reaches a level.

    Attributes
    ----------
    time : float
        NaN where it does not.
    influence : ndarray, shape (R,)
        How far each repetition moves that time, to first order; their mean is zero.
    """

    time: float
    influence: np.ndarray

    @property
    def standard_error(self) -> float:
        """Monte Carlo standard error of the time."""
        return mean_of(self.influence).standard_error

    def over(self, other: Crossing) -> Estimate:
        """Ratio of two times over the same repetitions.

        Parameters
        ----------
        other : Crossing
            What to divide by.

        Returns
        -------
        Estimate
            What both have in common cancels in its error.
        """
        ratio = self.time / other.time
        return mean_of(ratio * (self.influence / self.time - other.influence / other.time)).shifted(ratio)


def crossing(times, curves, level: float) -> Crossing:
    """First time that the mean of some rising curves reaches a level, by linear interpolation.

    Parameters
    ----------
    times : array_like, shape (K,)
        Increasing.
    curves : array_like, shape (R, K)
        A curve a repetition.
    level : float
        What is to be reached.

    Returns
    -------
    Crossing
        The error follows from that of the mean there, divided by the slope over the last quarter of the way.
    """
    times, curves = np.asarray(times, dtype=np.float64), np.asarray(curves, dtype=np.float64)
    mean = curves.mean(axis=0)
    above = np.flatnonzero(mean >= level)
    if above.size == 0 or above[0] == 0:
        return Crossing(math.nan, np.full(len(curves), math.nan))
    k = int(above[0])
    share = (level - mean[k - 1]) / (mean[k] - mean[k - 1])
    time = times[k - 1] + share * (times[k] - times[k - 1])
    start = int(np.searchsorted(times, 0.75 * time))
    start = min(start, k - 1)
    slope = (mean[k] - mean[start]) / (times[k] - times[start])
    there = curves[:, k - 1] + share * (curves[:, k] - curves[:, k - 1])
    return Crossing(float(time), -(there - there.mean()) / slope)


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
        """The whole interval lies at or below a bound.

        Parameters
        ----------
        statement : str
            What is claimed.
        estimate : Estimate
            The figure.
        bound : float
            Its largest allowed value.

        Returns
        -------
        Claim
            With its verdict.
        """
        return cls._judged(
            statement, estimate, f"at most {bound:g}", lambda low, high: high <= bound, lambda low, high: low > bound
        )

    @classmethod
    def above(cls, statement: str, estimate: Estimate, bound: float) -> Claim:
        """The whole interval lies above a bound.

        Parameters
        ----------
        statement : str
            What is claimed.
        estimate : Estimate
            The figure.
        bound : float
            What it must exceed.

        Returns
        -------
        Claim
            With its verdict.
        """
        return cls._judged(
            statement, estimate, f"above {bound:g}", lambda low, high: low > bound, lambda low, high: high <= bound
        )

    @classmethod
    def covers(cls, statement: str, estimate: Estimate, target: float, half_width: float) -> Claim:
        """The interval holds a target and is narrow.

        Parameters
        ----------
        statement : str
            What is claimed.
        estimate : Estimate
            The figure.
        target : float
            What it must be compatible with.
        half_width : float
            Largest allowed half width; a wider interval that holds the target leaves the claim undecided.

        Returns
        -------
        Claim
            With its verdict.
        """
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
        """A share of cases is at least a bound; a count has no interval.

        Parameters
        ----------
        statement : str
            What is claimed.
        holding, of : int
            Cases in which it holds, and all cases.
        bound : float
            Smallest allowed share.

        Returns
        -------
        Claim
            With its verdict.
        """
        share = holding / of
        return cls(statement, share, share, share, f"at least {bound:g}", "holds" if share >= bound else "misses")
