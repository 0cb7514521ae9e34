"""Plug-in for verl: a registered advantage estimator, and stable ids of prompts.

verl names prompts anew at every step, but a history needs an id that stays. So two calls come before the trainer
starts: `register`, and `use_stable_keys`, which puts the id into that name. Without the second call the estimator
refuses to work. Both the V1 trainer (verl 0.9 or newer) and the legacy one are served; the latter needs
``extra_info["index"]`` in every row of the dataset. A complete example is ``examples/verl_main.py``.
``algorithm.norm_adv_by_std_in_grpo`` has no effect.

A session of an agent may have several output rows. As in verl's own GRPO, its reward is that of the last, and all get
one advantage; it counts once. Rows that fill the batch up get 0.

Baselines that need score norms take them from ``old_log_probs``, or else ``rollout_log_probs``. verl passes neither on;
the functions that `use_stable_keys` installs have them at hand.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import wraps

import numpy as np

from llm_train.plugins.norms_at_hand import norms_at_hand, norms_for
from llm_train.plugins.prompt_history import PromptHistory
from llm_train.plugins.token_level import token_advantages
from llm_train.plugins.verl_sessions import final_rows, output_row, stable_uids

__all__ = ["AdvantageEstimator", "by_session", "register", "stable_keys", "use_stable_keys"]

_REMEDY = (
    "call llm_train.plugins.verl.use_stable_keys() in the process of the trainer before it starts, and with "
    "trainer.use_v1=false give every row of the dataset extra_info = {'index': its number}"
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

        Tensors have the shape (n, T). The index is the id of each prompt, the same at every step, or in the V1 trainer
        the name of each row in verl's queue.
        """
        if index is None:
            raise ValueError(f"verl passed no index, by which the history identifies prompts: {_REMEDY}")
        rows = [output_row(key.item() if isinstance(key, np.generic) else key, k) for k, key in enumerate(index)]
        random = next((row.prompt for row in rows if _is_random(row.prompt)), None)
        if random is not None:
            raise ValueError(f"verl gives prompts new names at every step, got uid {random}: {_REMEDY}")
        norms = norms_for(self.history, len(rows), _REMEDY)
        prompt_ids, sessions, _ = zip(*rows, strict=True)
        advantages = token_advantages(
            self.history, prompt_ids, token_level_rewards[final_rows(rows)], response_mask, norms, sessions
        )
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
    """Replace the legacy trainer's random name of each prompt by its row in the dataset, for computing advantages.

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
        rows = [f"{source}/{info['index']}" for source, info in zip(sources, infos, strict=True)]
        with _named(data, rows):
            return compute_advantage(data, *args, **kwargs)

    return with_stable_keys


def by_session(compute_advantage: Callable) -> Callable:
    """Replace the V1 trainer's uid by the name of each row, while our estimator computes advantages.

    Parameters
    ----------
    compute_advantage : callable
        verl's ``compute_advantage_for_multi_trajectories(data, batch_keys, adv_estimator, ...)``.

    Returns
    -------
    callable
        A function with the same signature. With estimators that are not ours it does what verl's does.
    """

    @wraps(compute_advantage)
    def with_sessions(data, batch_keys, adv_estimator, **kwargs):
        from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY

        ours = isinstance(ADV_ESTIMATOR_REGISTRY.get(adv_estimator), AdvantageEstimator)
        with _named(data, batch_keys) if ours else nullcontext():
            return compute_advantage(data, batch_keys=batch_keys, adv_estimator=adv_estimator, **kwargs)

    return with_sessions


@contextmanager
def _named(data, names: Sequence[str]) -> Iterator[None]:
    """Within this block the column ``uid`` holds other names, and score norms are at hand."""
    columns = data.non_tensor_batch
    own = columns["uid"]
    columns["uid"] = np.array(names, dtype=object)
    try:
        with norms_at_hand(lambda: _log_probabilities(data.batch)):
            yield
    finally:
        columns["uid"] = own


def _log_probabilities(batch):
    found = (batch.get(name, None) for name in ("old_log_probs", "rollout_log_probs"))
    return next((logprobs for logprobs in found if logprobs is not None), None), batch.get("response_mask")


def use_stable_keys() -> None:
    """Let verl's trainers, in this process, give the estimator ids of prompts that stay.

    Raises
    ------
    AttributeError
        If a trainer of this version of verl lacks a function that is to be wrapped.
    """
    from verl.trainer.ppo import ray_trainer

    try:
        from verl.trainer.ppo.v1 import trainer_base
    except ImportError:  # verl before 0.9, or without TransferQueue: only the legacy trainer runs
        pass
    else:
        _wrap(trainer_base.PPOTrainer, "_fetch_one_gen_batch", stable_uids)
        _wrap(trainer_base, "compute_advantage_for_multi_trajectories", by_session)
    _wrap(ray_trainer, "compute_advantage", stable_keys)


def _wrap(owner, name: str, wrapper: Callable) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"{owner.__name__} has no {name}: this version of verl is not supported")
    setattr(owner, name, wrapper(getattr(owner, name)))
