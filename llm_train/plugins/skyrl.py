"""Plug-in for SkyRL: a registered advantage estimator.

Call ``register("kvar")`` next to the entry point and set ``trainer.algorithm.advantage_estimator=kvar``. A complete
script is ``examples/skyrl_main.py``. SkyRL identifies a prompt by its row in the dataset, so the dataset and its length
filter must stay the same when a run resumes. ``grpo_norm_by_std`` has no effect.

Baselines that need score norms take them from ``action_log_probs``, or else ``rollout_logprobs``. SkyRL passes neither
on: call `use_log_probabilities` in the training process before it starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from llm_train.plugins.norms_at_hand import norms_at_hand, norms_for
from llm_train.plugins.prompt_history import PromptHistory
from llm_train.plugins.token_level import token_advantages

__all__ = ["AdvantageEstimator", "register", "use_log_probabilities", "with_log_probabilities"]

_REMEDY = (
    "call llm_train.plugins.skyrl.use_log_probabilities() in the training process, and set "
    "generator.step_wise_trajectories=false, since a trajectory of several rows has no norm of its own"
)


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
        prompt_ids = [None if name.startswith("pad") else name for name in names]
        norms = norms_for(self.history, len(names), _REMEDY)
        advantages = token_advantages(self.history, prompt_ids, token_level_rewards, response_mask, norms)
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


def with_log_probabilities(compute: Callable) -> Callable:
    """Let the estimator see the log-probabilities of the batch, while advantages are computed.

    Parameters
    ----------
    compute : callable
        The method ``compute_advantages_and_returns(self, data)`` of SkyRL's trainer.

    Returns
    -------
    callable
        A method with the same signature.
    """

    def with_norms(trainer, data):
        def find():
            found = (data.get(name) for name in ("action_log_probs", "rollout_logprobs"))
            # Unlike the response mask, the loss mask leaves out what the environment wrote.
            return next((logprobs for logprobs in found if logprobs is not None), None), data["loss_mask"]

        with norms_at_hand(find):
            return compute(trainer, data)

    return with_norms


def use_log_probabilities() -> None:
    """Apply `with_log_probabilities` to SkyRL's trainer, in this process."""
    from skyrl.train.trainer import RayPPOTrainer

    RayPPOTrainer.compute_advantages_and_returns = with_log_probabilities(RayPPOTrainer.compute_advantages_and_returns)
