"""Plug-in for verl: a registered advantage estimator, and stable ids of prompts.

verl passes the column ``uid`` as ``index``, a new random name of every prompt at every step. A history needs an id that
stays. verl's datasets have one, ``extra_info["index"]``, the row in the file, but verl does not pass it on. So two
calls come before the trainer starts: `register`, and `use_stable_keys`, which replaces the random name by that row.
Without the second call the estimator refuses to work. Set ``trainer.use_v1=false``: the V1 trainer of verl 0.9 fetches
a fixed list of columns for advantages, without ``extra_info``. A complete script is ``examples/verl_main.py``.
``algorithm.norm_adv_by_std_in_grpo`` has no effect.

Baselines that need score norms take them from ``old_log_probs``, or else ``rollout_log_probs``. verl passes neither on;
the function that `use_stable_keys` installs has them at hand.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable

import numpy as np

from llm_train.plugins.norms_at_hand import norms_at_hand, norms_for
from llm_train.plugins.prompt_history import PromptHistory
from llm_train.plugins.token_level import token_advantages

__all__ = ["AdvantageEstimator", "register", "stable_keys", "use_stable_keys"]

_REMEDY = (
    "call llm_train.plugins.verl.use_stable_keys() in the process of the trainer before it starts, give every row of "
    "the dataset extra_info = {'index': its number}, and set trainer.use_v1=false"
)


class AdvantageEstimator:
    """An advantage estimator with the signature of verl's registry.

    Parameters
    ----------
    baseline : str
        A name from `kvar.baseline_names`.
    state_path : path, optional
        File of the history, see `PromptHistory`.
    **parameters
        Parameters of the baseline.
    """

    def __init__(self, baseline: str = "adaptive", state_path: str | os.PathLike | None = None, **parameters):
        self.history = PromptHistory(baseline, state_path, **parameters)

    def __call__(self, token_level_rewards, response_mask, index=None, **_):
        """Advantages and returns of one step, which are equal; its rewards are then remembered.

        Tensors have the shape (n, T). The index is the id of each prompt, the same at every step.
        """
        if index is None:
            raise ValueError(f"verl passed no index, by which the history identifies prompts: {_REMEDY}")
        keys = [key.item() if isinstance(key, np.generic) else key for key in index]
        random = next((key for key in keys if _is_random(key)), None)
        if random is not None:
            raise ValueError(f"verl gives prompts new names at every step, got uid {random}: {_REMEDY}")
        norms = norms_for(self.history, len(keys), _REMEDY)
        advantages = token_advantages(self.history, keys, token_level_rewards, response_mask, norms)
        return advantages, advantages


def _is_random(key) -> bool:
    try:
        return uuid.UUID(str(key)).version == 4 and "-" in str(key)
    except ValueError:
        return False


def register(name: str = "kvar", **settings) -> AdvantageEstimator:
    """Add the estimator to verl's registry.

    Parameters
    ----------
    name : str
        Name for ``algorithm.adv_estimator``.
    **settings
        Parameters of `AdvantageEstimator`.

    Returns
    -------
    AdvantageEstimator
        The registered estimator.
    """
    from verl.trainer.ppo.core_algos import register_adv_est

    estimator = AdvantageEstimator(**settings)
    register_adv_est(name)(estimator)
    return estimator


def stable_keys(compute_advantage: Callable) -> Callable:
    """Replace verl's random name of each prompt by its row in the dataset, while advantages are computed.

    Parameters
    ----------
    compute_advantage : callable
        verl's ``compute_advantage(data, ...)``.

    Returns
    -------
    callable
        A function with the same signature. During a call the column ``uid`` holds ``data_source/index``; afterwards it
        holds the random names again. It raises ValueError if a row has no ``extra_info["index"]``.
    """

    def with_stable_keys(data, *args, **kwargs):
        columns = data.non_tensor_batch
        infos = columns.get("extra_info", [])
        if len(infos) == 0 or any(info.get("index") is None for info in infos):
            raise ValueError(
                "a row of the dataset has no extra_info['index'], by which the history identifies its prompt: number "
                "the rows"
            )
        sources = columns.get("data_source", [""] * len(infos))
        random = columns["uid"]
        columns["uid"] = np.array(
            [f"{source}/{info['index']}" for source, info in zip(sources, infos, strict=True)], dtype=object
        )
        try:
            with norms_at_hand(lambda: _log_probabilities(data.batch)):
                return compute_advantage(data, *args, **kwargs)
        finally:
            columns["uid"] = random

    return with_stable_keys


def _log_probabilities(batch):
    found = (batch.get(name, None) for name in ("old_log_probs", "rollout_log_probs"))
    return next((logprobs for logprobs in found if logprobs is not None), None), batch.get("response_mask")


def use_stable_keys() -> None:
    """Apply `stable_keys` to the function that verl's trainer calls, in this process."""
    from verl.trainer.ppo import ray_trainer

    ray_trainer.compute_advantage = stable_keys(ray_trainer.compute_advantage)
