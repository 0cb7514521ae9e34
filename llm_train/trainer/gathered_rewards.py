"""The one place that picks rewards up from TRL.

TRL 1.16 has no hook for this. Its private method ``_calculate_rewards`` returns the rewards of all processes before
anything is subtracted from them, in training and in evaluation. It is replaced on one trainer, not on its class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from trl import GRPOTrainer

__all__ = ["GatheredRewards", "on_rewards"]


@dataclass(frozen=True)
class GatheredRewards:
    """Rewards of the N rollouts of one generation; the rollouts of a prompt are consecutive rows."""

    # shape (N,): Weighted sum over the K reward functions, as in TRL; NaN where no function gave a reward.
    total: torch.Tensor
    by_function: torch.Tensor  # shape (N, K): NaN where a function gave no reward
    completion_lengths: torch.Tensor  # shape (n,): Tokens of the n completions of this process alone


def on_rewards(trainer: GRPOTrainer, receive: Callable[[list[dict], GatheredRewards], None]) -> None:
    """Call ``receive(inputs, rewards)`` on every process whenever a generation is scored.

    `inputs` are the n examples of this process.
    """
    calculate = trainer._calculate_rewards

    def calculate_and_pass_on(inputs, prompts, completions, completion_ids_list):
        rewards = calculate(inputs, prompts, completions, completion_ids_list)
        weighted = rewards * trainer.reward_weights.to(rewards.device)
        total = torch.where(torch.isnan(rewards).all(dim=1), torch.nan, weighted.nansum(dim=1))
        # Lengths come from the ids, because TRL can mask truncated completions out.
        lengths = torch.tensor([len(ids) for ids in completion_ids_list], device=rewards.device)
        receive(inputs, GatheredRewards(total, rewards, lengths))
        return rewards

    trainer._calculate_rewards = calculate_and_pass_on
