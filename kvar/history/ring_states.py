"""Ring buffers as plain data and back.

A state has one row a prompt. Where rings differ in width, ``widths`` says how many cells of each row are the ring.
Where few prompts with many visits would make such a table several times larger than the rings are, the rings follow
each other in flat arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.utils.checks import LARGEST, checked_array, require

__all__ = ["EMPTY", "FlatRings", "cells_of"]

EMPTY = -np.inf
# A table of this many cells, or of so many times the cells of the rings, is not worth another form.
_SMALL, _MOST_PADDING = 2**16, 4


def cells_of(begin: np.ndarray, widths: np.ndarray, first: np.ndarray | int = 0) -> np.ndarray:
    """Places of all cells of rings that begin at `begin`, ring by ring, each from its cell `first` on and around."""
    column = np.arange(widths.sum()) - np.repeat(np.cumsum(widths) - widths, widths)
    return np.repeat(begin, widths) + (column + np.repeat(np.broadcast_to(first, widths.shape), widths)) % np.repeat(
        widths, widths
    )


@dataclass
class FlatRings:
    """The rings of n prompts one after the other, with their widths and next cells, both of shape (n,)."""

    steps: np.ndarray
    totals: np.ndarray
    counts: np.ndarray
    widths: np.ndarray
    next: np.ndarray

    def state(self) -> dict[str, np.ndarray]:
        """Fields of a state."""
        n, width = len(self.widths), int(self.widths.max(initial=1))
        fields = {"steps": (self.steps, EMPTY), "totals": (self.totals, 0.0), "counts": (self.counts, 0.0)}
        following = self.next.astype(np.int64)
        if n * width > max(_SMALL, _MOST_PADDING * len(self.steps)):
            return {**{k: v for k, (v, _) in fields.items()}, "next": following, "widths": self.widths.astype(np.int64)}
        state, inside = {}, np.arange(width) < self.widths[:, None]
        for name, (values, empty) in fields.items():
            state[name] = np.full((n, width), empty)
            state[name][inside] = values
        same = (self.widths == width).all()
        return {**state, "next": following, **({} if same else {"widths": self.widths.astype(np.int64)})}

    @classmethod
    def from_state(cls, state: dict, n: int, last_step: float, max_visits: int | None, most_rewards: float):
        """The rings of a state; ValueError if it is damaged."""
        flat = "widths" in state and isinstance(state["steps"], np.ndarray | list) and np.ndim(state["steps"]) == 1
        steps = checked_array(state["steps"], "steps of a history", (None,) if flat else (n, None), EMPTY, last_step)
        totals = checked_array(state["totals"], "totals of a history", steps.shape)
        counts = checked_array(state["counts"], "counts of a history", steps.shape, low=0.0, high=most_rewards)
        require((counts > 0) == (steps > EMPTY), "counts of a history must be positive where there is a step, else 0")
        require(np.abs(totals) <= 2 * LARGEST * counts, "totals of a history must not be beyond the largest rewards")
        width = steps.shape[-1]
        most = max_visits or max(steps.size, 1)
        if "widths" in state:
            widths = checked_array(state["widths"], "widths of a history", (n,), low=1.0, high=most)
            require(widths % 1 == 0, "widths of a history must hold whole numbers")
        else:
            require(1 <= width <= most, f"steps of a history must have from 1 to {most} columns, got {width}")
            widths = np.full(n, float(width))
        cells = checked_array(state["next"], "next of a history", (n,), low=0.0)
        require(cells % 1 == 0, "next of a history must hold whole numbers")
        require(cells < widths, "next of a history must be a cell of each ring")
        widths, cells = widths.astype(np.int32), cells.astype(np.int32)
        if flat:
            require(widths.sum() == width, "widths of a history must add up to the length of its steps")
        else:
            inside = np.arange(width) < widths[:, None]
            fits = widths.max(initial=1) <= width and not counts[~inside].any()
            require(fits, "widths of a history must be those of its rings")
            steps, totals, counts = steps[inside], totals[inside], counts[inside]
        begin = np.cumsum(widths) - widths
        oldest_first, ring = steps[cells_of(begin, widths, cells)], np.repeat(np.arange(n), widths)
        ascends = (oldest_first[:-1] <= oldest_first[1:]) | (ring[:-1] != ring[1:])
        require(ascends, "steps of a history must ascend around each ring")
        return cls(steps, totals, counts, widths, cells)
