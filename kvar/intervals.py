"""95 % confidence intervals: of a plain mean over independent repetitions, and of means over rollouts.

Rollouts are not independent: those of one prompt depend on each other, and so do those of neighbouring steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["ClusteredSums", "Interval", "Mean", "MeanInterval", "mean_interval"]

# Of the sums that an estimate is made of: what is smaller is their rounding, and would pass for a clear difference.
_ROUNDING = 1e-12


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
        Of the mean. Rollouts of one prompt may depend on each other in any way, and so may rollouts of one period,
        which share the policy and, for some baselines, the value.
    low, high : float
        Limits of the 95 % confidence interval.
    n_rollouts : int
        Rollouts behind it.
    n_prompts : int
        Prompts that they belong to.
    p_value : float
        Of the two-sided test that the true mean is 0. For the difference of two baselines' errors this is the test of
        Diebold and Mariano (1995, JBES 13:253) with a variance that allows for both kinds of dependence.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    n_rollouts: int
    n_prompts: int
    p_value: float = np.nan

    @classmethod
    def over_prompts_and_steps(cls, values: np.ndarray, prompts: np.ndarray, steps: np.ndarray) -> Interval:
        """Mean of values that are dependent within prompts and within steps.

        Parameters
        ----------
        values : ndarray, shape (n,)
            NaN is left out and not counted.
        prompts, steps : ndarray of int, shape (n,)
            Which prompt and which step each value belongs to, numbered from 0.

        Returns
        -------
        Interval
            See `ClusteredSums`.
        """
        kept = ~np.isnan(values)
        values, prompts, steps = values[kept], prompts[kept], steps[kept]
        if values.size == 0:
            return cls(np.nan, np.nan, np.nan, np.nan, 0, 0)
        sums = ClusteredSums(("count", "value"), int(prompts.max()) + 1, int(steps.max()) + 1)
        sums.add({"count": np.ones(values.size), "value": values}, prompts, steps)
        return sums.interval({"value": Mean("count")})


@dataclass(frozen=True)
class Mean:
    """How a column of sums enters an estimate: ``coefficient * sum(column) / sum(count)``.

    Attributes
    ----------
    count : str
        Column of the numbers of rollouts that the sums are over.
    coefficient : float
        Factor.
    """

    count: str
    coefficient: float = 1.0


class ClusteredSums:
    """Sums over cells of a prompt at a time, kept so that any combination of their means has an interval.

    The variance of a mean under two-way clustering (Cameron, Gelbach and Miller 2011, JBES 29:238, equation 2.8) is
    that over prompts, plus that over periods, minus that over their intersections; where this falls below the first,
    the first stands. A ratio of sums is taken at its derivative. A single prompt, or a single period, is no sample of
    its kind, and then the other alone counts. Limits use Student's t with one degree of freedom less than there are
    clusters of the rarer kind.

    Parameters
    ----------
    columns : sequence of str
        Names of the sums.
    n_prompts, n_periods : int
        Numbers of clusters.

    Notes
    -----
    A period is a block of consecutive steps, so that dependence over up to a block's length is allowed for (Bester,
    Conley and Hansen 2011, Journal of Econometrics 165:137). Memory is 8 bytes a column for every prompt and period.
    """

    def __init__(self, columns: Sequence[str], n_prompts: int, n_periods: int):
        self._place = {name: k for k, name in enumerate(columns)}
        width = len(self._place)
        # A column lies in one piece, since an interval looks at few of many.
        self._by_prompt = np.zeros((width, n_prompts))
        self._by_period = np.zeros((width, n_periods))
        self._products = np.zeros((width, width))
        self._n_cells = 0

    @property
    def columns(self) -> list[str]:
        """Names of the sums."""
        return list(self._place)

    def add(self, cells: Mapping[str, np.ndarray], prompts: np.ndarray, periods: np.ndarray) -> None:
        """Take in some cells."""
        n_prompts, n_periods = self._by_prompt.shape[1], self._by_period.shape[1]
        values = np.column_stack(list(cells.values()))
        places = [self._place[name] for name in cells]
        keys, cluster = np.unique(periods * n_prompts + prompts, return_inverse=True)
        both = _sums(values, cluster, len(keys))
        self._by_prompt[places] += _sums(both, keys % n_prompts, n_prompts).T
        self._by_period[places] += _sums(both, keys // n_prompts, n_periods).T
        self._products[np.ix_(places, places)] += both.T @ both
        self._n_cells += len(keys)

    def combine(self, columns: Mapping[str, Sequence[str]]) -> None:
        """Replace columns by sums of columns."""
        change = np.eye(len(self._place))
        for name, parts in columns.items():
            change[:, self._place[name]] = 0.0
            change[[self._place[part] for part in parts], self._place[name]] = 1.0
        self._by_prompt = change.T @ self._by_prompt
        self._by_period = change.T @ self._by_period
        self._products = change.T @ self._products @ change

    def total(self, column: str) -> float:
        """Sum of a column over all cells."""
        return float(self._by_period[self._place[column]].sum())

    def by_period(self, column: str) -> np.ndarray:
        """Sums of a column by period."""
        return self._by_period[self._place[column]].copy()

    def interval(self, means: Mapping[str, Mean]) -> Interval:
        """Estimate a sum of means."""
        # Slow to import, and needed only here.
        from scipy.special import stdtr, stdtrit

        first = next(iter(means.values())).count
        behind = self._by_prompt[self._place[first]] != 0
        n_rollouts, n_prompts = round(self.total(first)), int(behind.sum())
        estimate, size, direction = 0.0, 0.0, np.zeros(len(self._place))
        for column, mean in means.items():
            count = self.total(mean.count)
            if count == 0:
                return Interval(np.nan, np.nan, np.nan, np.nan, n_rollouts, n_prompts)
            value = self.total(column) / count
            estimate += mean.coefficient * value
            size += abs(mean.coefficient * value)
            direction[self._place[column]] += mean.coefficient / count
            direction[self._place[mean.count]] -= mean.coefficient * value / count
        rounding = _ROUNDING * size
        estimate = estimate if abs(estimate) > rounding else 0.0
        n_periods = int((self._by_period[self._place[first]] != 0).sum())
        clusters = [n for n in (n_prompts, n_periods) if n > 1]
        if not clusters:
            return Interval(estimate, np.nan, np.nan, np.nan, n_rollouts, n_prompts)
        used = np.flatnonzero(direction)
        over_prompts = _variance(direction[used] @ self._by_prompt[used], n_prompts)
        over_periods = _variance(direction[used] @ self._by_period[used], n_periods)
        over_both = float(direction @ self._products @ direction) * _correction(self._n_cells)
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
