"""Rewards and advantages as verl and SkyRL pass them: one number per token."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch

from llm_train.plugins.prompt_history import PromptHistory

__all__ = ["token_advantages"]


def token_advantages(
    history: PromptHistory,
    prompt_ids: Sequence[int | str | None],
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    score_norm: np.ndarray | None = None,
    rollout_ids: Sequence[Hashable] | None = None,
) -> torch.Tensor:
    """Advantage of each of n rows at all tokens of its response, 0 at the others; tensors of shape (n, T).

    Rows without a prompt id only fill a batch up: they enter neither history nor means, and their advantage is 0.
    """
    rewards = token_level_rewards.sum(dim=-1).double().cpu().numpy()
    real = [row for row, prompt_id in enumerate(prompt_ids) if prompt_id is not None]
    advantages = np.zeros(len(rewards))
    advantages[real] = history.advantages(
        [prompt_ids[row] for row in real],
        rewards[real],
        None if score_norm is None else score_norm[real],
        None if rollout_ids is None else [rollout_ids[row] for row in real],
    )
    return torch.as_tensor(advantages).to(token_level_rewards)[:, None] * response_mask
