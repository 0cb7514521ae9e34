"""Rollouts of a batch that differ: those of one prompt with the same reward are one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.rollouts.batch import Batch

__all__ = ["Distinct"]

# Of fewer rollouts it takes longer to find the equal ones than to do their work.
_FEW = 256


@dataclass(frozen=True)
class Distinct:
    """Which rollouts differ; with rewards of two values these are two a prompt at most, however large its group is."""

    first: np.ndarray | slice  # shape (U,): One rollout of each kind
    kind: np.ndarray | slice  # shape (R,): Kind of each rollout

    @classmethod
    def every(cls) -> Distinct:
        """All rollouts, equal ones among them."""
        return cls(slice(None), slice(None))

    @classmethod
    def of(cls, batch: Batch) -> Distinct:
        """Those of a batch; every rollout where few are equal."""
        n_rollouts, n_prompts, filled = len(batch.rewards), len(batch.sizes), batch.filled
        if n_rollouts < _FEW:
            return cls.every()
        values = np.unique(filled)
        # The last code stands for no reward.
        n_codes = len(values) + 1
        if n_codes * n_prompts >= n_rollouts:
            return cls.every()
        code = np.where(batch.scored, np.searchsorted(values, filled), len(values))
        pair = code + n_codes * batch.spread(np.arange(n_prompts))
        there = np.zeros(n_codes * n_prompts, dtype=bool)
        there[pair] = True
        kind = (np.cumsum(there) - 1)[pair]
        first = np.empty(kind.max() + 1, dtype=np.intp)
        first[kind] = np.arange(n_rollouts)
        return cls(first, kind)

    def sums(self, numbers: np.ndarray) -> np.ndarray:
        """Sum of a number a rollout over those of each kind, shape (U,)."""
        return numbers if isinstance(self.kind, slice) else np.bincount(self.kind, numbers)
