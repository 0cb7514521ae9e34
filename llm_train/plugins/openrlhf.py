"""Plug-in for OpenRLHF: advantages in the place where its own baselines are subtracted.

OpenRLHF has no registry of estimators, so `install` wraps one method of its experience maker, in the process of the
trainer. Set ``--algo.advantage.estimator reinforce``; its whitening of advantages is then left out. Penalties on the
length come before the baseline, those on the KL divergence after it, as in OpenRLHF. A complete script is
``examples/openrlhf_main.py``.

A prompt is identified by its text after the chat template and by its pictures' paths. Baselines that need score norms
take them from ``action_log_probs``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

import numpy as np
import torch

from kvar import score_norm_from_logprobs
from kvar.rollouts.prompt_ids import prompt_key
from llm_train.plugins.prompt_history import PromptHistory

__all__ = ["install", "with_history"]

_PENALTIES = ("overlong_buffer_len", "stop_properly_penalty_coef")


def install(baseline: str = "adaptive", state_path: str | os.PathLike | None = None, **parameters) -> None:
    """Let OpenRLHF's experience maker, in this process, use one of our baselines.

    Parameters
    ----------
    baseline : str
        A name from `kvar.baseline_names`.
    state_path : path, optional
        File of the history, see `PromptHistory`.
    **parameters
        Parameters of the baseline.
    """
    from openrlhf.trainer.ppo_utils import experience_maker, length_penalty

    maker = experience_maker.RemoteExperienceMaker
    history = PromptHistory(baseline, state_path, **parameters)
    maker.compute_advantages_and_returns = with_history(
        maker.compute_advantages_and_returns, history, length_penalty.apply_length_penalties
    )


def with_history(compute: Callable, history: PromptHistory, apply_penalties: Callable) -> Callable:
    """Subtract the values of a history from the rewards, where OpenRLHF subtracts group means.

    Parameters
    ----------
    compute : callable
        The method ``compute_advantages_and_returns(self, experiences)`` of OpenRLHF's experience maker.
    history : PromptHistory
        The history.
    apply_penalties : callable
        OpenRLHF's ``apply_length_penalties(experiences, args)``.

    Returns
    -------
    callable
        A method with the same signature. It raises ValueError if another estimator than "reinforce" is set.
    """

    @wraps(compute)
    def compute_with_history(maker, experiences):
        args = maker.strategy.args
        if (found := args.algo.advantage.estimator) != "reinforce":
            raise ValueError(
                f"kvar's baseline is subtracted in place of others, got estimator {found!r}: set "
                "--algo.advantage.estimator reinforce"
            )
        apply_penalties(experiences, args)
        rewards = [experience.rewards for experience in experiences]
        keys = [key for experience in experiences for key in _prompt_ids(experience)]
        norms = np.concatenate([_norms(e) for e in experiences]) if history.needs_norms else None
        advantages = history.advantages(keys, torch.cat(rewards).double().cpu().numpy(), norms)
        parts = torch.as_tensor(advantages).split([len(part) for part in rewards])
        for experience, part, own in zip(experiences, parts, rewards, strict=True):
            experience.rewards = part.to(own)
        # An estimator whose name OpenRLHF does not know shapes no rewards and whitens no advantages.
        with _set(args.algo.advantage, estimator="kvar"), _set(args.reward, **dict.fromkeys(_PENALTIES)):
            done = compute(maker, experiences)
        for experience, own in zip(experiences, rewards, strict=True):
            experience.rewards = own
            if "reward" in experience.info:
                experience.info["reward"] = own.clone()
        return done

    return compute_with_history


def _prompt_ids(experience) -> list[int]:
    pictures = experience.images or [None] * len(experience.prompts)
    return [
        prompt_key(text if picture is None else [text, picture])
        for text, picture in zip(experience.prompts, pictures, strict=True)
    ]


def _norms(experience) -> np.ndarray:
    norms = score_norm_from_logprobs(experience.action_log_probs.double(), experience.action_mask)
    return norms.cpu().numpy()


@contextmanager
def _set(namespace, **values) -> Iterator[None]:
    """Within this block a namespace holds other values."""
    own = {name: getattr(namespace, name) for name in values if hasattr(namespace, name)}
    vars(namespace).update(values)
    try:
        yield
    finally:
        for name in values:
            delattr(namespace, name)
        vars(namespace).update(own)
