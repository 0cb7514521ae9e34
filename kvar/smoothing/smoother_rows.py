"""Rows of the smoother matrix of local polynomials: the weight that a fit gives to each response."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kvar.kernels import Kernel
from kvar.smoothing.design import Design

__all__ = ["by_series", "smoother_matrix", "smoother_rows"]

# Numbers in a block, which bounds the memory.
_BLOCK = 1 << 20
# Variance of a polynomial over the window, relative to its largest, below which the window holds too few points for it.
_NO_VARIANCE = 1e-12


def smoother_rows(
    design: Design, targets, kernel: Kernel, h: float, *, past: bool, degree: int
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Blocks ``(rows, columns, weights)`` for increasing targets and one series: cost O(targets times window).

    The weights of `rows` of the targets on the mean responses at `columns` of the points; all others are zero. The last
    target of a block is the first of the next. A row is NaN where the window holds too few points for the degree, up
    to 2. Polynomials are orthogonal under the weights of the window, so that nothing is inverted.
    """
    reach = kernel.reach * h * (1.0 + 1e-9)
    low = np.searchsorted(design.x, targets - reach)
    high = np.searchsorted(design.x, targets, side="left") if past else np.searchsorted(design.x, targets + reach)
    begin, stop = 0, 0
    while stop < targets.size:
        # Two targets at least, or no block would come further than the one before.
        stop = min(begin + 2, targets.size)
        while stop < targets.size and (stop + 1 - begin) * (high[stop] - low[begin]) <= _BLOCK:
            stop += 1
        first = min(int(low[begin]), design.x.size - 1)
        columns = slice(first, max(int(high[stop - 1]), first + 1))
        u = (design.x[columns] - targets[begin:stop, None]) / h
        mass = design.w[columns] * kernel(np.abs(u))
        if past:
            mass = np.where(u < 0.0, mass, 0.0)
        yield slice(begin, stop), columns, _rows(u, mass, degree)
        begin = stop - 1


def smoother_matrix(design: Design, kernel: Kernel, h: float, *, past: bool, degree: int) -> np.ndarray:
    """The rows at all points of a design, shape (m, m)."""
    matrix = np.zeros((design.x.size, design.x.size))
    for begin, end in zip(design.starts[:-1], design.starts[1:], strict=True):
        part = design.points(begin, end)
        for rows, columns, weights in smoother_rows(part, part.x, kernel, h, past=past, degree=degree):
            matrix[begin:end, begin:end][rows, columns] = weights
    return matrix


def by_series(design: Design, targets, series) -> Iterator[tuple[Design, slice | np.ndarray]]:
    """Each series that has targets, as a design of its own, and which targets these are; `series` is None for one."""
    if series is None:
        yield design, slice(None)
        return
    for number in np.unique(series[series < design.starts.size - 1]):
        yield design.points(*design.starts[number : number + 2]), series == number


def _rows(u, mass, degree):
    with np.errstate(divide="ignore", invalid="ignore"):
        mass = mass / np.sum(mass, axis=1, keepdims=True)
        if degree == 0:
            return mass
        mean = np.sum(mass * u, axis=1, keepdims=True)
        spread = np.sqrt(np.sum(mass * (u - mean) ** 2, axis=1, keepdims=True))
        spread = np.where(spread**2 > _NO_VARIANCE * np.max(mass * u**2, axis=1, keepdims=True), spread, np.nan)
        z, at = (u - mean) / spread, -mean / spread
        rows = 1.0 + at * z
        if degree == 2:
            skew = np.sum(mass * z**3, axis=1, keepdims=True)
            parabola = z**2 - skew * z - 1.0
            variance = np.sum(mass * parabola**2, axis=1, keepdims=True)
            variance = np.where(variance > _NO_VARIANCE, variance, np.nan)
            rows = rows + (at**2 - skew * at - 1.0) * parabola / variance
        return mass * rows
