"""Kernel sums neighbour by neighbour, and the recursion of the exponential kernel."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from kvar.smoothing.design import Design
from kvar.smoothing.sums import engine

__all__ = ["direct_sums", "exponential_sums", "pair_blocks"]

# Pairs of target and neighbour handled at once, which bounds the memory.
_PAIRS = 1 << 20


def direct_sums(design: Design, here, low, high, h, weigh, degree: int):
    """Rows as in ``neighbour_sums`` for the targets `here`, over the points ``low <= j < high`` but the target itself.

    Degree 1 takes two passes, the second one centred.
    """
    out = np.zeros((2 if degree == 0 else 5, here.size))
    for chunk, owner, j in pair_blocks(here, low, high):
        out[:, chunk] = _sums_of_pairs(design, here[chunk], owner, j, h, weigh, degree)
    return out


def pair_blocks(here, low, high):
    """Blocks of targets, with the pairs of target (counted within the block) and other point in its window."""
    counts = np.maximum(high - low, 0)
    total = np.cumsum(counts)
    begin = 0
    while begin < here.size:
        before = total[begin - 1] if begin else 0
        stop = max(int(np.searchsorted(total, before + _PAIRS)), begin + 1)
        chunk = slice(begin, stop)
        owner = np.repeat(np.arange(stop - begin), counts[chunk])
        j = np.arange(owner.size) - np.repeat(total[chunk] - counts[chunk] - before - low[chunk], counts[chunk])
        other = j != here[chunk][owner]
        yield chunk, owner[other], j[other]
        begin = stop


def _sums_of_pairs(design, here, owner, j, h, weigh, degree):
    def total(values):
        return np.bincount(owner, weights=values, minlength=here.size)

    u = (design.x[j] - design.x[here[owner]]) / h
    k = weigh(np.abs(u))
    wk, vk = design.w[j] * k, design.v[j] * k
    weight, value = total(wk), total(vk)
    if degree == 0:
        return np.stack([weight, value])
    divisor = np.where(weight > 0.0, weight, 1.0)
    offset, mean = total(wk * u) / divisor, value / divisor
    centred = u - offset[owner]
    return np.stack([weight, value, offset, total(wk * centred**2), total(centred * (vk - wk * mean[owner]))])


def exponential_sums(design: Design, h: float, degree: int, rate: float):
    """Rows as in ``neighbour_sums`` over all earlier points with weight ``exp(-rate * u)``, carried along in O(m)."""
    out = np.zeros((2 if degree == 0 else 5, design.x.size))
    recursion = _compiled() if engine.numba_installed() else _recursion
    recursion(design.x, design.w, design.v, design.starts, h, rate, degree == 1, out)
    return out


@cache
def _compiled():
    from numba import njit

    return njit(cache=True, error_model="numpy")(_recursion)


def _recursion(x, w, v, starts, h, rate, local_linear, out):
    for segment in range(starts.size - 1):
        weight = value = offset = spread = slope = 0.0
        for i in range(starts[segment] + 1, starts[segment + 1]):
            # The previous point joins at distance zero, then everything moves away by one step.
            joined = weight + w[i - 1]
            if local_linear and joined > 0.0:
                spread += weight * w[i - 1] / joined * offset * offset
                slope += offset * (value * w[i - 1] - weight * v[i - 1]) / joined
                offset *= weight / joined
            weight, value = joined, value + v[i - 1]
            step = (x[i] - x[i - 1]) / h
            decay = math.exp(-rate * step)
            weight *= decay
            value *= decay
            out[0, i] = weight
            out[1, i] = value
            if local_linear:
                offset -= step
                spread *= decay
                slope *= decay
                out[2, i] = offset
                out[3, i] = spread
                out[4, i] = slope
