"""Rewards and advantages as verl and SkyRL pass them: one number per token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from llm_train.plugins.prompt_history import PromptHistory

__all__ = ["token_advantages"]


def token_advantages(
    history: PromptHistory,
    prompt_ids: Sequence[int | str],
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    score_norm: np.ndarray | None = None,
) -> torch.Tensor:
    """Advantage of each of n rollouts at all tokens of its response, 0 at the others; tensors of shape (n, T)."""
    rewards = token_level_rewards.sum(dim=-1).double().cpu().numpy()
    advantages = torch.as_tensor(history.advantages(prompt_ids, rewards, score_norm))
    return advantages.to(token_level_rewards)[:, None] * response_mask
