"""Observations laid out for smoothing: sorted, equal points merged, many series side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Design", "running_sums"]


@dataclass(frozen=True)
class Design:
    """Sorted distinct points with the weight and the weighted response at each.

    Merging equal points makes ties harmless: a window takes a point whole or not at all.

    Attributes
    ----------
    x : ndarray of float64, shape (m,)
        Distinct points, increasing within a series.
    w, v : ndarray of float64, shape (m,)
        Sums of the weights and of weight times response at each point.
    starts : ndarray of int64, shape (n_series + 1,)
        Where each series begins in `x`; the last entry is m.
    member : ndarray of int64, shape (n,)
        The point of each observation, in the order the observations came.
    mates_w, mates_v : ndarray of float64, shape (n,), or None
        The same sums over the *other* observations at the observation's point; None without ties.
    """

    x: np.ndarray
    w: np.ndarray
    v: np.ndarray
    starts: np.ndarray
    member: np.ndarray
    mates_w: np.ndarray | None
    mates_v: np.ndarray | None

    @classmethod
    def build(cls, x, y, weight=None, groups=None) -> Design:
        """Sort and merge."""
        n = x.size
        weight = np.ones(n) if weight is None else weight
        if groups is None:
            order = np.argsort(x, kind="stable")
            series = None
        else:
            series = np.unique(groups, return_inverse=True)[1].ravel()
            order = np.lexsort((x, series))
            series = series[order]
        x, w = x[order], weight[order]
        v = w * y[order]
        new = np.ones(n, dtype=bool)
        new[1:] = x[1:] != x[:-1]
        if series is not None:
            new[1:] |= series[1:] != series[:-1]
        member = np.empty(n, dtype=np.int64)
        member[order] = np.cumsum(new) - 1
        firsts = np.flatnonzero(new)
        mates_w = mates_v = None
        if firsts.size < n:
            mates_w, mates_v = np.empty(n), np.empty(n)
            # What lies before plus what lies after an observation within its point: nothing is subtracted, so a
            # light observation beside a heavy one keeps its digits.
            values = np.stack([w, v])
            others = running_sums(values, firsts) + running_sums(values, firsts, backwards=True)
            mates_w[order], mates_v[order] = others
            w, v, x = np.add.reduceat(w, firsts), np.add.reduceat(v, firsts), x[firsts]
        if series is None:
            starts = np.array([0, x.size], dtype=np.int64)
        else:
            series = series[firsts]
            starts = np.concatenate([[0], np.flatnonzero(series[1:] != series[:-1]) + 1, [x.size]]).astype(np.int64)
        return cls(x, w, v, starts, member, mates_w, mates_v)

    def with_targets(self, targets) -> tuple[Design, np.ndarray]:
        """The design with further points of weight zero, at which sums are wanted too."""
        union = np.union1d(self.x, targets)
        w, v = np.zeros(union.size), np.zeros(union.size)
        where = np.searchsorted(union, self.x)
        w[where], v[where] = self.w, self.v
        starts = np.array([0, union.size], dtype=np.int64)
        return Design(union, w, v, starts, where, None, None), np.searchsorted(union, targets)


def running_sums(values, firsts, *, backwards=False, inclusive=False):
    """Sums from the start (or the end) of each block up to each element.

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


def positions(design: Design):
    """Place of each point in its series."""
    sizes = np.diff(design.starts)
    return np.arange(design.x.size) - np.repeat(design.starts[:-1], sizes), np.repeat(sizes, sizes)
