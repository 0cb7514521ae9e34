"""The rewards of one run, summed by prompt and step: what a comparison of runs needs of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.rollouts.step_chunks import SortedTrace
from kvar.rollouts.trace import Trace

__all__ = ["PromptSteps"]


@dataclass(frozen=True)
class PromptSteps:
    """One entry for each prompt at each step, in the order of steps; rollouts without a reward are left out."""

    prompt: np.ndarray  # shape (C,): Ids of the prompts
    step: np.ndarray  # shape (C,): Steps
    count: np.ndarray  # count, total, square: shape (C,): Number of rewards, their sum, and the sum of their squares
    total: np.ndarray
    square: np.ndarray

    @classmethod
    def of(cls, trace: Trace) -> PromptSteps:
        """Sum the rewards of a trace."""
        order = SortedTrace.of(trace)
        parts = []
        for chunk in order.chunks():
            scored = ~np.isnan(chunk.reward)
            reward = np.where(scored, chunk.reward, 0.0)
            count = chunk.sums(scored.astype(np.int64))
            kept = count > 0
            first = chunk.groups[kept]
            sums = (count[kept], chunk.sums(reward)[kept], chunk.sums(reward**2)[kept])
            parts.append((order.prompts[chunk.code[first]], chunk.step[first], *sums))
        return cls(*map(np.concatenate, zip(*parts, strict=True)))

    def between(self, first: float, last: float) -> PromptSteps:
        """The part from one step to another, both included."""
        kept = (self.step >= first) & (self.step <= last)
        return PromptSteps(*(column[kept] for column in vars(self).values()))
