"""In which order prompts come, each mini-batch kept for some steps: by epochs, at random, or where rewards vary."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from trl.trainer.utils import RepeatSampler

__all__ = ["BlockSampler", "IndependentSampler", "VarianceSampler", "variance_weights"]

# Share of the weight that every prompt keeps, however sure its outcome (as in SPO, arXiv 2509.13232).
_FLOOR = 0.05


class BlockSampler(RepeatSampler):
    """TRL's order of prompts, each mini-batch kept for `block_reuse` consecutive generations.

    With `block_reuse` 1 this is TRL's own order. In both cases the shuffle depends on the seed and the epoch alone, so
    that a run which resumes in a later epoch meets the prompts it would have met; TRL's sampler restarts at the first.

    Parameters
    ----------
    data_source : sized
        The dataset.
    mini_repeat_count : int
        Rollouts a prompt.
    batch_size : int
        Prompts a generation.
    steps_per_batch : int
        Batches of the data loader that one generation serves.
    block_reuse : int
        Consecutive generations on the same prompts, J in the paper (arXiv 2604.28005: 10 on GSM8K and MATH, 8 on DAPO).
    shuffle : bool
        Shuffle the dataset once an epoch.
    seed : int
        Of the shuffle.
    """

    def __init__(self, data_source, mini_repeat_count, batch_size, steps_per_batch, block_reuse, shuffle, seed):
        super().__init__(
            data_source=data_source,
            mini_repeat_count=mini_repeat_count,
            batch_size=batch_size,
            repeat_count=steps_per_batch * block_reuse,
            shuffle=shuffle,
            seed=seed,
        )
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Shuffle for an epoch; called by the trainer before each."""
        self._epoch = epoch
        if self.shuffle:
            self.generator.manual_seed(self.seed + epoch)

    def state_dict(self) -> dict:
        """Where the order stands."""
        return {"epoch": self._epoch}

    def load_state_dict(self, state: dict) -> None:
        """Continue where another sampler stood."""
        if "epoch" in state:
            self.set_epoch(state["epoch"])


class IndependentSampler(BlockSampler):
    """Prompts drawn independently with replacement: a prompt may come twice in a batch, or not for a long time."""

    def __iter__(self) -> Iterator[int]:
        """Draw as many prompts as an epoch has, each batch kept for its block."""
        for _ in range(self.num_samples // self.batch_size):
            drawn = torch.randint(self.num_samples, (self.batch_size,), generator=self.generator)
            yield from drawn.repeat_interleave(self.mini_repeat_count).repeat(self.repeat_count).tolist()


def variance_weights(values: np.ndarray, standard_errors: np.ndarray) -> np.ndarray:
    """How much there is to learn from each prompt, hopefully: v (1 - v) at the likely value where it is largest.

    Examples
    --------
    >>> variance_weights(np.array([0.5, 0.9, 0.9, 1.0, np.nan]), np.array([0.1, 0.0, 0.3, 0.0, np.nan])).round(2)
    array([1.  , 0.36, 0.96, 0.05, 1.  ])
    """
    likely = np.clip(0.5, values - standard_errors, values + standard_errors).clip(0.0, 1.0)
    return np.maximum(np.where(np.isnan(likely), 1.0, 4 * likely * (1 - likely)), _FLOOR)


class VarianceSampler(BlockSampler):
    """Each batch drawn without replacement, a prompt the likelier the more its reward is thought to vary.

    Parameters
    ----------
    *args
        As for `BlockSampler`.
    assess : callable
        ``assess() -> values, standard_errors`` of every prompt as the history stands.
    **kwargs
        As for `BlockSampler`.

    Notes
    -----
    A batch is drawn when the data loader asks for it, which is one batch ahead of its use. What was drawn is part of
    the state, so that a resumed run meets the same prompts. The objective becomes the mean over prompts weighted in
    this way. One look at the history of all prompts a batch.
    """

    def __init__(self, *args, assess: Callable, **kwargs):
        super().__init__(*args, **kwargs)
        self._assess = assess
        self._drawn: list[list[int]] = []

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch."""
        if epoch != self._epoch:
            self._drawn = []
        super().set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        """Draw as many batches as an epoch has, each kept for its block."""
        for number in range(self.num_samples // self.batch_size):
            if number == len(self._drawn):
                weights = variance_weights(*map(np.asarray, self._assess()))
                generator = np.random.default_rng([self.seed, self._epoch, number])
                drawn = generator.choice(len(weights), self.batch_size, replace=False, p=weights / weights.sum())
                self._drawn.append(drawn.tolist())
            batch = [index for index in self._drawn[number] for _ in range(self.mini_repeat_count)]
            for _ in range(self.repeat_count):
                yield from batch

    def state_dict(self) -> dict:
        """The epoch and what was drawn in it."""
        return {**super().state_dict(), "drawn": [list(batch) for batch in self._drawn]}

    def load_state_dict(self, state: dict) -> None:
        """Continue where another sampler stood."""
        super().load_state_dict(state)
        self._drawn = [list(batch) for batch in state["drawn"]]
