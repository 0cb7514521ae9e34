"""Which place in a table belongs to which prompt."""

from __future__ import annotations

import numpy as np

from kvar.rollouts.prompt_ids import as_keys

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

    def find(self, ids: list[int | str] | np.ndarray) -> np.ndarray:
        """Places of some prompts."""
        keys = as_keys(ids)
        if keys.dtype == object:
            return np.fromiter(map(self._find_one, keys), dtype=np.intp, count=len(keys))
        found = np.full(len(keys), -1, dtype=np.intp)
        if len(self._keys):
            at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            found = np.where(self._keys[at] == keys, self._places[at], found)
        if self._waiting:
            missing = np.flatnonzero(found < 0)
            found[missing] = [self._waiting.get(key, -1) for key in keys[missing].tolist()]
        return found

    def _find_one(self, prompt_id) -> int:
        if as_keys([prompt_id]).dtype == object:
            return self._others.get(prompt_id, -1)
        return int(self.find([prompt_id])[0])

    def add(self, ids: list[int | str] | np.ndarray, places: np.ndarray) -> None:
        """Give places to prompts that have none."""
        keys = as_keys(ids)
        if keys.dtype == object:
            for prompt_id, place in zip(keys, places.tolist(), strict=True):
                target = self._others if as_keys([prompt_id]).dtype == object else self._waiting
                target[prompt_id] = place
        else:
            self._waiting.update(zip(keys.tolist(), places.tolist(), strict=True))
        if len(self._waiting) > max(_WAITING, _WAITING_SHARE * len(self._keys)):
            self._merge()

    def _merge(self) -> None:
        keys = np.concatenate([self._keys, np.array(list(self._waiting), dtype=np.int64)])
        places = np.concatenate([self._places, np.array(list(self._waiting.values()), dtype=np.int32)])
        order = np.argsort(keys, kind="stable")
        self._keys, self._places = keys[order], places[order]
        self._waiting.clear()

    def remove(self, gone: np.ndarray) -> None:
        """Forget the prompts of some places."""
        self._merge()
        kept = ~gone[self._places]
        self._keys, self._places = self._keys[kept], self._places[kept]
        self._others = {prompt_id: place for prompt_id, place in self._others.items() if not gone[place]}

    def items(self) -> tuple[list[int | str], np.ndarray]:
        """All prompts with their places."""
        self._merge()
        places = np.concatenate([self._places, np.array(list(self._others.values()), dtype=np.int32)]).astype(np.intp)
        ids = [*self._keys.tolist(), *self._others]
        order = np.argsort(places, kind="stable")
        return [ids[k] for k in order], places[order]
