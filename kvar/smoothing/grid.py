"""Candidate bandwidths."""

from __future__ import annotations

import numpy as np

from kvar.kernels import CompactKernel
from kvar.smoothing.selection_problem import Problem
from kvar.utils.checks import checked_array

__all__ = ["default_grid", "given_grid"]

_GRID_SIZE = 50


def given_grid(grid):
    """Candidates from a caller, sorted and distinct."""
    bandwidths = np.unique(checked_array(grid, "grid", (None,)))
    if bandwidths.size == 0 or bandwidths[0] <= 0.0:
        raise ValueError(f"grid must hold positive finite bandwidths, got {grid!r:.60}")
    return bandwidths


def default_grid(problem: Problem):
    """Candidates of constant ratio, from the least that serves the data up to the range."""
    if problem.empty == "nan":
        least = float(np.max(problem.needed[problem.served]))
    else:
        least = float(np.median(problem.needed[problem.scored]))
    high = float(np.max(problem.design.spans))
    if not high > 0.0:
        high = 1.0  # all observations at one x: any window is the same
    if not least > 0.0:
        gaps = np.diff(problem.design.x)
        gaps = gaps[gaps > 0.0]
        least = float(np.min(gaps)) if gaps.size else high
    if not isinstance(problem.kernel, CompactKernel):
        # Bandwidths of kernels with tails, comparable to the half-widths of the compact ones.
        least, high = 0.3 * least, 0.5 * high
    # A neighbour at exactly the least distance has weight zero under most kernels.
    low = least * 1.001
    return np.geomspace(low, max(high, 1.5 * low), _GRID_SIZE)
