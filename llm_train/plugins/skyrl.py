"""Plug-in for SkyRL: a registered advantage estimator.

Call ``register("kvar")`` next to the entry point and set ``trainer.algorithm.advantage_estimator=kvar``. A complete
script is ``examples/skyrl_main.py``. SkyRL identifies a prompt by its row in the dataset, so the dataset and its length
filter must stay the same when a run resumes. ``grpo_norm_by_std`` has no effect.
"""

from __future__ import annotations

import os

from llm_train.plugins.prompt_history import PromptHistory
from llm_train.plugins.token_level import token_advantages

__all__ = ["AdvantageEstimator", "register"]


class AdvantageEstimator:
    """An advantage estimator with the signature of SkyRL's registry.

    Parameters
    ----------
    baseline : str
        A name from `kvar.baseline_names`.
    state_path : path, optional
        File of the history, see `PromptHistory`; the training process must see its disk.
    **parameters
        Parameters of the baseline.

    Notes
    -----
    It is registered in the driver. The training process receives one copy, and the history is in that copy.
    """

    def __init__(self, baseline: str = "adaptive", state_path: str | os.PathLike | None = None, **parameters):
        self.history = PromptHistory(baseline, state_path, **parameters)

    def __call__(self, token_level_rewards, response_mask, index, **_):
        """Advantages and returns of one step, which are equal; its rewards are then remembered.

        Tensors have the shape (n, T). The index is the row of each prompt in the dataset. Rows that fill up the batch
        are called "pad0", "pad1", ...: they enter neither the history nor any mean, and their advantage is 0.
        """
        if index is None:
            raise ValueError("SkyRL passed no index, by which the history identifies prompts: pass each one's row")
        names = [str(name) for name in index]
        rows = [row for row, name in enumerate(names) if not name.startswith("pad")]
        real = token_advantages(
            self.history, [names[row] for row in rows], token_level_rewards[rows], response_mask[rows]
        )
        advantages = real.new_zeros(token_level_rewards.shape)
        advantages[rows] = real
        return advantages, advantages


def register(name: str = "kvar", **settings) -> AdvantageEstimator:
    """Add the estimator to SkyRL's registry; call it before the configuration is validated.

    Parameters
    ----------
    name : str
        Name for ``trainer.algorithm.advantage_estimator``.
    **settings
        Parameters of `AdvantageEstimator`.

    Returns
    -------
    AdvantageEstimator
        The registered estimator.
    """
    from skyrl.backends.skyrl_train.utils.ppo_utils import AdvantageEstimatorRegistry

    estimator = AdvantageEstimator(**settings)
    AdvantageEstimatorRegistry.register(name, estimator)
    return estimator
