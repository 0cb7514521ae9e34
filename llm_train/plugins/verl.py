"""For verl: a registered advantage estimator, which needs one thing that verl does not give by itself.

verl hands an estimator the column ``uid`` as ``index``, and makes it anew at random for every prompt at every step. A
history needs a name that a prompt keeps. verl's datasets have one, ``extra_info["index"]``, the row in the file, but
do not pass it on. So there are two steps, before the trainer starts: `register`, and `use_stable_keys`, which lets
the estimator see that row instead of the random name. Without the second the estimator refuses to work. It works with
``trainer.use_v1=false``: the V1 trainer of verl 0.9 fetches a fixed list of columns for advantages, and
``extra_info`` is not among them. A whole script is in ``examples/verl_main.py``.
``algorithm.norm_adv_by_std_in_grpo`` has no effect here.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable

import numpy as np
import torch

from llm_train.plugins.prompt_history import PromptHistory

__all__ = ["AdvantageEstimator", "register", "stable_keys", "use_stable_keys"]

_REMEDY = (
    "call llm_train.plugins.verl.use_stable_keys() in the process of the trainer before it starts, and give every row "
    "of the dataset extra_info = {'index': its number}; with verl's V1 trainer set trainer.use_v1=false"
)


class AdvantageEstimator:
    """An estimator with the signature of verl's registry.

    Parameters
    ----------
    baseline : str
        A name out of `kvar.baseline_names`.
    state_path : path, optional
        See `PromptHistory`.
    **parameters
        Of the baseline.
    """

    def __init__(self, baseline: str = "adaptive", state_path: str | os.PathLike | None = None, **parameters):
        self.history = PromptHistory(baseline, state_path, **parameters)

    def __call__(self, token_level_rewards, response_mask, index=None, **_):
        """Advantages of a step."""
        if index is None:
            raise ValueError(f"the history needs a name for each prompt, but verl passed no index: {_REMEDY}")
        keys = [key.item() if isinstance(key, np.generic) else key for key in index]
        random = next((key for key in keys if _is_random(key)), None)
        if random is not None:
            raise ValueError(
                f"verl names prompts anew at every step (uid {random}), so no prompt has a history: {_REMEDY}"
            )
        rewards = token_level_rewards.sum(dim=-1).double().cpu().numpy()
        advantages = self.history.advantages(keys, rewards)
        spread = torch.as_tensor(advantages, dtype=token_level_rewards.dtype, device=token_level_rewards.device)
        spread = spread[:, None] * response_mask
        return spread, spread


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
        For ``algorithm.adv_estimator``.
    **settings
        As for `AdvantageEstimator`.

    Returns
    -------
    AdvantageEstimator
        What was registered.
    """
    from verl.trainer.ppo.core_algos import register_adv_est

    estimator = AdvantageEstimator(**settings)
    register_adv_est(name)(estimator)
    return estimator


def stable_keys(compute_advantage: Callable) -> Callable:
    """Let an estimator see the row of each prompt in the dataset instead of verl's random name.

    Parameters
    ----------
    compute_advantage : callable
        verl's ``compute_advantage(data, ...)``.

    Returns
    -------
    callable
        With the same signature. Within a call the column ``uid`` holds ``data_source/index``; afterwards it is as it
        was. It raises ValueError if a row has no ``extra_info["index"]``.
    """

    def with_stable_keys(data, *args, **kwargs):
        columns = data.non_tensor_batch
        infos = columns.get("extra_info", [])
        if len(infos) == 0 or any(info.get("index") is None for info in infos):
            raise ValueError("a row of the dataset has no extra_info['index'], by which the history knows its prompt")
        sources = columns.get("data_source", [""] * len(infos))
        usual = columns["uid"]
        columns["uid"] = np.array(
            [f"{s}/{info['index']}" for s, info in zip(sources, infos, strict=True)], dtype=object
        )
        try:
            return compute_advantage(data, *args, **kwargs)
        finally:
            columns["uid"] = usual

    return with_stable_keys


def use_stable_keys() -> None:
    """Put `stable_keys` around the function that verl's trainer calls, in this process."""
    from verl.trainer.ppo import ray_trainer

    ray_trainer.compute_advantage = stable_keys(ray_trainer.compute_advantage)
