"""Past visits of each prompt inside the window.

A visit is one step's rewards of one prompt, stored as (step, sum of rewards, number of rewards). Each prompt has a ring
buffer as wide as its own visits need, so that one prompt that is in every step costs the others nothing. The rings lie
in one array, so that one indexing operation reads the histories of a whole batch. A prompt whose last visit has left
the window gives its place to a new one: memory depends on the prompts in use, not on all prompts ever seen. There are
no running sums, so that rounding errors do not accumulate over a long run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kvar.history.prompt_index import PromptIndex
from kvar.history.ring_states import EMPTY, FlatRings, cells_of
from kvar.rollouts.prompt_ids import as_keys
from kvar.utils.checks import LARGEST, MOST_REWARDS, checked_ids, checked_keys, checked_number

__all__ = ["History", "Visits"]


@dataclass(frozen=True)
class Visits:
    """Visits of several prompts, padded to one width; the order within a prompt is that of its ring."""

    steps: np.ndarray  # shape (P, V): Time of the visit; ``-inf`` if the cell is empty
    totals: np.ndarray  # shape (P, V): Sum of the rewards of the visit
    counts: np.ndarray  # shape (P, V): Number of rewards of the visit; 0 if the cell is empty
    # shape (P,): Column of the newest visit. Older ones are to its left, and continue from the right edge of the ring.
    newest: np.ndarray
    widths: np.ndarray  # shape (P,): Number of columns that are the prompt's ring

    @property
    def ages(self) -> np.ndarray:
        """Age of each visit in visits of the prompt, 1 for the newest; shape (P, V)."""
        return (self.newest[:, None] - np.arange(self.steps.shape[1])) % self.widths[:, None] + 1.0


class History:
    """Visits of every prompt in use, one ring buffer a prompt.

    Parameters
    ----------
    reach : float
        Visits older than this many steps are dropped; ``inf`` keeps all.
    max_visits : int, optional
        Largest number of visits kept of a prompt, the newest ones. Without it, all within reach are kept.
    weighted : bool
        Whether counts are sums of weights, and not numbers of rewards.

    Notes
    -----
    Reading or adding a batch costs O(V) for each prompt with V visits inside the window. A ring has fewer than 2 V
    cells of 24 bytes, and each prompt takes 28 bytes for its id and place; there is a reserve of up to a half.
    """

    def __init__(self, reach: float, max_visits: int | None = None, weighted: bool = False):
        # Finite, so that nothing reaches the cells that are empty.
        self.reach = min(float(reach), sys.float_info.max)
        self._max_visits = max_visits
        self._most_rewards = LARGEST**2 if weighted else MOST_REWARDS
        self._clear()

    def _clear(self):
        self._index = PromptIndex()
        # Of each place in the index: where its ring begins, how many cells it has, and which of them is the next.
        self._begin = np.zeros(0, dtype=np.int64)
        self._width = np.zeros(0, dtype=np.int32)
        self._next = np.zeros(0, dtype=np.int32)
        self._free = np.zeros(0, dtype=np.int32)  # places of no prompt
        # All rings. The first cell, and what is behind the last ring, is empty.
        self._steps, self._totals, self._counts = np.full(1, EMPTY), np.zeros(1), np.zeros(1)
        self._end = 1
        self.last_step = EMPTY

    def __len__(self) -> int:
        """Number of prompts in the table."""
        return len(self._index)

    def check_step(self, step: float) -> None:
        """Raise ValueError if the step is earlier than the last one remembered."""
        if step < self.last_step:
            raise ValueError(
                f"step {step:g} is earlier than step {self.last_step:g}, which is already remembered; pass steps in "
                "order, or load an earlier state_dict"
            )

    def visits(self, prompt_ids: list[int | str] | np.ndarray, cells: int) -> Iterator[tuple[np.ndarray, Visits]]:
        """Numbers of the known prompts in the list, with their visits; about so many cells at once."""
        slots = self._index.find(prompt_ids)
        members = (slots >= 0).nonzero()[0]
        width = self._width[slots[members]]
        if width.size and width.min() < width.max():
            # Rings of like widths together, so that few of the cells are padding.
            order = np.argsort(width, kind="stable")
            members, width = members[order], width[order]
        start = 0
        while start < len(members):
            most = width[start : start + max(1, cells // int(width[start]))].max()
            block = slice(start, start + max(1, cells // int(most)))
            yield members[block], self._read(slots[members[block]], int(width[block][-1]))
            start = block.stop

    def _read(self, slots: np.ndarray, width: int) -> Visits:
        columns, widths = np.arange(width), self._width[slots]
        places = self._begin[slots, None] + columns
        if width > widths[0]:
            # Behind a ring stands the cell that is always empty.
            places *= columns < widths[:, None]
        newest = (self._next[slots] - 1) % widths
        steps, totals, counts = (cells.take(places) for cells in (self._steps, self._totals, self._counts))
        return Visits(steps, totals, counts, newest, widths)

    def add(
        self, prompt_ids: list[int | str] | np.ndarray, totals: np.ndarray, counts: np.ndarray, step: float
    ) -> None:
        """Remember one visit of distinct prompts, from sums and numbers of rewards; a prompt with none is skipped."""
        self.check_step(step)
        self.last_step = step
        seen = (counts > 0).nonzero()[0]
        if seen.size == 0:
            return
        slots = self._places(as_keys(prompt_ids)[seen], step)
        cell = self._begin[slots] + self._next[slots]
        # The next cell of a ring holds its oldest visit. If the ring still needs that visit, it grows.
        needed = self._steps[cell] >= step - self.reach
        if self._max_visits is not None:
            needed &= self._width[slots] < self._max_visits
        if needed.any():
            self._widen(slots[needed])
            cell = self._begin[slots] + self._next[slots]
        self._steps[cell] = step
        self._totals[cell] = totals[seen]
        self._counts[cell] = counts[seen]
        self._next[slots] = (self._next[slots] + 1) % self._width[slots]

    def _widen(self, slots: np.ndarray) -> None:
        """Double full rings. Each is unrolled, oldest visit first, so that the new cells are the next ones."""
        old = self._width[slots]
        new = np.minimum(2 * old, self._max_visits or np.iinfo(np.int32).max)
        self._reserve(int(new.sum()))
        begin = self._end + np.cumsum(new) - new
        self._end += int(new.sum())
        to, source = cells_of(begin, old), cells_of(self._begin[slots], old, self._next[slots])
        for values in (self._steps, self._totals, self._counts):
            values[to] = values[source]
        self._begin[slots], self._width[slots], self._next[slots] = begin, new, old

    def _reserve(self, n_cells: int) -> None:
        """Make room for new rings; what rings have left behind is given up first."""
        if self._end + n_cells <= len(self._steps):
            return
        slots = self._in_use()
        slots = slots[np.argsort(self._begin[slots])]
        begin, width = self._begin[slots], self._width[slots].astype(np.int64)
        # Up by one where a ring begins, and down behind its end.
        edges = np.zeros(self._end + 1, dtype=np.int8)
        edges[begin] += 1
        edges[begin + width] -= 1
        edges[0] = 1
        edges[1] -= 1
        kept = np.cumsum(edges[:-1], dtype=np.int8).view(bool)
        self._end = 1 + int(width.sum())
        # Growth by at least a half makes the amortised cost of growing constant per cell.
        size = self._end + max(n_cells, self._end // 2)
        for name, empty in (("_steps", EMPTY), ("_totals", 0.0), ("_counts", 0.0)):
            moved = np.full(size, empty)
            moved[: self._end] = getattr(self, name)[: len(kept)][kept]
            setattr(self, name, moved)
        self._begin[slots] = 1 + np.cumsum(width) - width

    def _in_use(self) -> np.ndarray:
        """Places of the prompts in the index."""
        taken = np.ones(len(self._width), dtype=bool)
        taken[self._free] = False
        return np.flatnonzero(taken)

    def _places(self, keys: np.ndarray, step: float) -> np.ndarray:
        """Places of the prompts; new prompts get some, after stale prompts have lost theirs."""
        slots = self._index.find(keys)
        missing = (slots < 0).nonzero()[0]
        if missing.size > len(self._free):  # cost only
            self._drop_stale(step - self.reach)
            slots = self._index.find(keys)
            missing = (slots < 0).nonzero()[0]
            if missing.size > len(self._free) or len(self._free) < len(self._index) // 4:  # cost only
                self._lengthen(max(missing.size, len(self._width) // 4))
        if missing.size:
            self._reserve(missing.size)
            taken, self._free = np.split(self._free, [missing.size])
            slots[missing] = taken
            self._index.add(keys[missing], taken)
            self._begin[taken] = np.arange(self._end, self._end + missing.size)
            self._end += missing.size
            self._width[taken], self._next[taken] = 1, 0
        return slots

    def _drop_stale(self, horizon: float) -> None:
        """Give up the prompts whose newest visit is older than the horizon."""
        slots = self._in_use()
        newest = self._steps[self._begin[slots] + (self._next[slots] - 1) % self._width[slots]]
        gone = np.zeros(len(self._width), dtype=bool)
        gone[slots[newest < horizon]] = True
        self._index.remove(gone)
        self._free = np.concatenate([self._free, np.flatnonzero(gone).astype(np.int32)])

    def _lengthen(self, extra: int) -> None:
        """Add free places."""
        old = len(self._width)
        for name in ("_begin", "_width", "_next"):
            values = getattr(self, name)
            setattr(self, name, np.concatenate([values, np.zeros(extra, dtype=values.dtype)]))
        self._free = np.concatenate([self._free, np.arange(old, old + extra, dtype=np.int32)])

    def state_dict(self) -> dict:
        """Plain data for `load_state_dict`.

        The rings are copied as they are, not sorted. Sums of a restored history are therefore added in the same order
        and agree to the last bit.
        """
        ids, slots = self._index.items()
        cells = cells_of(self._begin[slots], self._width[slots])
        fields = self._steps[cells], self._totals[cells], self._counts[cells]
        rings = FlatRings(*fields, self._width[slots], self._next[slots])
        return {"prompt_ids": ids, **rings.state(), "last_step": self.last_step}

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned; a damaged state raises ValueError and changes nothing.

        The reach is not part of the state: it belongs to the owner of the history.
        """
        keys = ["prompt_ids", "steps", "totals", "counts", "next", "last_step"]
        keys += ["widths"] if isinstance(state, dict) and "widths" in state else []
        checked_keys(state, keys, "a history")
        ids = checked_ids(state["prompt_ids"], "prompt_ids of a history")
        last_step = checked_number(state["last_step"], "last_step of a history", low=EMPTY, high=LARGEST)
        rings = FlatRings.from_state(state, len(ids), last_step, self._max_visits, self._most_rewards)
        self._clear()
        self._index.add(ids, np.arange(len(ids)))
        for name, values in (("_steps", rings.steps), ("_totals", rings.totals), ("_counts", rings.counts)):
            setattr(self, name, np.concatenate([getattr(self, name), values]))
        self._end = len(self._steps)
        self._width, self._next = rings.widths, rings.next
        self._begin = 1 + np.cumsum(self._width, dtype=np.int64) - self._width
        self.last_step = last_step
