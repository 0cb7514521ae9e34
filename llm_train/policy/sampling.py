"""Samples of a small policy at temperature 1, with one forward pass for all rows that begin alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["sample_completions"]


def sample_completions(
    model, prompts: Sequence[list[int]], longest: int, end: int, generator: torch.Generator
) -> list[list[int]]:
    """Sample completions of up to `longest` tokens from a policy at temperature 1; they end with the token `end`."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    tokens = torch.full((len(prompts), int(lengths.max()) + longest), end)
    for k, prompt in enumerate(prompts):
        tokens[k, : len(prompt)] = torch.tensor(prompt)
    unfinished = torch.arange(len(prompts))
    with torch.no_grad():
        for k in range(longest):
            width = int(lengths.max()) + k
            # Many rollouts of one prompt share few prefixes. The length tells apart what the filling makes equal.
            rows = torch.cat([lengths[unfinished, None], tokens[unfinished, :width]], dim=1)
            distinct, which = torch.unique(rows, dim=0, return_inverse=True)
            # Tokens attend to the left only, so that the filling on the right has no effect.
            last = distinct[:, 0] - 1 + k
            logits = model(input_ids=distinct[:, 1:]).logits[torch.arange(len(distinct)), last]
            drawn = torch.multinomial(torch.softmax(logits, -1)[which], 1, generator=generator)[:, 0]
            tokens[unfinished, lengths[unfinished] + k] = drawn
            unfinished = unfinished[drawn != end]
            if not len(unfinished):
                break
    completions = [tokens[k, n : n + longest].tolist() for k, n in enumerate(lengths.tolist())]
    return [y[: y.index(end) + 1] if end in y else y for y in completions]
