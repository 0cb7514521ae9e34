"""In which order prompts come: each mini-batch kept for several consecutive steps, once an epoch or at random."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from trl.trainer.utils import RepeatSampler

__all__ = ["BlockSampler", "IndependentSampler"]


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

    def set_epoch(self, epoch: int) -> None:
        """Shuffle for an epoch; called by the trainer before each.

        Parameters
        ----------
        epoch : int
            Number of the epoch.
        """
        if self.shuffle:
            self.generator.manual_seed(self.seed + epoch)


class IndependentSampler(BlockSampler):
    """Prompts drawn independently with replacement: a prompt may come twice in a batch, or not for a long time."""

    def __iter__(self) -> Iterator[int]:
        """Draw as many prompts as an epoch has, each batch kept for its block."""
        for _ in range(self.num_samples // self.batch_size):
            drawn = torch.randint(self.num_samples, (self.batch_size,), generator=self.generator)
            yield from drawn.repeat_interleave(self.mini_repeat_count).repeat(self.repeat_count).tolist()
