"""The data and the estimator that a bandwidth criterion scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kvar.kernels import CompactKernel, Kernel
from kvar.smoothing.data_checks import check_data, check_groups
from kvar.smoothing.design import Design, series_order

__all__ = ["Problem"]

# An observation whose neighbours are so many times as far away as those of the median one stands apart. Of points that
# are thrown at random, up to about n = 2,000, none does.
_APART = 10.0


@dataclass(frozen=True)
class Problem:
    """The data and the estimator that a criterion scores."""

    design: Design  # The points, of one or many series
    y: np.ndarray  # y, weight: shape (n,): Responses and positive weights, in the order of the design
    weight: np.ndarray
    kernel: Kernel  # The weight function
    degree: int  # Local mean or local line
    past: bool  # Strictly earlier points only
    # ``"nan"`` rejects a bandwidth that leaves an observation in `required` without neighbour, ``"nearest"`` none.
    empty: str
    # x_unit, y_unit: Powers of two that x and y were divided by, so that no power of them leaves double precision
    x_unit: float
    y_unit: float
    whole_step: bool = False  # An observation is predicted without those at its own x

    @classmethod
    def build(cls, x, y, weight, groups, **estimator) -> Problem:
        """Check the data, drop observations of weight zero, sort once, and put x and y on a common scale.

        Each series is measured from its first response. No criterion depends on that, but equal responses become zeros,
        whose fits have no rounding.
        """
        x, y, weight = check_data(x, y, weight)
        weight = np.ones(y.size) if weight is None else weight
        keep = weight > 0.0
        if groups is not None:
            groups = check_groups(groups, y.size)[keep]
        x, y, weight = x[keep], y[keep], weight[keep]
        # In this order no pass over a candidate jumps about in memory.
        order, series = series_order(x, groups)
        x, y, weight = x[order], y[order], weight[order]
        firsts = np.zeros(1, dtype=np.int64) if series is None else np.flatnonzero(np.diff(series, prepend=-1))
        y = y - np.repeat(y[firsts], np.diff(firsts, append=y.size))
        x_unit, y_unit = _power_of_two(np.max(np.abs(x))), _power_of_two(np.max(np.abs(y)))
        x, y = x / x_unit, y / y_unit
        problem = cls(Design.of_sorted(x, y, weight, series), y, weight, **estimator, x_unit=x_unit, y_unit=y_unit)
        if not np.any(problem.scored):
            neighbours = ("a neighbour", "two neighbours", "three neighbours")[problem.degree]
            raise ValueError(f"no observation has {neighbours} to be predicted from; give more points per series")
        return problem

    @cached_property
    def needed(self) -> np.ndarray:
        """Distance to the other (earlier) point number ``degree + 1`` of an observation; infinite where none is."""
        design, n_others = self.design, self.degree + 1
        index = np.arange(design.x.size)

        def gap(count, available, sign):
            far = np.clip(index + sign * count, 0, design.x.size - 1)
            return np.where(available >= count, np.abs(design.x[far] - design.x), math.inf)

        gaps = [gap(count, index - design.first, -1) for count in range(1, n_others + 1)]
        if not self.past:
            gaps += [gap(count, design.last - 1 - index, 1) for count in range(1, n_others + 1)]
        distances = np.sort(np.stack(gaps), axis=0)[:, design.member]
        if not (self.past or self.whole_step) and design.mates_w is not None:
            # Another observation at the same x is a neighbour at distance zero.
            nearer = np.vstack([np.zeros(design.member.size), distances[:-1]])
            distances = np.where(design.mates_w > 0.0, nearer, distances)
        return distances[n_others - 1]

    @cached_property
    def share(self) -> np.ndarray:
        """Part of the weight at its point that an observation has."""
        return self.weight / self.design.w[self.design.member]

    @cached_property
    def scored(self) -> np.ndarray:
        """Whether some bandwidth serves an observation; if none does, it counts in no score."""
        return np.isfinite(self.needed)

    @cached_property
    def served(self) -> np.ndarray:
        """Whether an observation is scored and does not stand apart, so that the least default candidate serves it."""
        apart = self.needed[self.scored & (self.needed > 0.0)]
        return self.scored & (self.needed <= (_APART * np.median(apart) if apart.size else 0.0))

    @cached_property
    def required(self) -> np.ndarray:
        """Whether a candidate that leaves an observation without a neighbour is rejected.

        An observation that stands apart is answered for by the nearest one instead, so that it does not force all
        candidates to bridge its gap. Kernels with tails have no empty window.
        """
        if self.empty == "nearest" or not isinstance(self.kernel, CompactKernel):
            return np.zeros(self.y.size, dtype=bool)
        return self.served

    @cached_property
    def forced_by_one(self) -> float:
        """The distance below which candidates are rejected on account of a single observation; zero if none is."""
        needed = self.needed[self.required]
        if needed.size < 2:
            return 0.0
        second, largest = np.partition(needed, -2)[-2:]
        return float(largest) if largest > 2.0 * second > 0.0 else 0.0


def _power_of_two(size) -> float:
    """The power of two at or below a size; one for zero."""
    return math.ldexp(0.5, math.frexp(size)[1]) if size > 0.0 else 1.0
