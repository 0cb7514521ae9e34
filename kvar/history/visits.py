"""Past visits of each prompt inside the window.

A visit is one step's rewards of one prompt, stored as (step, sum of rewards, number of rewards). The table has one ring
buffer a prompt, so that one indexing operation reads the histories of a whole batch. A prompt whose last visit has left
the window gives its place to a new one: memory depends on the prompts in use, not on all prompts ever seen. There are
no running sums, so that rounding errors do not accumulate over a long run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kvar.history.prompt_index import PromptIndex
from kvar.rollouts.prompt_ids import as_keys
from kvar.utils.checks import LARGEST, checked_array, checked_ids, checked_keys, checked_number, require

__all__ = ["History", "Visits"]

_EMPTY = -math.inf


@dataclass(frozen=True)
class Visits:
    """Visits of several prompts, padded to one width; the order within a prompt is that of its ring."""

    steps: np.ndarray  # shape (P, V): Time of the visit; ``-inf`` if the cell is empty
    totals: np.ndarray  # shape (P, V): Sum of the rewards of the visit
    counts: np.ndarray  # shape (P, V): Number of rewards of the visit; 0 if the cell is empty
    # shape (P,): Column of the newest visit. Older ones are to its left, and continue from the right edge.
    newest: np.ndarray

    @property
    def ages(self) -> np.ndarray:
        """Age of each visit in visits of the prompt, 1 for the newest; shape (P, V)."""
        width = self.steps.shape[1]
        return (self.newest[:, None] - np.arange(width)) % width + 1.0


class History:
    """Visits of every prompt in use, one ring buffer a prompt.

    Parameters
    ----------
    reach : float
        Visits older than this many steps are dropped; ``inf`` keeps all.
    max_visits : int, optional
        Largest number of visits kept of a prompt, the newest ones. Without it, all within reach are kept.

    Notes
    -----
    Reading or adding a batch of P prompts costs O(P V), where V is the largest number of visits of one prompt inside
    the window. Memory is 24 V bytes for each prompt in use and 16 bytes for its id and place, plus a reserve of 1/4.
    """

    def __init__(self, reach: float, max_visits: int | None = None):
        self.reach = float(reach)
        self._max_visits = max_visits
        self._clear()

    def _clear(self):
        self._index = PromptIndex()
        self._steps = np.full((0, 1), _EMPTY)
        self._totals = np.zeros((0, 1))
        self._counts = np.zeros((0, 1))
        self._next = np.zeros(0, dtype=np.int32)
        self._free = np.zeros(0, dtype=np.int32)
        self.last_step = _EMPTY

    def __len__(self) -> int:
        """Number of prompts in the table."""
        return len(self._index)

    @property
    def width(self) -> int:
        """Length of the rings: how many visits of a prompt the table can hold."""
        return self._steps.shape[1]

    def check_step(self, step: float) -> None:
        """Raise ValueError if the step is earlier than the last one remembered."""
        if step < self.last_step:
            raise ValueError(
                f"step {step:g} is earlier than step {self.last_step:g}, which is already remembered; pass steps in "
                "order, or load an earlier state_dict"
            )

    def visits(self, prompt_ids: list[int | str] | np.ndarray) -> Visits:
        """Visits of each prompt; none for an unknown prompt."""
        slots = self._index.find(prompt_ids)
        known = slots >= 0
        if known.all():  # cost only
            return Visits(self._steps[slots], self._totals[slots], self._counts[slots], self._next[slots] - 1)
        shape = (len(slots), self._steps.shape[1])
        newest = np.zeros(len(slots), dtype=np.intp)
        visits = Visits(np.full(shape, _EMPTY), np.zeros(shape), np.zeros(shape), newest)
        visits.steps[known] = self._steps[slots[known]]
        visits.totals[known] = self._totals[slots[known]]
        visits.counts[known] = self._counts[slots[known]]
        newest[known] = self._next[slots[known]] - 1
        return visits

    def add(
        self, prompt_ids: list[int | str] | np.ndarray, totals: np.ndarray, counts: np.ndarray, step: float
    ) -> None:
        """Remember one visit of distinct prompts, from sums and numbers of rewards; a prompt with none is skipped."""
        self.check_step(step)
        self.last_step = step
        seen = np.flatnonzero(counts > 0)
        if seen.size == 0:
            return
        slots = self._places(as_keys(prompt_ids)[seen], step)
        cell = self._next[slots]
        # The next cell of a ring holds its oldest visit. If a ring still needs that visit, all rings grow.
        may_grow = self._max_visits is None or self.width < self._max_visits
        needed = (self._counts[slots, cell] > 0) & (self._steps[slots, cell] >= step - self.reach)
        if may_grow and needed.any():
            self._widen()
            cell = self._next[slots]
        self._steps[slots, cell] = step
        self._totals[slots, cell] = totals[seen]
        self._counts[slots, cell] = counts[seen]
        self._next[slots] = (cell + 1) % self._steps.shape[1]

    def _places(self, keys: np.ndarray, step: float) -> np.ndarray:
        """Rows of the prompts in the table; new prompts get rows, after stale prompts have lost theirs."""
        slots = self._index.find(keys)
        if (slots < 0).sum() > len(self._free):  # cost only
            self._drop_stale(step - self.reach)
            slots = self._index.find(keys)
            # Growth by at least a quarter makes the amortised cost of growing and dropping constant per prompt.
            wanted = (slots < 0).sum()
            if wanted > len(self._free) or len(self._free) < len(self._index) // 4:  # cost only
                self._lengthen(max(wanted, len(self._next) // 4))
        missing = np.flatnonzero(slots < 0)
        if missing.size:
            taken, self._free = np.split(self._free, [missing.size])
            slots[missing] = taken
            self._index.add(keys[missing], taken)
        return slots

    def _drop_stale(self, horizon: float) -> None:
        """Free the rows of prompts whose newest visit is older than the horizon."""
        in_use = np.ones(len(self._next), dtype=bool)
        in_use[self._free] = False
        newest = self._steps[np.arange(len(self._next)), self._next - 1]
        stale = in_use & (newest < horizon)
        self._index.remove(stale)
        self._steps[stale] = _EMPTY
        self._totals[stale] = 0.0
        self._counts[stale] = 0.0
        self._next[stale] = 0
        self._free = np.concatenate([self._free, np.flatnonzero(stale).astype(np.int32)])

    def _lengthen(self, extra: int) -> None:
        """Add free rows."""
        old = len(self._next)
        width = self._steps.shape[1]
        self._steps = np.concatenate([self._steps, np.full((extra, width), _EMPTY)])
        self._totals = np.concatenate([self._totals, np.zeros((extra, width))])
        self._counts = np.concatenate([self._counts, np.zeros((extra, width))])
        self._next = np.concatenate([self._next, np.zeros(extra, dtype=np.int32)])
        self._free = np.concatenate([self._free, np.arange(old, old + extra, dtype=np.int32)])

    def _widen(self) -> None:
        """Double the rings. Each is unrolled, oldest visit first, so that the new cells are the next ones."""
        width = self.width
        wider = 2 * width if self._max_visits is None else min(2 * width, self._max_visits)
        unrolled = (self._next[:, None] + np.arange(width)) % width
        for name, fill in (("_steps", _EMPTY), ("_totals", 0.0), ("_counts", 0.0)):
            table = np.full((len(self._next), wider), fill)
            table[:, :width] = np.take_along_axis(getattr(self, name), unrolled, axis=1)
            setattr(self, name, table)
        self._next[:] = width

    def state_dict(self) -> dict:
        """Plain data for `load_state_dict`.

        The rings are copied as they are, not sorted. Sums of a restored history are therefore added in the same order
        and agree to the last bit.
        """
        ids, slots = self._index.items()
        return {
            "prompt_ids": ids,
            "steps": self._steps[slots],
            "totals": self._totals[slots],
            "counts": self._counts[slots],
            "next": self._next[slots].astype(np.int64),
            "last_step": self.last_step,
        }

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned; a damaged state raises ValueError and changes nothing.

        The reach is not part of the state: it belongs to the owner of the history.
        """
        keys = ("prompt_ids", "steps", "totals", "counts", "next", "last_step")
        checked_keys(state, keys, "a history")
        ids = checked_ids(state["prompt_ids"], "prompt_ids of a history")
        last_step = checked_number(state["last_step"], "last_step of a history", low=_EMPTY, high=LARGEST)
        steps = checked_array(state["steps"], "steps of a history", (len(ids), None), low=_EMPTY, high=last_step)
        width = steps.shape[1]
        most = self._max_visits or width
        require(1 <= width <= most, f"steps of a history must have from 1 to {most} columns, got {width}")
        totals = checked_array(state["totals"], "totals of a history", steps.shape)
        counts = checked_array(state["counts"], "counts of a history", steps.shape, low=0.0)
        cells = checked_array(state["next"], "next of a history", (len(ids),), low=0.0, high=width - 1.0)
        require(cells % 1 == 0, "next of a history must hold whole numbers")
        require(
            (counts > 0) == (steps > _EMPTY),
            "counts of a history must be positive where there is a step, else 0",
        )
        require(
            np.abs(totals) <= 2 * LARGEST * counts,
            "totals of a history must not be beyond the largest rewards",
        )
        cells = cells.astype(np.int32)
        oldest_first = np.take_along_axis(steps, (cells[:, None] + np.arange(width)) % width, axis=1)
        require(oldest_first[:, :-1] <= oldest_first[:, 1:], "steps of a history must ascend around each ring")
        self._clear()
        self._index.add(ids, np.arange(len(ids)))
        self._steps, self._totals, self._counts, self._next = steps, totals, counts, cells
        self.last_step = last_step
