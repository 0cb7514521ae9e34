"""Plug-in for NeMo-RL: an advantage estimator, and its installation in a trainer that has no registry.

Call ``install(nemo_rl.algorithms.grpo)`` before ``grpo_train``. A complete script is ``examples/nemo_rl_main.py``.
``grpo.adv_estimator`` sets ``baseline``, ``baseline_kwargs``, ``state_path`` and ``pad_token_id``. Baselines that need
score norms take them from the log-probabilities of the policy before the step.
"""

from __future__ import annotations

import numpy as np
import torch

from kvar import score_norm_from_logprobs
from kvar.rollouts.prompt_ids import prompt_key
from llm_train.plugins.prompt_history import PromptHistory

__all__ = ["KernelAdvantageEstimator", "install"]


class KernelAdvantageEstimator:
    """An advantage estimator with the interface of NeMo-RL's own.

    Parameters
    ----------
    estimator_config : mapping or object, optional
        The settings above; those that are missing have the defaults of `PromptHistory`.
    loss_config : optional
        Passed by NeMo-RL and not used.
    """

    def __init__(self, estimator_config=None, loss_config=None):
        self._pad = _setting(estimator_config, "pad_token_id")
        parameters = _setting(estimator_config, "baseline_kwargs") or {}
        name = _setting(estimator_config, "baseline") or "adaptive"
        self.history = PromptHistory(name, _setting(estimator_config, "state_path"), **parameters)

    def compute_advantage(
        self, prompt_ids, rewards, mask, *, repeated_batch=None, valid_mask=None, logprobs_policy=None, **_
    ):
        """Advantages of one step, whose rewards are then remembered.

        Parameters
        ----------
        prompt_ids : torch.Tensor, shape (n,) or (n, L)
            An id, or the padded tokens, of each prompt.
        rewards : torch.Tensor, shape (n,)
            Rewards.
        mask : torch.Tensor, shape (n, T)
            Gives the shape of the result. Tokens with 0 are not the policy's.
        repeated_batch : mapping, optional
            If it holds ``idx``, the row of each prompt in the dataset, that row identifies the prompt.
        valid_mask : torch.Tensor, shape (n,), optional
            Rollouts with 0 enter neither the history nor any mean, and their advantage is 0.
        logprobs_policy : torch.Tensor, shape (n, T), optional
            Log-probabilities of the tokens, for a baseline that needs score norms.
        **_
            Other arguments of NeMo-RL, which are not used.

        Returns
        -------
        torch.Tensor, shape (n, T)
            Advantages.

        Raises
        ------
        ValueError
            If prompts come as padded tokens and ``pad_token_id`` is not set, or the baseline needs score norms and
            NeMo-RL left the log-probabilities out.
        """
        scores = rewards.double().cpu().numpy().copy()
        if valid_mask is not None:
            scores[valid_mask.cpu().numpy() == 0] = np.nan
        norms = _norms(logprobs_policy, mask > 0) if self.history.needs_norms else None
        advantages = torch.as_tensor(self.history.advantages(self._keys(prompt_ids, repeated_batch), scores, norms))
        return advantages.to(rewards)[:, None].expand(mask.shape)

    def _keys(self, prompt_ids, batch) -> list[int | str]:
        if batch is not None and "idx" in batch:
            tasks = batch["task_name"] if "task_name" in batch else [""] * len(batch["idx"])
            return [f"{task}/{int(row)}" for task, row in zip(tasks, batch["idx"], strict=True)]
        if prompt_ids.ndim == 1:
            return [int(name) for name in prompt_ids]
        if self._pad is None:
            raise ValueError(
                "prompts come as tokens padded to the longest of the batch, so that a prompt looks different at every "
                "step: set grpo.adv_estimator.pad_token_id to that of the tokenizer"
            )
        # Tokens are a JSON list, as messages are. The padding differs from batch to batch and is left out.
        return [prompt_key([token for token in row if token != self._pad]) for row in prompt_ids.tolist()]


def _norms(logprobs, mask) -> np.ndarray:
    # Where NeMo-RL skips the log-probabilities, it passes zeros.
    if logprobs is None or (mask.any() and not logprobs[mask].any()):
        raise ValueError(
            "NeMo-RL passed no log-probabilities, from which score norms come: set "
            "loss_fn.force_on_policy_ratio=false, or baseline to adaptive"
        )
    return score_norm_from_logprobs(logprobs, mask).double().cpu().numpy()


def _setting(config, name: str):
    """A setting of a mapping or of an object with attributes; None if it is missing."""
    return config.get(name) if hasattr(config, "get") else getattr(config, name, None)


def install(grpo) -> None:
    """Let a trainer of NeMo-RL use this estimator, whatever name its configuration gives.

    Parameters
    ----------
    grpo : module
        ``nemo_rl.algorithms.grpo``, or another trainer's module with the same private function.

    Raises
    ------
    AttributeError
        If the module has no such function, because this version of NeMo-RL makes its estimator in another way.
    """
    if not hasattr(grpo, "_create_advantage_estimator"):
        raise AttributeError(
            f"{grpo.__name__} has no _create_advantage_estimator: this version of NeMo-RL is not supported"
        )

    def create(master_config):
        trainer = _setting(master_config, "grpo")
        return KernelAdvantageEstimator(_setting(trainer, "adv_estimator"), _setting(master_config, "loss_fn"))

    grpo._create_advantage_estimator = create
