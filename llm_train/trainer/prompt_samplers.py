"""The order of prompts: by epochs, at random, or by the variance of the reward; each batch is kept for a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from trl.trainer.utils import RepeatSampler

__all__ = ["BlockSampler", "IndependentSampler", "VarianceSampler", "variance_weights"]

# Least weight of a prompt, however certain its outcome (as in SPO, arXiv 2509.13232).
_FLOOR = 0.05


class BlockSampler(RepeatSampler):
    """TRL's order of prompts, each batch of prompts kept for `block_reuse` consecutive generations.

    With `block_reuse` 1 this is TRL's own order, in every epoch. The shuffle depends on the seed and the epoch alone. A
    run that resumes in a later epoch therefore continues with the same prompts, where TRL's sampler restarts at the
    first epoch.

    Parameters
    ----------
    data_source : sized
        The dataset.
    mini_repeat_count : int
        Rollouts per prompt.
    batch_size : int
        Prompts per generation.
    steps_per_batch : int
        Batches of the data loader that one generation serves.
    block_reuse : int
        Consecutive generations on the same prompts, J in arXiv 2604.28005 (10 on GSM8K and MATH, 8 on DAPO).
    shuffle : bool
        Shuffle the dataset at the start of each epoch.
    seed : int
        Seed of the shuffle.
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
        self._as_trl = block_reuse == 1

    def set_epoch(self, epoch: int) -> None:
        """Shuffle for an epoch; the trainer calls this before each one."""
        self._epoch = epoch
        if self.shuffle and self._as_trl:
            self.generator.manual_seed(self.seed)
            for _ in range(epoch):  # TRL's generator goes on from one epoch to the next
                torch.randperm(self.num_samples, generator=self.generator)
        elif self.shuffle:
            self.generator.manual_seed(self.seed + epoch)

    def state_dict(self) -> dict:
        """The epoch, which a trainer of several processes does not tell the sampler of a resumed run."""
        return {"epoch": self._epoch}

    def load_state_dict(self, state: dict) -> None:
        """Continue from another sampler's state; earlier versions kept an empty one."""
        if "epoch" in state:
            self.set_epoch(state["epoch"])


class IndependentSampler(BlockSampler):
    """Prompts drawn independently with replacement: a prompt may come twice in a batch, or in no batch of an epoch."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._as_trl = False

    def __iter__(self) -> Iterator[int]:
        """Draw as many batches as an epoch has, each kept for its block."""
        for _ in range(self.num_samples // self.batch_size):
            drawn = torch.randint(self.num_samples, (self.batch_size,), generator=self.generator)
            yield from drawn.repeat_interleave(self.mini_repeat_count).repeat(self.repeat_count).tolist()


def variance_weights(values: np.ndarray, standard_errors: np.ndarray) -> np.ndarray:
    """Upper estimate of the relative variance of each prompt's reward in [0, 1], at least 0.05; shape (n,).

    It is 4 u (1 - u) at the u nearest to 1/2 within one standard error of the value. A prompt without history (NaN)
    has weight 1, so that it is soon sampled.

    Examples
    --------
    >>> variance_weights(np.array([0.5, 0.9, 0.9, 1.0, np.nan]), np.array([0.1, 0.0, 0.3, 0.0, np.nan])).round(2)
    array([1.  , 0.36, 0.96, 0.05, 1.  ])
    """
    nearest = np.clip(0.5, values - standard_errors, values + standard_errors).clip(0.0, 1.0)
    return np.maximum(np.where(np.isnan(nearest), 1.0, 4 * nearest * (1 - nearest)), _FLOOR)


class VarianceSampler(BlockSampler):
    """Each batch drawn without replacement, with probabilities that grow with the estimated variance of the reward.

    Parameters
    ----------
    *args
        As for `BlockSampler`.
    assess : callable
        ``assess() -> values, standard_errors`` of every prompt from the history so far, each of shape (n,).
    **kwargs
        As for `BlockSampler`.

    Notes
    -----
    A batch is drawn when the data loader asks for it, one batch before its use. The drawn prompts are part of the
    state, so that a resumed run continues with the same prompts. The objective becomes a mean over prompts with these
    probabilities as weights. Each batch costs one call of `assess`.
    """

    def __init__(self, *args, assess: Callable, **kwargs):
        super().__init__(*args, **kwargs)
        self._assess = assess
        self._drawn: list[list[int]] = []

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch with no batch drawn."""
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
        """The epoch and the batches drawn in it."""
        return {**super().state_dict(), "drawn": [list(batch) for batch in self._drawn]}

    def load_state_dict(self, state: dict) -> None:
        """Continue from another sampler's state."""
        super().load_state_dict(state)
        self._drawn = [list(batch) for batch in state["drawn"]]
