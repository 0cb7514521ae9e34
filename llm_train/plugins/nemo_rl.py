"""For NeMo-RL: a class with ``compute_advantage``, and how it gets into a trainer that has no registry.

``install(nemo_rl.algorithms.grpo)`` before ``grpo_train`` replaces the function that makes the estimator; a whole
script is in ``examples/nemo_rl_main.py``. Settings stand under ``grpo.adv_estimator``: ``baseline``,
``baseline_kwargs``, ``state_path`` and ``pad_token_id``.
"""

from __future__ import annotations

import numpy as np
import torch

from kvar.rollouts.prompt_ids import prompt_key
from llm_train.plugins.prompt_history import PromptHistory

__all__ = ["KernelAdvantageEstimator", "install"]


class KernelAdvantageEstimator:
    """An estimator with the interface of NeMo-RL's own.

    Parameters
    ----------
    estimator_config : mapping or object, optional
        With the settings above; names that are missing have defaults.
    loss_config : optional
        As NeMo-RL passes it; not used.
    """

    def __init__(self, estimator_config=None, loss_config=None):
        self._pad = _setting(estimator_config, "pad_token_id")
        parameters = _setting(estimator_config, "baseline_kwargs") or {}
        name = _setting(estimator_config, "baseline") or "adaptive"
        self.history = PromptHistory(name, _setting(estimator_config, "state_path"), **parameters)

    def compute_advantage(self, prompt_ids, rewards, mask, *, repeated_batch=None, valid_mask=None, **_):
        """Advantages of a step.

        Parameters
        ----------
        prompt_ids : torch.Tensor, shape (n,) or (n, L)
            A number, or the padded tokens, of each prompt.
        rewards : torch.Tensor, shape (n,)
            Rewards.
        mask : torch.Tensor, shape (n, T)
            Response tokens; gives the shape.
        repeated_batch : mapping, optional
            If it has ``idx``, the row of each prompt in the dataset, prompts are named by that.
        valid_mask : torch.Tensor, shape (n,), optional
            Rows of 0 neither enter the history nor a mean, and their advantage is 0.
        **_
            Whatever else NeMo-RL passes.

        Returns
        -------
        torch.Tensor, shape (n, T)
            Advantages.

        Raises
        ------
        ValueError
            If prompts are padded tokens and the padding is not known.
        """
        scores = rewards.double().cpu().numpy().copy()
        if valid_mask is not None:
            scores[valid_mask.cpu().numpy() == 0] = np.nan
        advantages = self.history.advantages(self._names(prompt_ids, repeated_batch), scores)
        spread = torch.as_tensor(advantages, dtype=rewards.dtype, device=rewards.device)
        return spread[:, None].expand(mask.shape)

    def _names(self, prompt_ids, batch) -> list[int | str]:
        if batch is not None and "idx" in batch:
            tasks = batch["task_name"] if "task_name" in batch else [""] * len(batch["idx"])
            return [f"{task}/{int(row)}" for task, row in zip(tasks, batch["idx"], strict=True)]
        if prompt_ids.ndim == 1:
            return [int(name) for name in prompt_ids]
        if self._pad is None:
            raise ValueError(
                "prompts come as tokens padded to the longest of the batch, so one prompt looks different at every "
                "step: set grpo.adv_estimator.pad_token_id to the tokenizer's"
            )
        # Tokens are a JSON list, as messages are; the padding differs from batch to batch and is no part of the name.
        return [prompt_key([token for token in row if token != self._pad]) for row in prompt_ids.tolist()]


def _setting(config, name: str):
    """A setting of a mapping or of an object with attributes; None if it is missing."""
    return config.get(name) if hasattr(config, "get") else getattr(config, name, None)


def install(grpo) -> None:
    """Let a NeMo-RL trainer use this estimator, whatever name its configuration gives.

    Parameters
    ----------
    grpo : module
        ``nemo_rl.algorithms.grpo``, or another of its trainers with the same function.

    Raises
    ------
    AttributeError
        If the module makes its estimator in another way: this version of NeMo-RL is not known.
    """
    if not hasattr(grpo, "_create_advantage_estimator"):
        raise AttributeError(
            f"{grpo.__name__} has no _create_advantage_estimator; this version of NeMo-RL is not known"
        )

    def create(master_config):
        trainer = _setting(master_config, "grpo")
        return KernelAdvantageEstimator(_setting(trainer, "adv_estimator"), _setting(master_config, "loss_fn"))

    grpo._create_advantage_estimator = create
