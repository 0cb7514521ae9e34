"""The prompts that the studies take of a long log, with all of their rollouts."""

from __future__ import annotations

import numpy as np

from kvar.auditing.prompt_numbers import PromptNumbers
from kvar.rollouts.step_chunks import StepChunk
from kvar.rollouts.trace import Trace

__all__ = ["PromptSample", "joined"]

# The studies replay a run ten times and more, so of a long run they take only some of the prompts.
_MOST_ROLLOUTS = 400_000


class PromptSample:
    """Chunks of the rollouts of one in so many prompts, 400,000 or fewer on average; as a log grows, prompts leave."""

    def __init__(self, numbers: PromptNumbers):
        self.one_in = 1
        self.chunks: list[StepChunk] = []
        self._numbers = numbers

    def thin(self, n_rollouts: int) -> bool:
        """Leave prompts out, as many as a log of so many rollouts needs; whether there were any to leave out."""
        before = self.one_in
        while n_rollouts > self.one_in * _MOST_ROLLOUTS:
            self.one_in *= 2
        if self.one_in > before:
            self.chunks = self.part(self.chunks)
        return self.one_in > before

    def add(self, chunk: StepChunk) -> None:
        """Add a chunk of the log."""
        self.chunks += self.part([chunk])

    def part(self, chunks: list[StepChunk]) -> list[StepChunk]:
        """The parts of some chunks that belong to the sample."""
        if self.one_in == 1:
            return list(chunks)
        masks = [self._numbers.sampled(chunk.code, self.one_in) for chunk in chunks]
        return [chunk.only(mask) for chunk, mask in zip(chunks, masks, strict=True) if mask.any()]


def joined(chunks: list[StepChunk]) -> Trace:
    """The rollouts of some chunks, with the numbers of the prompts as their ids."""
    step, code, reward = (np.concatenate([getattr(c, name) for c in chunks]) for name in ("step", "code", "reward"))
    extras = {name: np.concatenate([c.columns[name] for c in chunks]) for name in chunks[0].columns}
    return Trace.from_columns({"step": step, "prompt_id": code, "reward": reward, **extras})
