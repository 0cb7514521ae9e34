"""The one place that picks rewards up from a trainer, and how a method of one trainer is replaced.

TRL has no hook for this. Its private method ``_calculate_rewards`` returns the rewards of all processes before anything
is subtracted from them, in training and in evaluation. It is replaced on one trainer, not on its class.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["GatheredRewards", "on_rewards", "replace_method", "total_rewards"]


@dataclass(frozen=True)
class GatheredRewards:
    """Rewards of the N rollouts of one generation; the rollouts of a prompt are consecutive rows."""

    # shape (N,): Weighted sum over the K reward functions, as in TRL; NaN where no function gave a reward.
    total: torch.Tensor
    by_function: torch.Tensor  # shape (N, K): NaN where a function gave no reward
    completion_lengths: torch.Tensor  # shape (n,): Tokens of the n completions of this process alone
    prompts: list  # The n prompts of this process, as the policy saw them


def replace_method(trainer: Any, name: str, arguments: Sequence[str], replacement: Callable) -> None:
    """Call ``replacement(original, *arguments)`` in the place of a method, on this instance alone.

    A trainer that lacks the method, or whose method takes other arguments, is refused.
    """
    original = getattr(trainer, name, None)
    if not callable(original):
        raise TypeError(f"{type(trainer).__name__} has no {name}(): a baseline needs a trainer with TRL's method")
    parameters = inspect.signature(original).parameters.values()
    taken = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if taken[: len(arguments)] != list(arguments) and not any(p.kind == p.VAR_POSITIONAL for p in parameters):
        raise TypeError(
            f"{type(trainer).__name__}.{name} takes ({', '.join(taken)}), not ({', '.join(arguments)}): this version "
            "of the trainer is not known; use one from TRL 0.24 on"
        )
    setattr(trainer, name, functools.wraps(original)(functools.partial(replacement, original)))


def total_rewards(trainer: Any, by_function: torch.Tensor) -> torch.Tensor:
    """Weighted sum over reward functions, shape (N,), clipped where the trainer clips; NaN where none gave a reward."""
    weighted = by_function * trainer.reward_weights.to(by_function.device)
    total = torch.where(torch.isnan(by_function).all(dim=1), torch.nan, weighted.nansum(dim=1))
    limits = getattr(trainer, "reward_clip_range", None)  # of RLOOTrainer
    return total if limits is None else total.clamp(*limits)


def on_rewards(trainer: Any, receive: Callable[[list[dict], GatheredRewards], None]) -> None:
    """Call ``receive(inputs, rewards)`` on every process whenever a generation is scored.

    `inputs` are the n examples of this process.
    """

    def pass_on(original, inputs, prompts, completions, completion_ids_list):
        rewards = original(inputs, prompts, completions, completion_ids_list)
        # Lengths come from the ids, because TRL can mask truncated completions out.
        lengths = torch.tensor([len(ids) for ids in completion_ids_list], device=rewards.device)
        receive(inputs, GatheredRewards(total_rewards(trainer, rewards), rewards, lengths, prompts))
        return rewards

    arguments = ("inputs", "prompts", "completions", "completion_ids_list")
    replace_method(trainer, "_calculate_rewards", arguments, pass_on)
