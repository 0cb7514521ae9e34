"""A fixed record of every prompt ever seen, for methods that never drop a prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from kvar.history.prompt_index import PromptIndex
from kvar.rollouts.prompt_ids import as_keys
from kvar.utils.checks import LARGEST, checked_array, checked_ids, checked_keys

__all__ = ["PromptTable"]


class PromptTable:
    """One record a prompt, read and written for a whole batch at once.

    Parameters
    ----------
    bounds : mapping of str to (float, float), optional
        Smallest and largest number that a field can hold, to check a state that is loaded. The default is the range of
        rewards. A field of several numbers may contain NaN for missing ones.
    **blank : float or array_like of float
        Fields of a record by name, with their content for a new prompt. A field ``step`` is added: the time of the
        last write, ``-inf`` for a new prompt.

    Notes
    -----
    Reading or writing P prompts among N costs O(P log N). Memory is 8 to 16 bytes for each number of each prompt, and
    12 bytes for its id and place. Records are never dropped.
    """

    def __init__(self, bounds: Mapping[str, tuple[float, float]] | None = None, **blank):
        self._bounds = bounds or {}
        blank["step"] = -math.inf
        fields = [(name, np.float64, np.shape(value)) for name, value in blank.items()]
        self._fields = list(blank)
        self._blank = np.array(tuple(blank.values()), dtype=fields)
        self._index = PromptIndex()
        self._records = np.full(0, self._blank)

    def __len__(self) -> int:
        """Number of prompts that have a record."""
        return len(self._index)

    def read(self, prompt_ids: list[int | str] | np.ndarray) -> np.ndarray:
        """Copies of the prompts' records, shape (P,); blank ones for new prompts."""
        slots = self._index.find(prompt_ids)
        records = np.full(len(slots), self._blank)
        known = slots >= 0
        records[known] = self._records[slots[known]]
        return records

    def elapsed(self, prompt_ids: list[int | str], records: np.ndarray, step: float) -> np.ndarray:
        """Time since each prompt was last written, shape (P,); 0 for new prompts, ValueError if `step` goes back."""
        late = records["step"] > step
        if late.any():
            k = int(np.argmax(late))
            raise ValueError(
                f"step {step:g} is earlier than step {records['step'][k]:g} of prompt {prompt_ids[k]!r:.80}, which is "
                "already remembered; pass steps in order, or load an earlier state_dict"
            )
        return np.where(np.isfinite(records["step"]), step - records["step"], 0.0)

    def write(self, prompt_ids: list[int | str] | np.ndarray, records: np.ndarray, step: float) -> None:
        """Write the records of distinct prompts."""
        keys = as_keys(prompt_ids)
        slots = self._index.find(keys)
        new = np.flatnonzero(slots < 0)
        if new.size:
            slots[new] = np.arange(len(self), len(self) + new.size)
            self._index.add(keys[new], slots[new])
        if len(self) > len(self._records):
            # Doubling makes the amortised cost of growth constant per prompt.
            extra = max(len(self), 2 * len(self._records)) - len(self._records)
            self._records = np.concatenate([self._records, np.full(extra, self._blank)])
        self._records[slots] = records
        self._records["step"][slots] = step

    def state_dict(self) -> dict:
        """Plain data for `load_state_dict`: prompt ids as a list, each field as an array."""
        written = self._records[: len(self)]
        return {"prompt_ids": self._index.items()[0], **{name: written[name].copy() for name in self._fields}}

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned; a damaged state raises ValueError and changes nothing."""
        checked_keys(state, ("prompt_ids", *self._fields), "this history")
        ids = checked_ids(state["prompt_ids"], "prompt_ids of this history")
        records = np.full(len(ids), self._blank)
        for name in self._fields:
            shape, (low, high) = records[name].shape, self._bounds.get(name, (-LARGEST, LARGEST))
            records[name] = checked_array(
                state[name], f"{name} of this history", shape, low, high, missing=len(shape) > 1
            )
        self._index = PromptIndex()
        self._index.add(ids, np.arange(len(ids)))
        self._records = records
