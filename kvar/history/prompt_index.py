"""Row numbers of prompts in a table."""

from __future__ import annotations

import numpy as np

from kvar.rollouts.prompt_ids import as_keys
from kvar.utils.arrays import extended

__all__ = ["PromptIndex"]

# New integer ids wait in a dictionary until they exceed this number and this fraction of the sorted ids.
_WAITING, _WAITING_FRACTION = 1024, 0.125
# Ids from 0 on have a cell each, below this number and this multiple of the number of ids.
_CELLS, _CELLS_EACH = 2**16, 4


class PromptIndex:
    """A map from prompt ids to places (row numbers), in 4 to 16 bytes for each integer id.

    Integers from 0 on that lie close together, such as rows of a data set, have a cell each in an array. Other integers
    are kept sorted in an array, with their places in another; a dictionary would take ten times the memory. Strings,
    and integers of more than 64 bits, are kept in a dictionary.

    Notes
    -----
    Finding n ids among N costs O(n) where they have cells, else O(n log N). Adding them costs O(n), and for other
    integers a merge of O(N) for every N / 8 new ids.
    """

    def __init__(self):
        # Place of each id from 0 on, plus 1, in the cell behind its own number; the first and the last stay empty.
        self._cells = np.zeros(2, dtype=np.int32)
        self._in_cells = 0
        self._keys = np.empty(0, dtype=np.int64)
        self._places = np.empty(0, dtype=np.int32)
        self._waiting: dict[int | str, int] = {}
        self._others: dict[int | str, int] = {}

    def __len__(self) -> int:
        """Number of prompts."""
        return self._in_cells + len(self._keys) + len(self._waiting) + len(self._others)

    def find(self, ids: list[int | str] | np.ndarray) -> np.ndarray:
        """Place of each prompt, or -1 for an unknown one; shape (n,)."""
        keys = as_keys(ids)
        if keys.dtype == object:
            return np.fromiter(map(self._find_one, keys), dtype=np.intp, count=len(keys))
        # Ids without a cell fall on the first or the last one.
        places = self._cells.take(keys + 1, mode="clip").astype(np.intp)
        places -= 1
        if len(self._keys) or self._waiting:
            missing = (places < 0).nonzero()[0]
            if missing.size:  # cost only
                places[missing] = self._search(keys[missing])
        return places

    def _search(self, keys: np.ndarray) -> np.ndarray:
        """Places of integers that have no cell."""
        places = np.full(len(keys), -1, dtype=np.intp)
        if len(self._keys):
            at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            places = np.where(self._keys[at] == keys, self._places[at], places)
        if self._waiting:
            missing = np.flatnonzero(places < 0)
            places[missing] = [self._waiting.get(key, -1) for key in keys[missing].tolist()]
        return places

    def _find_one(self, prompt_id) -> int:
        if as_keys([prompt_id]).dtype == object:
            return self._others.get(prompt_id, -1)
        return int(self.find([prompt_id])[0])

    def add(self, ids: list[int | str] | np.ndarray, places: np.ndarray) -> None:
        """Give places to distinct prompts that have none yet."""
        keys = as_keys(ids)
        if keys.dtype == object:
            for prompt_id, place in zip(keys, places.tolist(), strict=True):
                target = self._others if as_keys([prompt_id]).dtype == object else self._waiting
                target[prompt_id] = place
        else:
            keys, places = self._put_in_cells(keys, places, len(self) + len(keys))
            self._waiting.update(zip(keys.tolist(), places.tolist(), strict=True))
        if len(self._waiting) > max(_WAITING, _WAITING_FRACTION * len(self._keys)):
            self._merge()

    def _put_in_cells(self, keys: np.ndarray, places: np.ndarray, n_ids: int) -> tuple[np.ndarray, np.ndarray]:
        """Give cells to the integers that can have one, among so many ids in all; the others and their places."""
        low = (keys >= 0) & (keys < max(_CELLS, _CELLS_EACH * n_ids))
        if low.any():
            cells = keys[low] + 1
            if cells.max() + 2 > len(self._cells):
                self._cells = extended(self._cells, max(int(cells.max()) + 2, 2 * len(self._cells)))
            self._cells[cells] = places[low] + 1
            self._in_cells += len(cells)
        return keys[~low], places[~low]

    def _merge(self) -> None:
        keys = np.concatenate([self._keys, np.array(list(self._waiting), dtype=np.int64)])
        places = np.concatenate([self._places, np.array(list(self._waiting.values()), dtype=np.int32)])
        keys, places = self._put_in_cells(keys, places, len(self))
        order = np.argsort(keys, kind="stable")
        self._keys, self._places = keys[order], places[order]
        self._waiting.clear()

    def remove(self, gone: np.ndarray) -> None:
        """Remove the prompts whose places are marked in a mask over all places."""
        self._merge()
        kept = ~gone[self._places]
        self._keys, self._places = self._keys[kept], self._places[kept]
        cells = np.flatnonzero(self._cells)
        cells = cells[gone[self._cells[cells] - 1]]
        self._cells[cells] = 0
        self._in_cells -= len(cells)
        self._others = {prompt_id: place for prompt_id, place in self._others.items() if not gone[place]}

    def items(self) -> tuple[list[int | str], np.ndarray]:
        """All prompts and their places, by ascending place."""
        self._merge()
        cells = np.flatnonzero(self._cells)
        others = np.array(list(self._others.values()), dtype=np.int32)
        places = np.concatenate([self._cells[cells] - 1, self._places, others]).astype(np.intp)
        ids = [*(cells - 1).tolist(), *self._keys.tolist(), *self._others]
        order = np.argsort(places, kind="stable")
        return [ids[k] for k in order], places[order]
