"""Kernel sums over the neighbours of every point of a design: exact, and O(n) for the compact kernels.

A compact kernel is a polynomial in the distance, so the sum of ``w_j K((x_j - t) / h)`` over one side of t is a
polynomial in t whose coefficients are moments of the neighbours (fast sum updating: Langrene and Warin 2019). Moments
over a window taken as the difference of two long prefix sums lose all digits. Here the points are cut into cells at
most h wide. The window of a point then holds its own cell whole and ends inside the two adjacent cells, so running sums
within a cell are all that is needed, and nothing long is subtracted. Distances ``a + b`` are split at the edge between
target and neighbours, where both parts are positive and their powers cancel nothing. Where little weight remains, or
too little spread for a slope, the window is summed neighbour by neighbour.

The sums of a point leave out the point itself, whose part is known exactly: ``K(0)`` times its weight. A leave-one-out
fit does not add it.

With numba installed the same algorithm runs compiled (`kvar.smoothing.sums.compiled`), about ten times faster.

References
----------
Langrene, N. and Warin, X. (2019). Fast and stable multivariate kernel density estimation by fast sum updating. Journal
of Computational and Graphical Statistics 28, 596-608.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.polynomial import polynomial

from kvar.kernels import EXPONENTIAL, CompactKernel, Kernel
from kvar.smoothing.design import Design, running_sums
from kvar.smoothing.sums import engine
from kvar.smoothing.sums.direct import direct_sums, exponential_sums
from kvar.smoothing.sums.fft import binned_sums, grid_steps

__all__ = ["neighbour_sums", "window_ends"]

# Direct sums where the kernel weight falls below this fraction of the weight in the window (times K(0)), ...
_LIGHT = 1e-3
# ... and where the rounding of the moments, blown up by dividing by the spread, would exceed about 1e-13.
_TRUST = 300.0
# Up to this many moments the compiled loops are unrolled; beyond it one loop serves all kernels.
_UNROLLED = 5
# Pairs of points that take the time of one grid step of the Gaussian kernel's transforms.
_PAIRS_A_STEP = 8
# Points a block of cells holds at least: few enough for its arrays to stay in cache, many enough to hide the overhead.
_BLOCK_POINTS = 1 << 14


def neighbour_sums(
    design: Design, kernel: Kernel, h: float, *, past: bool, degree: int, squared=False, tolerance=0.0, power=0
):
    """Kernel sums over the other (earlier) points in the window of every point: float64, (2, m) or (5, m).

    With k_j the kernel weight (squared: its square) and ``u_j = (x_j - t) / h`` the rows are ``sum w_j k_j``,
    ``sum v_j k_j`` and for degree 1 the weighted mean of u, ``sum w_j k_j (u_j - mean)**2`` and
    ``sum k_j (u_j - mean) v_j``. Local means with the Gaussian kernel may err by `tolerance` times the range of the
    responses. A `power` of the distance, even and for compact kernels only, multiplies the kernel.
    """
    m = design.x.size
    if not h > 0.0:
        raise ValueError(f"bandwidth must be positive, got {h!r}")  # no cell of points would ever end
    if isinstance(kernel, CompactKernel):
        tables = _tables(kernel, degree, squared, power)
        factors = (float(tables[0, 0, 0]), kernel.base, kernel.power * (2 if squared else 1))
        if engine.numba_installed():
            out = np.zeros((2 if degree == 0 else 5, m))
            _compiled().compact_sums(
                design.x, design.w, design.v, design.starts, h, tables, _unroll(tables), *factors[1:], past,
                degree == 1, _LIGHT, _TRUST, out,
            )  # fmt: skip
            return out
        # Distances in bandwidths may exceed the largest double; the sums that they spoil are made directly.
        with np.errstate(over="ignore", invalid="ignore"):
            return _compact_sums(design, h, tables, factors, past, degree)
    if kernel is EXPONENTIAL:
        return exponential_sums(design, h, degree, 2.0 if squared else 1.0)
    return _gaussian_sums(design, kernel, h, past, degree, squared, tolerance)


def _gaussian_sums(design, kernel, h, past, degree, squared, tolerance):
    m = design.x.size
    here = np.arange(m)
    out = np.empty((2 if degree == 0 else 5, m))
    first = design.first
    last = np.arange(m) if past else design.last
    low, high = window_ends(design, 10.0 * h)  # exp(-50): what is left out weighs under 1e-21 of K(0)
    high = np.minimum(high, last)
    binned = tolerance > 0.0 and degree == 0 and not past and not squared and design.starts.size == 2
    # Of few points the pairs are quicker than a fine grid.
    if binned and (high - low).sum() > _PAIRS_A_STEP * grid_steps(design, h, tolerance):
        out[:], safe = binned_sums(design, h, tolerance)
        here = np.flatnonzero(~safe)

    def weigh(u):
        return kernel(u) ** 2 if squared else kernel(u)

    out[:, here] = direct_sums(design, here, low[here], high[here], h, weigh, degree)
    # An isolated point has its weight from the far ones alone.
    lonely = here[out[0, here] < 1e-8 * np.sum(design.w) * weigh(0.0)]
    out[:, lonely] = direct_sums(design, lonely, first[lonely], last[lonely], h, weigh, degree)
    return out


@cache
def _compiled():
    from kvar.smoothing.sums import compiled

    return compiled


def _unroll(tables):
    n = tables.shape[1]
    return (0,) * n if n <= _UNROLLED else ()


@cache
def _tables(kernel, degree, squared, shift=0):
    """``(a + b)**r K(a + b)`` for r = 0 (1, 2), as polynomials: entry [r, m, l] multiplies ``b**m a**l``.

    A `shift` makes the r larger.
    """
    coefficients = np.array(kernel.coefficients)
    if squared:
        coefficients = polynomial.polymul(coefficients, coefficients)
    coefficients = np.append(np.zeros(shift), coefficients)
    orders = range(3 if degree == 1 else 1)
    n = coefficients.size + orders[-1]
    tables = np.zeros((len(orders), n, n))
    for r in orders:
        for k, c in enumerate(coefficients):
            for m in range(k + r + 1):
                tables[r, m, k + r - m] = c * math.comb(k + r, m)
    return tables


def window_ends(design: Design, h: float) -> tuple[np.ndarray, np.ndarray]:
    """The points j within h of each point i, in its own series: ``low[i] <= j < high[i]``."""
    x, starts, last = design.x, design.starts, design.last
    if starts.size == 2:
        line = x
    else:
        # Series end to end on one line, more than a window apart.
        offsets = np.concatenate([[0.0], np.cumsum(design.spans[:-1] + 3.0 * h)])
        line = np.repeat(offsets - x[starts[:-1]], np.diff(starts)) + x
    high = np.minimum(np.searchsorted(line, line + h, side="right"), last)
    # The search compares sums that were rounded; the rule is about differences.
    wrong = np.flatnonzero(x[high - 1] - x > h)
    while wrong.size:
        high[wrong] -= 1
        wrong = wrong[x[high[wrong] - 1] - x[wrong] > h]
    short = np.flatnonzero((high < last) & (x[np.minimum(high, x.size - 1)] - x <= h))
    while short.size:
        high[short] += 1
        short = short[(high[short] < last[short])]
        short = short[x[high[short]] - x[short] <= h]
    low = np.cumsum(np.bincount(high, minlength=x.size + 1))[: x.size]
    return low, high


def _cells(high, m):
    """Where cells begin that each end with the window of their first point."""
    firsts, i = [], 0
    while i < m:
        firsts.append(i)
        i = int(high[i])
    return np.array(firsts, dtype=np.int64)


def _compact_sums(design, h, tables, factors, past, degree):
    """The algorithm of the module in NumPy, a block of cells at a time."""
    m = design.x.size
    low, high = window_ends(design, h)
    firsts = _cells(high, m)
    bounds = np.append(firsts, m)
    out = np.zeros((2 if degree == 0 else 5, m))
    mass = np.zeros(m)
    begin = 0
    while begin < firsts.size:
        stop = max(int(np.searchsorted(firsts, firsts[begin] + _BLOCK_POINTS)), begin + 1)
        target = slice(firsts[begin], bounds[stop])
        _add_block(design, bounds, begin, stop, low, high, h, tables, past, out[:, target], mass[target])
        begin = stop
    scale, base, power = factors
    weight = out[0]
    doubtful = ~(weight > _LIGHT * scale * mass)
    if degree == 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            offset = out[2] / weight
            variance = out[3] / weight - offset**2
            spread = np.sqrt(np.maximum(variance, 0.0))
            doubtful |= ~((np.abs(offset) + variance) * mass * scale < _TRUST * variance * spread * weight)
            out[2], out[3], out[4] = offset, variance * weight, out[4] - offset * out[1]
    here = np.flatnonzero(doubtful)
    if here.size:
        end = here if past else high[here]

        def weigh(u):
            return scale * (1.0 - np.abs(u) ** base) ** power

        out[:, here] = direct_sums(design, here, low[here], end, h, weigh, degree)
    return out


def _add_block(design, bounds, begin, stop, low, high, h, tables, past, totals, mass):
    """Add the four parts of the windows of the targets in the cells ``begin <= c < stop`` to their sums."""
    x, n = design.x, tables.shape[1]
    here = np.arange(bounds[begin], bounds[stop])
    own = bounds[begin : stop + 1]
    cell = np.repeat(np.arange(begin, stop), np.diff(own))
    first, last = bounds[cell], bounds[cell + 1] - 1

    def add(cells, origins, origin, side, backwards, end, reached):
        """Add the neighbours on one side, from the start (or end) of their cells up to the points `end`.

        `cells` are the bounds of these cells. `origins` (one per cell) and `origin` (one per target) are where the
        distance between neighbour and target is split.
        """
        if cells.size < 2:
            return
        b = side * (x[cells[0] : cells[-1]] - np.repeat(origins, np.diff(cells))) / h
        a = side * (origin - x[here]) / h
        powers = np.stack([design.w[cells[0] : cells[-1]], design.v[cells[0] : cells[-1]]])
        beyond = np.flatnonzero(~reached)
        for k in range(n):
            if k > 0:
                powers *= b
            sums = running_sums(powers, cells[:-1] - cells[0], backwards=backwards, inclusive=True)
            found = sums.take(end - cells[0], axis=1, mode="clip")
            found[:, beyond] = 0.0
            if k == 0:
                mass[:] += found[0]
            # Row r of degree 1 has the kernel times the r-th power of the signed distance.
            for r, table in enumerate(tables):
                n_powers = (n if degree_zero else n - 2 + r) - k
                if n_powers <= 0:
                    continue
                factor = table[k, n_powers - 1] * (side if r == 1 else 1.0)
                for power in range(n_powers - 2, -1, -1):
                    factor = factor * a
                    factor += table[k, power] * (side if r == 1 else 1.0)
                totals[(0, 2, 3)[r]] += factor * found[0]
                if r < 2:
                    totals[(1, 4)[r]] += factor * found[1]

    degree_zero = tables.shape[0] == 1
    # The end of the previous cell, from the window's first point on.
    before = bounds[max(begin - 1, 0) : stop]
    add(before, x[before[1:] - 1], x[np.maximum(first - 1, 0)], -1.0, True, low[here], low[here] < first)
    # Its own cell, from the middle.
    middles = 0.5 * (x[own[:-1]] + x[own[1:] - 1])
    middle = middles[cell - begin]
    add(own, middles, middle, -1.0, False, here - 1, here > first)
    if not past:
        add(own, middles, middle, 1.0, True, here + 1, here < last)
        # The beginning of the next cell, up to the window's last point.
        after, end = bounds[begin + 1 : stop + 2], high[here] - 1
        add(after, x[after[:-1]], x[np.minimum(last + 1, x.size - 1)], 1.0, False, end, end > last)
