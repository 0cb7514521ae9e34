"""Which place in a table belongs to which prompt."""

from __future__ import annotations

import numpy as np

__all__ = ["PromptIndex"]

# New integer ids wait in a dictionary until they are worth a merge into the sorted ones.
_WAITING, _WAITING_SHARE = 1024, 0.125


class PromptIndex:
    """A map from prompt ids to places, for a million prompts in 12 bytes each.

    Integer ids lie sorted in an array beside their places, since a dictionary of as many Python integers takes ten
    times the memory. Strings, and integers of more than 64 bits, lie in a dictionary.

    Notes
    -----
    Finding n ids among N costs O(n log N), setting them O(n) and now and then a merge, O(N) for every N / 8 new ones.
    """

    def __init__(self):
        self._keys = np.empty(0, dtype=np.int64)
        self._places = np.empty(0, dtype=np.int32)
        self._waiting: dict[int | str, int] = {}
        self._others: dict[int | str, int] = {}

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self._keys) + len(self._waiting) + len(self._others)

    def find(self, ids: list[int | str]) -> np.ndarray:
        """Places of some prompts.

        Parameters
        ----------
        ids : list of int or str, length n
            Prompts.

        Returns
        -------
        ndarray of intp, shape (n,)
            -1 for a prompt that has none.
        """
        keys = _as_keys(ids)
        if keys is None:
            return np.fromiter(map(self._find_one, ids), dtype=np.intp, count=len(ids))
        found = np.full(len(ids), -1, dtype=np.intp)
        if len(self._keys):
            at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            found = np.where(self._keys[at] == keys, self._places[at], found)
        if self._waiting:
            for k in np.flatnonzero(found < 0):
                found[k] = self._waiting.get(ids[k], -1)
        return found

    def _find_one(self, prompt_id) -> int:
        if _as_keys([prompt_id]) is None:
            return self._others.get(prompt_id, -1)
        return int(self.find([prompt_id])[0])

    def add(self, ids: list[int | str], places: np.ndarray) -> None:
        """Give places to prompts that have none.

        Parameters
        ----------
        ids : list of int or str, length n
            Distinct prompts.
        places : ndarray of int, shape (n,)
            Their places.
        """
        if _as_keys(ids) is not None:
            self._waiting.update(zip(ids, places.tolist(), strict=True))
        else:
            for prompt_id, place in zip(ids, places.tolist(), strict=True):
                target = self._others if _as_keys([prompt_id]) is None else self._waiting
                target[prompt_id] = place
        if len(self._waiting) > max(_WAITING, _WAITING_SHARE * len(self._keys)):
            self._merge()

    def _merge(self) -> None:
        keys = np.concatenate([self._keys, np.array(list(self._waiting), dtype=np.int64)])
        places = np.concatenate([self._places, np.array(list(self._waiting.values()), dtype=np.int32)])
        order = np.argsort(keys, kind="stable")
        self._keys, self._places = keys[order], places[order]
        self._waiting.clear()

    def remove(self, gone: np.ndarray) -> None:
        """Forget the prompts of some places.

        Parameters
        ----------
        gone : ndarray of bool
            Whether the prompt that has a place is forgotten, for each place.
        """
        self._merge()
        kept = ~gone[self._places]
        self._keys, self._places = self._keys[kept], self._places[kept]
        self._others = {prompt_id: place for prompt_id, place in self._others.items() if not gone[place]}

    def items(self) -> tuple[list[int | str], np.ndarray]:
        """All prompts with their places.

        Returns
        -------
        list of int or str, length N
            Prompts, in the order of their places.
        ndarray of intp, shape (N,)
            Places, ascending.
        """
        self._merge()
        places = np.concatenate([self._places, np.array(list(self._others.values()), dtype=np.int32)]).astype(np.intp)
        ids = [*self._keys.tolist(), *self._others]
        order = np.argsort(places, kind="stable")
        return [ids[k] for k in order], places[order]


def _as_keys(ids) -> np.ndarray | None:
    """The ids as 64-bit integers; nothing if one of them is none."""
    if set(map(type, ids)) != {int}:
        return None
    try:
        return np.array(ids, dtype=np.int64)
    except OverflowError:
        return None
