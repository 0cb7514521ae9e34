"""For SkyRL: a registered advantage estimator.

``register("kvar")`` beside the entry point and ``trainer.algorithm.advantage_estimator=kvar`` in the configuration; a
whole script is in ``examples/skyrl_main.py``. SkyRL names a prompt by its row in the dataset, so the dataset and its
length filter must not change between a run and its resumption. ``grpo_norm_by_std`` has no effect here.
"""

from __future__ import annotations

import os

import numpy as np
import torch

from llm_train.plugins.prompt_history import PromptHistory

__all__ = ["AdvantageEstimator", "register"]


class AdvantageEstimator:
    """An estimator with the signature of SkyRL's registry.

    Parameters
    ----------
    baseline : str
        A name out of `kvar.baseline_names`.
    state_path : path, optional
        See `PromptHistory`; on a disk that the training process sees.
    **parameters
        Of the baseline.

    Notes
    -----
    The driver registers it and the training process gets one copy, in which the history lives.
    """

    def __init__(self, baseline: str = "adaptive", state_path: str | os.PathLike | None = None, **parameters):
        self.history = PromptHistory(baseline, state_path, **parameters)

    def __call__(self, token_level_rewards, response_mask, index, **_):
        """Advantages of a step."""
        if index is None:
            raise ValueError("the history needs SkyRL's index, the row of each prompt in the dataset; none was passed")
        rewards = token_level_rewards.sum(dim=-1).double().cpu().numpy()
        real = np.array([not str(name).startswith("pad") for name in index])
        advantages = np.zeros(len(rewards))
        advantages[real] = self.history.advantages([str(name) for name in np.asarray(index)[real]], rewards[real])
        spread = torch.as_tensor(advantages, dtype=token_level_rewards.dtype, device=token_level_rewards.device)
        spread = spread[:, None] * response_mask
        return spread, spread


def register(name: str = "kvar", **settings) -> AdvantageEstimator:
    """Add the estimator to SkyRL's registry; call it before the configuration is validated.

    Parameters
    ----------
    name : str
        For ``trainer.algorithm.advantage_estimator``.
    **settings
        As for `AdvantageEstimator`.

    Returns
    -------
    AdvantageEstimator
        What was registered.
    """
    from skyrl.backends.skyrl_train.utils.ppo_utils import AdvantageEstimatorRegistry

    estimator = AdvantageEstimator(**settings)
    AdvantageEstimatorRegistry.register(name, estimator)
    return estimator
