"""Plug-in for slime: ``--custom-reward-post-process-path llm_train.plugins.slime.post_process_rewards``.

With ``--advantage-estimator grpo`` the rewards that this function returns become the advantages. The YAML file of
``--custom-config-path`` sets ``kvar_baseline``, ``kvar_baseline_kwargs`` and ``kvar_state_path``. A complete script is
``examples/slime.sh`` with ``examples/slime.yaml``. Leave ``--normalize-advantages`` off: it would centre them again.

Baselines that need score norms take them from ``rollout_log_probs`` of the samples, where ``loss_mask`` is 1. They need
probabilities over the whole vocabulary: leave ``--rollout-top-p`` at 1 and ``--rollout-top-k`` at -1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from kvar import score_norm_from_logprobs
from kvar.rollouts.prompt_ids import prompt_key
from llm_train.plugins.prompt_history import PromptHistory

__all__ = ["post_process_rewards"]

_KEY = "prompt_id"
_histories: dict[str, PromptHistory] = {}


def _history(args) -> PromptHistory:
    """The history of this process, made at the first call, since slime takes a function without a constructor."""
    settings = {
        "baseline": getattr(args, "kvar_baseline", "adaptive"),
        "state_path": getattr(args, "kvar_state_path", None),
        **(getattr(args, "kvar_baseline_kwargs", None) or {}),
    }
    name = repr(settings)
    if name not in _histories:
        _histories[name] = PromptHistory(**settings)
    return _histories[name]


def post_process_rewards(args, samples: Sequence) -> tuple[list[float], list[float]]:
    """Advantages of one step in place of its rewards, which are then remembered.

    Parameters
    ----------
    args : namespace
        Settings of slime.
    samples : sequence of slime.utils.types.Sample
        All rollouts of a step. A prompt is identified by ``metadata["prompt_id"]``, or else by a hash of its text or
        messages. slime's own indices identify no prompt: they count up from step to step. Samples with the same
        ``rollout_id`` are parts of one rollout, as after the compaction of a context, and count as one reward.

    Returns
    -------
    raw_rewards : list of float
        The rewards, for logging.
    rewards : list of float
        The advantages.

    Raises
    ------
    ValueError
        If samples of one rollout have different rewards.
    """
    raw = [None if sample.reward is None else sample.get_reward_value(args) for sample in samples]
    rollouts = _rollouts(samples)
    for parts in rollouts:
        if len(found := {raw[k] for k in parts}) > 1:
            raise ValueError(
                f"the samples with rollout_id {samples[parts[0]].rollout_id} have different rewards "
                f"({', '.join(map(str, sorted(found, key=str)))}): give those of one rollout its reward, and others "
                "another rollout_id"
            )
    first = [parts[0] for parts in rollouts]
    keys = [_prompt_id(samples[k]) for k in first]
    history = _history(args)
    norms = None
    if history.needs_norms:
        of_samples = _norms(args, samples)
        # The squared norm of a rollout is the sum of those of its parts, whose tokens are different ones.
        norms = [math.hypot(*(of_samples[k] for k in parts)) for parts in rollouts]
    advantages = history.advantages(keys, [raw[k] for k in first], norms)
    spread = [0.0] * len(samples)
    for parts, advantage in zip(rollouts, advantages.tolist(), strict=True):
        for k in parts:
            spread[k] = advantage
    return raw, spread


def _rollouts(samples: Sequence) -> list[list[int]]:
    """Places of the samples of each rollout; one without a ``rollout_id`` is a rollout of its own."""
    places: dict[object, list[int]] = {}
    for k, sample in enumerate(samples):
        rollout = getattr(sample, "rollout_id", None)
        places.setdefault(("sample", k) if rollout is None else rollout, []).append(k)
    return list(places.values())


def _norms(args, samples) -> list[float]:
    """Norms of the samples; NaN for one without log-probabilities, as of a generation that failed."""
    for name, plain in (("rollout_top_p", 1.0), ("rollout_top_k", -1)):
        if (found := getattr(args, name, plain)) != plain:
            raise ValueError(
                f"score norms need log-probabilities of the whole vocabulary, got {name}={found}: set it to {plain:g}, "
                "or use kvar_baseline adaptive"
            )
    logprobs = [sample.rollout_log_probs for sample in samples]
    if all(found is None for found in logprobs):
        raise ValueError(
            "no sample has rollout_log_probs, from which score norms come: let the rollout function keep them, or use "
            "kvar_baseline adaptive"
        )
    return [
        math.nan if found is None else float(score_norm_from_logprobs(found, _loss_mask(sample)))
        for found, sample in zip(logprobs, samples, strict=True)
    ]


def _loss_mask(sample) -> list[int]:
    if sample.remove_sample or sample.loss_mask is None:
        return [int(not sample.remove_sample)] * len(sample.rollout_log_probs)
    return sample.loss_mask


def _prompt_id(sample) -> int | str:
    given = (sample.metadata or {}).get(_KEY)
    return prompt_key(sample.prompt) if given is None else given
