"""Observations laid out for smoothing: sorted, equal points merged, many series end to end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

__all__ = ["Design", "running_sums", "series_order"]


@dataclass(frozen=True)
class Design:
    """Sorted distinct points with the weight and the weighted response at each.

    Merging equal points makes ties harmless: a window takes a point whole or not at all.
    """

    x: np.ndarray  # shape (m,): Distinct points, increasing within a series
    w: np.ndarray  # w, v: shape (m,): Sums of the weights and of weight times response at each point
    v: np.ndarray
    starts: np.ndarray  # shape (n_series + 1,): Where each series begins in `x`; the last entry is m
    member: np.ndarray  # shape (n,): The point of each observation, in the order of the observations
    # mates_w, mates_v: shape (n,): The same sums over the *other* observations at the observation's point; None without
    # ties.
    mates_w: np.ndarray | None
    mates_v: np.ndarray | None
    span: tuple[float, float]  # Least and largest response with weight, which no mean may leave by its rounding

    @classmethod
    def build(cls, x, y, weight=None, groups=None) -> Design:
        """The design of observations in any order."""
        order, series = series_order(x, groups)
        weight = np.ones(x.size) if weight is None else weight[order]
        ordered = cls.of_sorted(x[order], y[order], weight, series)
        back = np.empty_like(order)
        if ordered.mates_w is None:
            back[order] = ordered.member
            return replace(ordered, member=back)
        back[order] = np.arange(x.size)
        mates_w, mates_v = ordered.mates_w[back], ordered.mates_v[back]  # type: ignore[index]
        return replace(ordered, member=ordered.member[back], mates_w=mates_w, mates_v=mates_v)

    @classmethod
    def of_sorted(cls, x, y, weight, series=None) -> Design:
        """The design of observations that are in the order of `series_order`."""
        new = np.ones(x.size, dtype=bool)
        new[1:] = x[1:] != x[:-1]
        if series is not None:
            new[1:] |= series[1:] != series[:-1]
        # At ten million points most of the time goes to memory that is touched for the first time.
        firsts = member = np.arange(x.size)
        if not np.all(new):
            firsts, member = np.flatnonzero(new), np.cumsum(new)
            member -= 1
        counted = y if np.all(weight > 0.0) else y[weight > 0.0]
        span = float(np.min(counted)), float(np.max(counted))
        w, v = weight, weight * y
        mates_w = mates_v = None
        if firsts.size < x.size:
            # The sum before an observation within its point plus the sum after it: nothing is subtracted, so a light
            # observation next to a heavy one keeps its digits.
            values = np.stack([w, v])
            mates_w, mates_v = running_sums(values, firsts) + running_sums(values, firsts, backwards=True)
            w, v, x = np.add.reduceat(w, firsts), np.add.reduceat(v, firsts), x[firsts]
        changes = np.zeros(0, dtype=np.int64) if series is None else np.flatnonzero(np.diff(series[firsts]))
        starts = np.concatenate([[0], changes + 1, [x.size]]).astype(np.int64)
        return cls(x, w, v, starts, member, mates_w, mates_v, span)

    @cached_property
    def first(self) -> np.ndarray:
        """The first point of the series of each point."""
        return np.repeat(self.starts[:-1], np.diff(self.starts))

    @cached_property
    def last(self) -> np.ndarray:
        """One past the last point of the series of each point."""
        return np.repeat(self.starts[1:], np.diff(self.starts))

    @cached_property
    def spans(self) -> np.ndarray:
        """Range of the points of each series."""
        return self.x[self.starts[1:] - 1] - self.x[self.starts[:-1]]

    @cached_property
    def mean(self) -> np.ndarray:
        """Mean response at each point; zero at a point without weight."""
        return np.divide(self.v, self.w, out=np.zeros_like(self.v), where=self.w > 0.0)

    def squares(self, y, weight) -> np.ndarray:
        """Weighted sum of squares about the mean response, at each point."""
        return np.bincount(self.member, weight * (y - self.mean[self.member]) ** 2, minlength=self.x.size)

    def points(self, begin, end) -> Design:
        """The points of one series, from its first to before its last, as a design without observations."""
        nothing = np.zeros(0, dtype=np.int64)
        starts = np.array([0, end - begin], dtype=np.int64)
        x, w, v = self.x[begin:end], self.w[begin:end], self.v[begin:end]
        return replace(self, x=x, w=w, v=v, starts=starts, member=nothing, mates_w=None, mates_v=None)

    def with_targets(self, targets, series=None) -> tuple[Design, np.ndarray]:
        """The design with further points of weight zero, at which sums are wanted too, and where these are in it.

        `series` is the number of the series of each target; one past the last is a series without observations.
        """
        # Sorted targets end to end with sorted points make two runs, which a stable sort merges in O(n).
        first = np.argsort(targets, kind="stable")
        groups = None
        if series is not None:
            groups = np.append(np.repeat(np.arange(self.starts.size - 1), np.diff(self.starts)), series[first])
        x = np.append(self.x, targets[first])
        order, ranked = series_order(x, groups)
        x = x[order]
        new = np.ones(x.size, dtype=bool)
        new[1:] = x[1:] != x[:-1]
        starts = np.array([0, np.count_nonzero(new)], dtype=np.int64)
        if ranked is not None:
            new[1:] |= ranked[1:] != ranked[:-1]
            starts = np.append(np.flatnonzero(np.diff(ranked[new], prepend=-1)), np.count_nonzero(new))
        place = np.empty(x.size, dtype=np.int64)
        ranks = np.cumsum(new)
        ranks -= 1
        place[order] = ranks
        where, there = place[: self.x.size], np.empty(targets.size, dtype=np.int64)
        there[first] = place[self.x.size :]
        x = x[new]
        w, v = np.zeros(x.size), np.zeros(x.size)
        w[where], v[where] = self.w, self.v
        return replace(self, x=x, w=w, v=v, starts=starts, member=where, mates_w=None, mates_v=None), there


def series_order(x, groups=None):
    """The order of observations by series and x, and the number of each one's series in that order (None for one)."""
    if groups is None:
        return np.argsort(x, kind="stable"), None
    series = np.unique(groups, return_inverse=True)[1].ravel()
    order = np.lexsort((x, series))
    return order, series[order]


def running_sums(values, firsts, *, backwards=False, inclusive=False):
    """Sums along axis 1 from the start (or the end) of each block up to each element.

    One cumulative sum runs over everything, and the total of a block is taken out where the next one begins; what
    rounding leaves there is then subtracted. A block's sums so carry the rounding of that block alone, which a
    difference of two long prefix sums does not.
    """
    n = values.shape[1]
    if backwards:
        lasts = n - np.append(firsts[1:], n)[::-1]
        return running_sums(values[:, ::-1], lasts, inclusive=inclusive)[:, ::-1]
    totals = np.add.reduceat(values, firsts, axis=1)
    steps = values.copy()
    steps[:, firsts[1:]] -= totals[:, :-1]
    sums = np.cumsum(steps, axis=1, out=steps)
    # The sum just before a block should be zero with the total of the block before taken out.
    residue = np.zeros_like(totals)
    residue[:, 1:] = sums[:, firsts[1:]] - values[:, firsts[1:]]
    sums -= np.repeat(residue, np.diff(np.append(firsts, n)), axis=1)
    if inclusive:
        return sums
    before = np.zeros_like(sums)
    before[:, 1:] = sums[:, :-1]
    before[:, firsts] = 0.0
    return before
