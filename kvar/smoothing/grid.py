"""Candidate bandwidths, and which of them serve the data."""

from __future__ import annotations

import math

import numpy as np

from kvar.kernels import CompactKernel
from kvar.smoothing.design import positions
from kvar.smoothing.problem import Problem
from kvar.utils.checks import checked_array

__all__ = ["default_grid", "given_grid"]

_GRID_SIZE = 50


def given_grid(grid):
    """Candidates from a caller."""
    bandwidths = np.unique(checked_array(grid, "grid", (None,)))
    if bandwidths.size == 0 or bandwidths[0] <= 0.0:
        raise ValueError(f"grid must hold positive finite bandwidths, got {grid!r:.60}")
    return bandwidths


def default_grid(problem: Problem):
    """Candidates of constant ratio, from the least that serves the data up to the range."""
    design = problem.design
    need = _needed(problem)
    least = float(np.max(need) if problem.empty == "nan" else np.median(need))
    gaps = np.diff(design.x)
    gaps = gaps[gaps > 0.0]
    spans = design.x[design.starts[1:] - 1] - design.x[design.starts[:-1]]
    high = float(np.max(spans))
    if not high > 0.0:
        high = 1.0  # all observations at one x: any window is the same
    if not least > 0.0:
        least = float(np.min(gaps)) if gaps.size else high
    if not isinstance(problem.kernel, CompactKernel):
        # Bandwidths of kernels with tails, comparable to the half-widths of the compact ones.
        least, high = 0.3 * least, 0.5 * high
    # A neighbour at exactly the least distance has weight zero under most kernels.
    low = least * 1.001
    return np.geomspace(low, max(high, 1.5 * low), _GRID_SIZE)


def _needed(problem):
    """Distance within which a scored observation finds ``degree + 1`` other points."""
    design, n_others = problem.design, problem.degree + 1
    before, total = positions(design)
    after = total - 1 - before
    index = np.arange(design.x.size)

    def gap(count, available, sign):
        far = np.clip(index + sign * count, 0, design.x.size - 1)
        return np.where(available >= count, np.abs(design.x[far] - design.x), math.inf)

    gaps = [gap(count, before, -1) for count in range(1, n_others + 1)]
    if not problem.past:
        gaps += [gap(count, after, 1) for count in range(1, n_others + 1)]
    distances = np.sort(np.stack(gaps), axis=0)[:, design.member]
    if not problem.past and design.mates_w is not None:
        # Somebody else at the same x is a neighbour at distance zero.
        nearer = np.vstack([np.zeros(design.member.size), distances[:-1]])
        distances = np.where(design.mates_w > 0.0, nearer, distances)
    return distances[n_others - 1][problem.scored]
