"""95 % confidence intervals: of a plain mean over independent repetitions, and of means over rollouts.

Rollouts are not independent: those of one prompt depend on each other, and so do those of neighbouring steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from kvar.utils.arrays import extended
from kvar.utils.checks import checked_array, is_number

__all__ = [
    "LONGEST_PERIOD",
    "ClusteredSums",
    "Interval",
    "MeanInterval",
    "Ratio",
    "adjusted_p_values",
    "checked_bounds",
    "fraction_limits",
    "mean_interval",
    "rate_limits",
    "value_limits",
]

# As a fraction of the terms of an estimate: what is smaller is their rounding, and would pass for a clear difference.
_ROUNDING = 1e-12
_NORMAL_QUANTILE = 1.959964
# Weight of the heaviest observation times the effective sample size: 1.5 under the triangular kernel, whose weights are
# uniform between that and zero, 1.25 under that of Epanechnikov, 1 under the uniform one. The study `coverage` covers
# best with a number between the first two.
_FEW = 1.4
# Steps of the longest period of a run. Periods that begin at its multiples never change, however a run grows.
LONGEST_PERIOD = 32


@dataclass(frozen=True)
class MeanInterval:
    """Mean of independent repetitions with its 95 % interval; all but the mean are NaN for fewer than two."""

    mean: float
    standard_error: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """Half of the interval."""
        return (self.high - self.low) / 2


def mean_interval(values: ArrayLike) -> MeanInterval:
    """Mean of independent repetitions, with Student's t for its interval; a NaN among them makes it NaN."""
    # Slow to import, and needed only here.
    from scipy import stats

    values = np.asarray(values, dtype=np.float64).ravel()
    n, mean = values.size, float(values.mean()) if values.size else np.nan
    if n < 2:
        return MeanInterval(mean, np.nan, np.nan, np.nan, n)
    error = float(stats.sem(values))
    half = float(stats.t.ppf(0.975, n - 1)) * error
    return MeanInterval(mean, error, mean - half, mean + half, n)


@dataclass(frozen=True)
class Interval:
    """An estimate with its uncertainty over prompts and time.

    Attributes
    ----------
    mean : float
        The estimate; NaN where there is none.
    standard_error : float
        Of the mean. Rollouts of one prompt may depend on each other in any way. So may rollouts of one period, which
        share the policy and, for some baselines, the value.
    low, high : float
        Limits of the 95 % confidence interval.
    n_rollouts : int
        Rollouts behind it.
    n_prompts : int
        Prompts that they belong to.
    p_value : float
        Of the two-sided test that the expected mean is 0. For the difference of two baselines' errors this is the test
        of Diebold and Mariano (1995, JBES 13:253) with a variance that allows for both kinds of dependence.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    n_rollouts: int
    n_prompts: int
    p_value: float = np.nan

    def __repr__(self) -> str:
        """The estimate with its limits."""
        return f"Interval({self.mean:.4g}, {self.low:.4g} to {self.high:.4g})"

    @classmethod
    def over_prompts_and_steps(cls, values: np.ndarray, prompts: np.ndarray, steps: np.ndarray) -> Interval:
        """Mean of n values, NaN left out, that are dependent within prompts and within steps, both numbered from 0."""
        kept = ~np.isnan(values)
        values, prompts, steps = values[kept], prompts[kept], steps[kept]
        if values.size == 0:
            return cls(np.nan, np.nan, np.nan, np.nan, 0, 0)
        sums = ClusteredSums(2, int(prompts.max()) + 1, int(steps.max()) + 1)
        sums.add(np.array([np.ones(values.size), values]), prompts, steps)
        return sums.interval(Ratio([1], [0]))


def adjusted_p_values(p_values: Sequence[float] | np.ndarray, method: Literal["holm", "fdr_bh"] = "holm") -> np.ndarray:
    """The p-values adjusted for their number; a NaN is no test, stays NaN and does not count.

    The methods are "holm", for the chance of any false rejection, and "fdr_bh", for the false discovery rate, named as
    in statsmodels. That library collects all garbage of the process at each call, which takes longer than the test.
    """
    adjusted = np.array(p_values, dtype=np.float64)
    tests = np.flatnonzero(~np.isnan(adjusted))
    order = tests[np.argsort(adjusted[tests])]
    left = np.arange(len(order), 0, -1)
    if method == "holm":
        adjusted[order] = np.maximum.accumulate(adjusted[order] * left)
    else:
        bounds = adjusted[order] * len(order) / (len(order) + 1 - left)
        adjusted[order] = np.minimum.accumulate(bounds[::-1])[::-1]
    return np.minimum(adjusted, 1.0)


def fraction_limits(fraction: Interval) -> tuple[float, float]:
    """Wilson's 95 % limits of a fraction of clustered units, which stay between 0 and 1.

    Groups of one prompt are alike, so their number would make the limits too narrow. The number used is that of
    independent units whose normal interval is as wide as the clustered one (Korn and Graubard 1998, Survey Methodology
    24:193). Where all units agree, the clustered interval has no width, and every prompt counts as one unit.
    """
    if np.isnan(fraction.low):
        return np.nan, np.nan
    variance, half = fraction.mean * (1 - fraction.mean), (fraction.high - fraction.low) / 2
    n = variance * (_NORMAL_QUANTILE / half) ** 2 if variance > 0 and half > 0 else fraction.n_prompts
    low, high = rate_limits(fraction.mean, n)
    return float(low), float(high)


def rate_limits(
    rate: ArrayLike, size: ArrayLike, level: float = 0.95, extra_variance: ArrayLike = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence limits of a probability that is estimated by a weighted mean of zeros and ones.

    Wilson's limits (1927, Journal of the American Statistical Association 22:209) with the effective sample size of the
    weights, ``1 / sum(l**2)`` (Kish 1965). With fewer than 1.4 successes (or failures) they would rule out too much: a
    single one decides, and its weight varies. The rate is then at least that with which a sum of a Poisson number of
    weights, uniform between zero and twice their mean, is as large as the one seen with probability ``1 - level``.

    Parameters
    ----------
    rate : array_like
        Weighted means, between 0 and 1.
    size : array_like
        Effective sample sizes, above 0; NaN gives NaN.
    level : float
        Coverage, between 0 and 1.
    extra_variance : array_like
        Variance of the means beyond ``p (1 - p) / size``, where the probability p is not that of every response.

    Returns
    -------
    tuple of ndarray of float64
        Lower and upper limits, between 0 and 1.

    Examples
    --------
    >>> low, high = rate_limits([0.0, 0.5], [20.0, 20.0])
    >>> low.round(3), high.round(3)
    (array([0.   , 0.299]), array([0.161, 0.701]))
    """
    # Slow to import, and needed only here.
    from scipy.special import ndtri

    rate, size = np.broadcast_arrays(np.asarray(rate, dtype=np.float64), np.asarray(size, dtype=np.float64))
    extra_variance = np.asarray(extra_variance, dtype=np.float64)
    z = float(ndtri(0.5 + 0.5 * level))
    # The rates p with (rate - p)**2 <= z**2 (p (1 - p) / size + extra_variance).
    whole = 1.0 + z**2 / size
    inside = rate * (1.0 - rate) / size + 0.25 * z**2 / size**2 + extra_variance * whole
    centre, spread = rate + 0.5 * z**2 / size, z * np.sqrt(inside)
    low, high = ((centre + sign * spread) / whole for sign in (-1.0, 1.0))
    low = np.minimum(low, _least_rate(rate * size, size, level))
    high = np.maximum(high, 1.0 - _least_rate((1.0 - rate) * size, size, level))
    # At either end Wilson's limit is exactly there, but for rounding.
    known = ~np.isnan(size)
    low = np.where(known & (rate <= 0.0), 0.0, np.maximum(low, 0.0))
    return low, np.where(known & (rate >= 1.0), 1.0, np.minimum(high, 1.0))


def value_limits(values, standard_error, size, level: float = 0.95, bounds=None) -> tuple[np.ndarray, np.ndarray]:
    """Limits of values with a standard error and an effective sample size: normal, or within bounds of the rewards."""
    # Slow to import, and needed only here.
    from scipy.special import ndtri

    if not (is_number(level) and 0.0 < level < 1.0):
        raise ValueError(f"level must lie between 0 and 1, got {level!r:.60}")
    if bounds is None:
        half = float(ndtri(0.5 + 0.5 * level)) * standard_error
        return values - half, values + half
    low, high = checked_bounds(bounds)
    rate = np.clip((values - low) / (high - low), 0.0, 1.0)
    # Half a reward at either end keeps the variance away from zero (Agresti and Coull 1998).
    typical = (rate * size + 0.5) / (size + 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = typical * (1.0 - typical) * ((high - low) / standard_error) ** 2
    lower, upper = rate_limits(rate, worth, level)
    return low + (high - low) * lower, low + (high - low) * upper


def checked_bounds(bounds) -> tuple[float, float]:
    """Least and largest possible response."""
    low, high = checked_array(bounds, "bounds", (2,)).tolist()
    if not low < high:
        raise ValueError(f"bounds must be the least and the largest possible response, got {bounds!r:.60}")
    return low, high


def _least_rate(successes: np.ndarray, size: np.ndarray, level: float) -> np.ndarray:
    """The limit of `rate_limits` for few successes; 1 for more."""
    from scipy.special import i0e

    # For a Poisson number of mean m the sum is at most x times the largest weight with probability
    # exp(-m) I0(2 sqrt(m x)), which falls from 1 as m grows. Of many rates most have the same number of successes.
    few = successes < _FEW
    x, place = np.unique(successes[few] / _FEW, return_inverse=True)
    least, most = np.zeros(x.shape), np.full(x.shape, 30.0)
    for _ in range(50):
        middle = 0.5 * (least + most)
        root = 2.0 * np.sqrt(middle * x)
        above = i0e(root) * np.exp(root - middle) > level
        least, most = np.where(above, middle, least), np.where(above, most, middle)
    result = np.ones(successes.shape)
    result[few] = np.minimum(least[place] * 0.5 * _FEW / size[few], 1.0)
    return result


@dataclass(frozen=True)
class Ratio:
    """A part of an estimate: ``coefficient * sum(columns) / sum(counts)``, with the numbers of columns of sums."""

    columns: Sequence[int] | np.ndarray
    counts: Sequence[int] | np.ndarray
    coefficient: float = 1.0


class ClusteredSums:
    """Sums over cells of a prompt at a time, kept so that any combination of their ratios has an interval.

    The variance of a mean under two-way clustering (Cameron, Gelbach and Miller 2011, JBES 29:238, equation 2.8) is
    that over prompts, plus that over periods, minus that over their intersections. Where this falls below the first,
    the first is taken. A ratio of sums is linearised. A single prompt, or a single period, is no sample of its kind;
    then the other alone counts. Limits use Student's t with one degree of freedom less than there are clusters of the
    rarer kind.

    A period is a block of consecutive steps, so that dependence over up to a block's length is allowed for (Bester,
    Conley and Hansen 2011, Journal of Econometrics 165:137). Its length is the power of two next to the cube root of
    the number of steps, up to ``longest``, which is one by default. As steps are added, periods are only joined in
    pairs, so that sums of a run that grows are those of the whole run. Columns of sums are numbered. Memory is 8 bytes
    a column for every prompt and period.
    """

    def __init__(self, n_columns: int, n_prompts: int = 0, n_steps: int = 0, longest: int = 1):
        # A column lies in one piece, since an interval looks at few of many.
        self._by_prompt, self._by_period = np.zeros((2, n_columns, 0))
        # Sums of products over intersections do not follow from those of shorter periods, so each length has its own.
        lengths = longest.bit_length()
        self._products = np.zeros((lengths, n_columns, n_columns))
        self._n_cells = np.zeros(lengths, dtype=np.int64)
        self._doublings = 0
        self.grow(n_prompts, n_steps)

    def grow(self, n_prompts: int, n_steps: int) -> None:
        """Expect so many prompts and steps."""
        while self._doublings < len(self._n_cells) - 1 and 8 ** (self._doublings + 1) <= 2 * n_steps:
            even = extended(self._by_period, -(-self._by_period.shape[1] // 2) * 2)
            self._by_period = even[:, ::2] + even[:, 1::2]
            self._doublings += 1
        self._by_prompt = extended(self._by_prompt, n_prompts)
        self._by_period = extended(self._by_period, -(-n_steps >> self._doublings))

    def add(self, cells: np.ndarray, prompts: np.ndarray, steps: np.ndarray) -> None:
        """Add C cells, shape (columns, C), that belong to these prompts and steps, in whole longest periods."""
        self.grow(int(prompts.max(initial=-1)) + 1, int(steps.max(initial=-1)) + 1)
        n_prompts, n_periods = self._by_prompt.shape[1], self._by_period.shape[1]
        # Columns that stay empty take neither time nor memory.
        used = np.flatnonzero(cells.any(axis=1))
        both, keys = np.ascontiguousarray(cells[used].T), (steps >> self._doublings) * n_prompts + prompts
        products = np.zeros((0, 0))
        for doublings in range(self._doublings, len(self._n_cells)):
            distinct, cluster = np.unique(keys, return_inverse=True)
            joined = doublings == self._doublings or len(distinct) < len(keys)
            if joined:
                both = _sums(both, cluster, len(distinct))
                products = both.T @ both
                keys = distinct
            if doublings == self._doublings:
                self._by_prompt[used] += _sums(both, keys % n_prompts, n_prompts).T
                self._by_period[used] += _sums(both, keys // n_prompts, n_periods).T
            self._products[doublings][np.ix_(used, used)] += products
            self._n_cells[doublings] += len(keys)
            keys = keys // n_prompts // 2 * n_prompts + keys % n_prompts

    def clear(self, column: int) -> None:
        """Forget what was added to a column."""
        self._by_prompt[column] = self._by_period[column] = 0.0
        self._products[:, column] = self._products[:, :, column] = 0.0

    def combined(self, columns: Sequence[int] | np.ndarray, weights: np.ndarray) -> ClusteredSums:
        """Sums of weighted sums of some columns; weights have the shape (new columns, columns)."""
        sums = copy(self)
        sums._by_prompt, sums._by_period = (weights @ old[columns] for old in (self._by_prompt, self._by_period))
        sums._products = weights @ self._products[:, columns][:, :, columns] @ weights.T
        return sums

    def total(self, columns: Sequence[int] | np.ndarray) -> float:
        """Sum of some columns over all cells."""
        return float(self.by_period(columns).sum())

    def by_period(self, columns: Sequence[int] | np.ndarray) -> np.ndarray:
        """Sums of some columns by period."""
        return self._by_period[columns].sum(axis=0)

    def interval(self, *ratios: Ratio) -> Interval:
        """Estimate a sum of ratios; the first one's counts are the rollouts behind it."""
        # Slow to import, and needed only here.
        from scipy.special import stdtr, stdtrit

        first = ratios[0].counts
        n_rollouts = round(self.total(first))
        n_prompts, n_periods = (int((s[first].sum(axis=0) != 0).sum()) for s in (self._by_prompt, self._by_period))
        estimate, size, direction = 0.0, 0.0, np.zeros(len(self._by_prompt))
        for ratio in ratios:
            count = self.total(ratio.counts)
            if count == 0:
                return Interval(np.nan, np.nan, np.nan, np.nan, n_rollouts, n_prompts)
            value = self.total(ratio.columns) / count
            estimate += ratio.coefficient * value
            size += abs(ratio.coefficient * value)
            direction[ratio.columns] += ratio.coefficient / count
            direction[ratio.counts] -= ratio.coefficient * value / count
        rounding = _ROUNDING * size
        estimate = estimate if abs(estimate) > rounding else 0.0
        clusters = [n for n in (n_prompts, n_periods) if n > 1]
        if not clusters:
            return Interval(estimate, np.nan, np.nan, np.nan, n_rollouts, n_prompts)
        used = np.flatnonzero(direction)
        over_prompts = _variance(direction[used] @ self._by_prompt[used], n_prompts)
        over_periods = _variance(direction[used] @ self._by_period[used], n_periods)
        products, n_cells = self._products[self._doublings], int(self._n_cells[self._doublings])
        over_both = float(direction @ products @ direction) * _correction(n_cells)
        if len(clusters) == 2:
            variance = max(over_prompts + over_periods - over_both, over_prompts)
        else:
            variance = over_prompts if n_prompts > 1 else over_periods
        error, freedom = float(np.sqrt(max(variance, 0.0))), min(clusters) - 1
        if estimate == 0 and error <= rounding:
            error = 0.0
        half = float(stdtrit(freedom, 0.975)) * error
        p_value = 2 * float(stdtr(freedom, -abs(estimate) / error)) if error > 0 else np.nan
        return Interval(estimate, error, estimate - half, estimate + half, n_rollouts, n_prompts, p_value)


def _sums(values: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    """Sums of rows by group, all columns at once."""
    # Slow to import, and needed only here.
    from scipy.sparse import csr_array

    places = (group, np.arange(len(group)))
    return csr_array((np.ones(len(group)), places), shape=(n_groups, len(group))) @ values


def _variance(residuals: np.ndarray, n_clusters: int) -> float:
    """Variance of a sum over clusters that are independent (Cochran 1977, Sampling Techniques, 2.12)."""
    return float((residuals**2).sum()) * _correction(n_clusters)


def _correction(n_clusters: int) -> float:
    return n_clusters / (n_clusters - 1) if n_clusters > 1 else 1.0
