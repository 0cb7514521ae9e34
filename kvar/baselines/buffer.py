"""A window of each prompt's last rewards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.baselines.batch_mean import BatchMean
from kvar.history.prompt_table import PromptTable
from kvar.rollouts.batch import Batch
from kvar.utils.checks import checked_count

__all__ = ["BufferBaseline"]

# Each prompt takes 8 bytes for each reward of the window, so that a longer window can only be a mistake.
_LARGEST_SIZE = 1_000_000


@dataclass
class BufferBaseline(Baseline):
    """Mean of the prompt's last rewards, including those of the batch, as in the code of DDPO (arXiv 2305.13301).

    It is the ``PerPromptStatTracker`` of kvablack/ddpo-pytorch without the division by the standard deviation. The
    batch's rewards enter the window first, in the order of the rollouts, and the oldest rewards leave it. If a group is
    larger than the window, only its last rewards stay. A prompt with fewer than `min_count` rewards in its window has
    the batch mean as its value, which is NaN if the batch has no reward. A window is kept for every prompt ever seen.

    Parameters
    ----------
    size : int
        Number of rewards in the window, at most a million.
    min_count : int
        Number of rewards from which the window is used, from 1 to `size`. Both are 16 in the published configuration.
    """

    name: ClassVar[str] = "buffer"
    size: int = 16
    min_count: int = 16
    _table: PromptTable = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        self.size = checked_count(self.size, "size", high=_LARGEST_SIZE)
        self.min_count = checked_count(self.min_count, "min_count")
        if self.min_count > self.size:
            raise ValueError(f"min_count must be from 1 to size, got {self.min_count!r:.60} and {self.size}")
        # NaN marks an empty place of the window. The newest reward comes last.
        self._table = PromptTable(rewards=np.full(self.size, np.nan))

    def values(self, batch: Batch) -> np.ndarray:
        """Means of the windows, including the batch."""
        count = self._window_counts(batch)
        mean = np.nansum(self.recalled(batch)["rewards"], axis=1) / np.maximum(count, 1)
        return np.where(batch.spread(count >= self.min_count), batch.spread(mean), BatchMean().values(batch))

    def own_weight(self, batch: Batch) -> np.ndarray:
        """One over the number of rewards averaged; 0 for a reward that later ones of its group push out."""
        count = batch.spread(self._window_counts(batch))
        kept = self._kept(batch)[0] / np.maximum(count, 1)
        return np.where(count >= self.min_count, kept, BatchMean().own_weight(batch))

    def learn(self, batch: Batch) -> None:
        """Store the windows that end with the batch's rewards."""
        visited = np.flatnonzero(batch.counts > 0)
        self._table.write(batch.keys[visited], self.recalled(batch)[visited], batch.step)

    def _recall(self, batch: Batch) -> np.ndarray:
        """Records with windows that end with the batch's rewards, shape (P,)."""
        records = self._table.read(batch.keys)
        moved = np.arange(self.size) + batch.counts[:, None]
        windows = np.take_along_axis(records["rewards"], np.minimum(moved, self.size - 1), axis=1)
        windows[moved >= self.size] = np.nan
        kept, from_end = self._kept(batch)
        windows[batch.spread(np.arange(len(records)))[kept], self.size - from_end[kept]] = batch.rewards[kept]
        records["rewards"] = windows
        return records

    def _window_counts(self, batch: Batch) -> np.ndarray:
        """Number of rewards in each window, shape (P,)."""
        return (~np.isnan(self.recalled(batch)["rewards"])).sum(axis=1)

    def _kept(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Whether a reward stays in the window, and its place in the group counted from the last, shape (R,) each."""
        from_end = batch.by_group(lambda scored: np.cumsum(scored[:, ::-1], axis=1)[:, ::-1], batch.scored)
        return batch.scored & (from_end <= self.size), from_end

    def _state(self) -> dict:
        return self._table.state_dict()

    def _load_state(self, state: dict) -> None:
        self._table.load_state_dict(state)
