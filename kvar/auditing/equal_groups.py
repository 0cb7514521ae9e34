"""How many groups have equal rewards, and how many must if none are left out."""

from __future__ import annotations

import numpy as np

from kvar.auditing.groups import Groups

__all__ = ["EqualGroups"]

# More different rewards are no levels.
_MOST_LEVELS = 64


class EqualGroups:
    """Counts groups by size, and those in which all rewards but one are equal."""

    def __init__(self):
        self._n = np.zeros((2, 2), dtype=np.int64)
        self._levels: set[float] = set()

    def add(self, groups: Groups) -> None:
        """Add some groups."""
        grouped = groups.count > 1
        if not grouped.any():
            return
        count, mean, low, high = (x[grouped] for x in (groups.count, groups.mean, groups.low, groups.high))
        span = high - low
        one_off = np.isclose(groups.variance[grouped] * count, span**2, rtol=1e-6, atol=0.0) & (span > 0)
        edge = np.minimum(mean - low, high - mean)
        one_off &= np.isclose(edge * count, span, rtol=1e-6, atol=0.0)
        found = np.array([np.bincount(count), np.bincount(count[one_off], minlength=count.max() + 1)])
        if found.shape[1] > self._n.shape[1]:
            self._n = np.pad(self._n, ((0, 0), (0, found.shape[1] - self._n.shape[1])))
        self._n[:, : found.shape[1]] += found
        if len(self._levels) <= _MOST_LEVELS:
            self._levels.update(np.unique([low, high]).tolist()[: _MOST_LEVELS + 1])

    def expected(self) -> float:
        """Least number of groups with equal rewards that are expected if none are left out.

        The rewards of a group of G are independent draws from L values with some probabilities p, which differ between
        groups. By Jensen's inequality the mean of ``sum p^G``, the probability that all are equal, is at least
        ``L^(1 - G)``, and at least the power ``(G - 1) / (G - 2)`` of the mean of ``sum p^(G - 1)``. A group in which
        all but one are equal has one such subset of G - 1 among its G.
        """
        total = 0.0
        for size in range(2, self._n.shape[1]):
            n, one_off = self._n[:, size]
            if n:
                levels = len(self._levels)
                by_levels = float(levels) ** (1 - size) if levels <= _MOST_LEVELS else 0.0
                by_subsets = (one_off / (n * size)) ** ((size - 1) / (size - 2)) if size > 2 else 0.0
                total += n * max(by_levels, by_subsets)
        return total
