"""Numbers of the prompts of a log that grows, and the sample of them that the studies take."""

from __future__ import annotations

import numpy as np

from kvar.history.prompt_index import PromptIndex
from kvar.rollouts.prompt_ids import as_keys, prompt_key

__all__ = ["PromptNumbers"]

_HASHES = 2**64
# Odd factors that spread bits: 2**64 over the golden ratio, and another.
_MIXED = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)


class PromptNumbers:
    """Gives each prompt a number, from 0, and keeps it."""

    def __init__(self) -> None:
        self.ids = np.zeros(0, dtype=np.int64)  # shape (P,): Id of each number
        self._index = PromptIndex()
        self._hash = np.zeros(0, dtype=np.uint64)

    def of(self, prompts: np.ndarray) -> np.ndarray:
        """Numbers of distinct prompts, with new ones for new prompts, shape (P,)."""
        keys = as_keys(prompts if prompts.dtype.kind == "i" else prompts.tolist())
        numbers = self._index.find(keys)
        new = np.flatnonzero(numbers < 0)
        numbers[new] = np.arange(len(self), len(self) + len(new))
        self._index.add(keys[new], numbers[new])
        self.ids = np.concatenate([self.ids, prompts[new]]) if len(self.ids) else prompts[new]
        self._hash = np.concatenate([self._hash, _hashes(prompts[new])])
        return numbers

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self._hash)

    def fingerprint(self, step: np.ndarray, numbers: np.ndarray, reward: np.ndarray) -> int:
        """A sum over rollouts, modulo 2**64, that is the same for the same steps, prompts and rewards in any order."""
        with np.errstate(over="ignore"):
            parts = step.astype(np.float64).view(np.uint64) * _MIXED[0]
            parts ^= np.nan_to_num(reward, nan=-1e300).view(np.uint64) * _MIXED[1]
            return int(((parts ^ self._hash[numbers]) * _MIXED[0]).sum())

    def sampled(self, numbers: np.ndarray, one_in: int) -> np.ndarray:
        """Whether prompts belong to a sample of one in so many; those of a smaller sample are among them."""
        return self._hash[numbers] <= np.uint64((_HASHES - 1) // one_in)


def _hashes(ids: np.ndarray) -> np.ndarray:
    """Hashes that depend on the id alone. Those of whole numbers in a row are spread evenly (Knuth's golden ratio)."""
    keys = ids if ids.dtype.kind == "i" else np.array([prompt_key(one) for one in ids.tolist()], dtype=np.int64)
    with np.errstate(over="ignore"):
        return keys.astype(np.uint64) * _MIXED[0]
