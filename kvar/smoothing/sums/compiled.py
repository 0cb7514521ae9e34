"""The sums of ``neighbour_sums``, compiled by numba; imported only when sums are asked for."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["compact_sums"]

_JIT = {"cache": True, "error_model": "numpy", "fastmath": {"contract"}}


@njit(inline="always", **_JIT)
def _add(moments_w, moments_v, weight, value, b, n):
    """Let one observation at distance b join the n running moments."""
    for k in range(n):
        moments_w[k] += weight
        moments_v[k] += value
        weight *= b
        value *= b


@njit(inline="always", **_JIT)
def _collect(moments_w, moments_v, a, table, n):
    """``sum_j w_j P(a + b_j)`` and the same for v, from n moments of b; row m of the table has P's factor of b**m."""
    total_w = 0.0
    total_v = 0.0
    for m in range(n):
        factor = 0.0
        for power in range(n - 1 - m, -1, -1):
            factor = factor * a + table[m, power]
        total_w += moments_w[m] * factor
        total_v += moments_v[m] * factor
    return total_w, total_v


@njit(inline="always", **_JIT)
def _profile(u, scale, base, power):
    """The kernel in factored form, accurate at the edge of the support."""
    inner = 1.0
    for _ in range(base):
        inner *= u
    weight = scale
    for _ in range(power):
        weight *= 1.0 - inner
    return weight


@njit(**_JIT)
def _direct(x, w, v, first, last, i, h, scale, base, power, past, local_linear, out):
    """Sum over the window of target i, neighbour by neighbour, in two passes: the second one is centred."""
    low = i
    while low > first and x[i] - x[low - 1] <= h:
        low -= 1
    high = i + 1
    if not past:
        while high < last and x[high] - x[i] <= h:
            high += 1
    weight = 0.0
    value = 0.0
    offset = 0.0
    for j in range(low, high):
        if j != i:
            u = (x[j] - x[i]) / h
            k = _profile(abs(u), scale, base, power)
            weight += w[j] * k
            value += v[j] * k
            offset += w[j] * k * u
    out[0, i] = weight
    out[1, i] = value
    if local_linear and weight > 0.0:
        offset /= weight
        mean = value / weight
        spread = 0.0
        slope = 0.0
        for j in range(low, high):
            if j != i:
                u = (x[j] - x[i]) / h
                k = _profile(abs(u), scale, base, power)
                spread += w[j] * k * (u - offset) ** 2
                slope += k * (u - offset) * (v[j] - w[j] * mean)
        out[2, i] = offset
        out[3, i] = spread
        out[4, i] = slope


@njit(**_JIT)
def compact_sums(x, w, v, starts, h, tables, size, base, power, past, local_linear, light, trust, out):
    """Fill `out` with the rows of ``neighbour_sums`` for a compact kernel, given as ``_tables`` has it.

    Direct sums take over where the weight is under `light` times that in the window, or the rounding passes `trust`.
    """
    # The compiler knows the length of a tuple and unrolls the short loops; an empty one leaves n open.
    n = len(size) or tables.shape[1]
    n0, n1 = (n - 2, n - 1) if local_linear else (n, n)
    scale = tables[0, 0, 0]
    inverse = 1.0 / h
    own_w, own_v, other_w, other_v = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    mass = np.empty(x.size)
    for segment in range(starts.size - 1):
        first, last = starts[segment], starts[segment + 1]
        before, start, stop = first, first, first
        while stop < last and x[stop] - x[first] <= h:
            stop += 1
        while start < last:
            after = stop
            while after < last and x[after] - x[stop] <= h:
                after += 1
            middle = 0.5 * (x[start] + x[stop - 1])
            # From the right end of the cell to the left: the neighbours on the right in the own cell and those of the
            # previous cell within reach only gain members, so nothing is subtracted.
            own_w[:] = 0.0
            own_v[:] = 0.0
            other_w[:] = 0.0
            other_v[:] = 0.0
            j = start - 1
            for i in range(stop - 1, start - 1, -1):
                while j >= before and x[i] - x[j] <= h:
                    _add(other_w, other_v, w[j], v[j], (x[start] - x[j]) * inverse, n)
                    j -= 1
                a = (x[i] - x[start]) * inverse
                s0, t0 = _collect(other_w, other_v, a, tables[0], n0)
                near = other_w[0]
                s1 = s2 = t1 = 0.0
                if local_linear:
                    s1, t1 = _collect(other_w, other_v, a, tables[1], n1)
                    s2, _ = _collect(other_w, other_v, a, tables[2], n)
                    s1, t1 = -s1, -t1
                if not past:
                    a = (middle - x[i]) * inverse
                    r0, q0 = _collect(own_w, own_v, a, tables[0], n0)
                    s0 += r0
                    t0 += q0
                    near += own_w[0]
                    if local_linear:
                        r1, q1 = _collect(own_w, own_v, a, tables[1], n1)
                        r2, _ = _collect(own_w, own_v, a, tables[2], n)
                        s1 += r1
                        t1 += q1
                        s2 += r2
                    _add(own_w, own_v, w[i], v[i], -a, n)
                out[0, i] = s0
                out[1, i] = t0
                mass[i] = near
                if local_linear:
                    out[2, i] = s1
                    out[3, i] = s2
                    out[4, i] = t1
            own_w[:] = 0.0
            own_v[:] = 0.0
            other_w[:] = 0.0
            other_v[:] = 0.0
            j = stop
            for i in range(start, stop):
                a = (x[i] - middle) * inverse
                r0, q0 = _collect(own_w, own_v, a, tables[0], n0)
                s0 = out[0, i] + r0
                t0 = out[1, i] + q0
                near = mass[i] + own_w[0]
                s1 = s2 = t1 = 0.0
                if local_linear:
                    r1, q1 = _collect(own_w, own_v, a, tables[1], n1)
                    r2, _ = _collect(own_w, own_v, a, tables[2], n)
                    s1 = out[2, i] - r1
                    s2 = out[3, i] + r2
                    t1 = out[4, i] - q1
                _add(own_w, own_v, w[i], v[i], -a, n)
                if not past:
                    while j < after and x[j] - x[i] <= h:
                        _add(other_w, other_v, w[j], v[j], (x[j] - x[stop - 1]) * inverse, n)
                        j += 1
                    a = (x[stop - 1] - x[i]) * inverse
                    r0, q0 = _collect(other_w, other_v, a, tables[0], n0)
                    s0 += r0
                    t0 += q0
                    near += other_w[0]
                    if local_linear:
                        r1, q1 = _collect(other_w, other_v, a, tables[1], n1)
                        r2, _ = _collect(other_w, other_v, a, tables[2], n)
                        s1 += r1
                        s2 += r2
                        t1 += q1
                out[0, i] = s0
                out[1, i] = t0
                trusted = s0 > light * near * scale
                if local_linear and trusted:
                    offset = s1 / s0
                    variance = s2 / s0 - offset * offset
                    spread = np.sqrt(max(variance, 0.0))
                    trusted = (abs(offset) + variance) * near * scale < trust * variance * spread * s0
                    out[2, i] = offset
                    out[3, i] = variance * s0
                    out[4, i] = t1 - offset * t0
                if not trusted:
                    _direct(x, w, v, first, last, i, h, scale, base, power, past, local_linear, out)
            before, start, stop = start, stop, after
