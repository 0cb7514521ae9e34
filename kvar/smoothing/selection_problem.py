"""The data and the estimator that a bandwidth criterion scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kvar.kernels import Kernel
from kvar.smoothing.data_checks import check_data, check_groups
from kvar.smoothing.design import Design, series_order

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """The data and the estimator that a criterion scores."""

    design: Design  # The points, of one or many series
    y: np.ndarray  # y, weight: shape (n,): Responses and positive weights, in the order of the design
    weight: np.ndarray
    kernel: Kernel  # The weight function
    degree: int  # Local mean or local line
    past: bool  # Strictly earlier points only
    # ``"nan"`` rejects a bandwidth that leaves a scored observation without neighbour, ``"nearest"`` answers for it.
    empty: str
    whole_step: bool = False  # An observation is predicted without those at its own x

    @classmethod
    def build(cls, x, y, weight, groups, **estimator) -> Problem:
        """Check the data, drop observations of weight zero, and sort once."""
        x, y, weight = check_data(x, y, weight)
        weight = np.ones(y.size) if weight is None else weight
        keep = weight > 0.0
        if groups is not None:
            groups = check_groups(groups, y.size)[keep]
        x, y, weight = x[keep], y[keep], weight[keep]
        # In this order no pass over a candidate jumps about in memory.
        order, series = series_order(x, groups)
        x, y, weight = x[order], y[order], weight[order]
        problem = cls(Design.of_sorted(x, y, weight, series), y, weight, **estimator)
        if not np.any(problem.scored):
            raise ValueError("no observation has a neighbour to be predicted from; give more points per series")
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
    def scored(self) -> np.ndarray:
        """Whether some bandwidth serves an observation; if none does, it counts in no score."""
        return np.isfinite(self.needed)
