"""How many groups have equal rewards, and how many must if none are left out."""

from __future__ import annotations

import numpy as np

from kvar.auditing.groups import Groups

__all__ = ["EqualGroups"]

# More different rewards are no levels.
_MOST_LEVELS = 64


class EqualGroups:
    """Counts groups by size, and the rewards that all but one or all but two of a group are equal to."""

    def __init__(self):
        self._n = np.zeros((3, 2), dtype=np.int64)
        self._levels: set[float] = set()

    def add(self, groups: Groups) -> None:
        """Add some groups."""
        grouped = groups.count > 1
        if not grouped.any():
            return
        count = groups.count[grouped]
        weights = (None, groups.one_off[grouped], groups.two_off[grouped])
        found = np.array([np.bincount(count, w) for w in weights]).astype(np.int64)
        if found.shape[1] > self._n.shape[1]:
            self._n = np.pad(self._n, ((0, 0), (0, found.shape[1] - self._n.shape[1])))
        self._n[:, : found.shape[1]] += found
        if len(self._levels) <= _MOST_LEVELS:
            self._levels.update(np.unique([groups.low[grouped], groups.high[grouped]])[: _MOST_LEVELS + 1].tolist())

    def expected(self) -> float:
        """Least number of groups with equal rewards that are expected if none are left out.

        The G rewards of a group are independent draws from L values with some probabilities p, which differ between
        groups. All are equal with probability ``x = E sum p^G``, at least ``L^(1 - G)`` by Jensen's inequality. By that
        of Cauchy and Schwarz ``E sum p^G * E sum p^(G - 2) >= (E sum p^(G - 1))^2``, and as ``sum p^k`` is the
        probability that k draws are equal, ``x >= a^2 (G - 1) / (2 G b)``, where a and b are the expected numbers of
        values that G - 1 and G - 2 rewards of a group are equal to. Two standard errors are taken off.
        """
        total = 0.0
        for size in range(2, self._n.shape[1]):
            n, one_off, two_off = map(float, self._n[:, size])
            levels = float(len(self._levels))
            by_levels = n * levels ** (1 - size) if levels <= _MOST_LEVELS else 0.0
            low, high = max(one_off - 2 * one_off**0.5, 0.0), two_off + 2 * two_off**0.5 + 2
            by_copies = low**2 * (size - 1) / (2 * size * high) if size > 2 else 0.0
            total += max(by_levels, by_copies)
        return total
