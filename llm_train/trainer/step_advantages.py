"""From the gathered rewards of a generation to its advantages; nothing here knows a trainer.

All N rollouts of all processes come together. The rollouts of a prompt are consecutive rows, as TRL's samplers lay them
out. A reward of NaN is a completion that could not be scored: its advantage is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from kvar import Baseline
from llm_train.trainer.baseline_metrics import baseline_metrics

__all__ = ["require_rates", "step_advantages", "whitened"]

_ROUNDING = 1e-6  # of a weighted sum of rewards in single precision


def step_advantages(
    baseline: Baseline,
    prompt_ids: Sequence[int | str],
    rewards: torch.Tensor,
    step: int,
    group_size: int,
    columns: Mapping[str, torch.Tensor],
    own: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, float]]:
    """Advantages of shape (N,) and the metrics of the baseline, which then remembers the rewards.

    Ids, rewards and columns have N entries each. Advantages that the trainer made itself, `own`, are kept.
    """
    groups = (-1, group_size)
    rewards = rewards.view(groups)
    columns = {name: column.view(groups) for name, column in columns.items()}
    advantages, info = baseline.advantages(prompt_ids[::group_size], rewards, step, return_info=True, **columns)
    advantages = advantages if own is None else own.view(groups)
    metrics = baseline_metrics(info, rewards, advantages, columns.get("true_value"), columns.get("score_norm"))
    metrics["window"] = baseline.window_in_use
    return advantages.flatten(), metrics


def whitened(advantages: torch.Tensor, rewards: torch.Tensor) -> torch.Tensor:
    """Advantages with mean 0 and variance 1 over all scored rollouts of the generation."""
    scored = ~torch.isnan(rewards)
    if not scored.any():
        return advantages
    mean, deviation = advantages[scored].mean(), advantages[scored].std(correction=0)
    return torch.where(scored, (advantages - mean) / (deviation + 1e-8), 0.0)


def require_rates(rewards: torch.Tensor, order: str) -> None:
    """Refuse rewards outside [0, 1], for an order of prompts that takes values for success rates."""
    outside = rewards[(rewards < -_ROUNDING) | (rewards > 1 + _ROUNDING)]
    if len(outside):
        raise ValueError(
            f"prompt_order={order!r} takes rewards from 0 to 1, got {outside[0].item():g}: scale them, or choose "
            "another prompt_order, such as 'importance'"
        )
