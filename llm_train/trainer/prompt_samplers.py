"""The order of prompts: by epochs, at random, or drawn by a rule; each batch is kept for a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from trl.trainer.utils import RepeatSampler

from kvar.prompt_draws import Drawn

__all__ = ["BlockSampler", "DrawnSampler", "IndependentSampler"]


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


class DrawnSampler(BlockSampler):
    """Each batch drawn without replacement, by what the history says of every prompt.

    Parameters
    ----------
    *args
        As for `BlockSampler`.
    draw : callable
        ``draw(size, generator) -> Drawn``: so many different prompts of the dataset, and the weights of their rollouts.
    **kwargs
        As for `BlockSampler`.

    Notes
    -----
    A batch is drawn when the data loader asks for it, one batch before its use. The drawn prompts and their weights are
    part of the state, so that a resumed run continues with the same. Each batch costs one call of `draw`.
    """

    def __init__(self, *args, draw: Callable[[int, np.random.Generator], Drawn], **kwargs):
        super().__init__(*args, **kwargs)
        self._draw = draw
        self._drawn: list[Drawn] = []

    @property
    def _batches(self) -> int:
        """Batches of an epoch."""
        return self.num_samples // self.batch_size

    def of_generation(self, number: int, block_reuse: int) -> Drawn:
        """The prompts of a generation of the present epoch, by its number in the whole run, the first being 0."""
        return self._drawn[number // block_reuse % self._batches]

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch with no batch drawn."""
        if epoch != self._epoch:
            self._drawn = []
        super().set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        """Draw as many batches as an epoch has, each kept for its block."""
        for number in range(self._batches):
            if number == len(self._drawn):
                generator = np.random.default_rng([self.seed, self._epoch, number])
                self._drawn.append(self._draw(self.batch_size, generator))
            batch = [index for index in self._drawn[number].prompts for _ in range(self.mini_repeat_count)]
            for _ in range(self.repeat_count):
                yield from batch

    def state_dict(self) -> dict:
        """The epoch, and the batches drawn in it with their weights."""
        drawn, weights = [list(batch.prompts) for batch in self._drawn], [list(batch.weights) for batch in self._drawn]
        return {**super().state_dict(), "drawn": drawn, "weights": weights}

    def load_state_dict(self, state: dict) -> None:
        """Continue from another sampler's state; earlier versions knew no weights but 1."""
        super().load_state_dict(state)
        weights = state.get("weights") or [[1.0] * len(batch) for batch in state["drawn"]]
        self._drawn = [Drawn(tuple(batch), tuple(of)) for batch, of in zip(state["drawn"], weights, strict=True)]
