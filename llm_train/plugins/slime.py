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
        messages. slime's own indices identify no prompt: they count up from step to step. Samples with one
        ``rollout_id``, into which a compact rollout is split, count once, with the prompt of the first.

    Returns
    -------
    raw_rewards : list of float
        The rewards, for logging.
    rewards : list of float
        The advantages.
    """
    raw = [None if sample.reward is None else sample.get_reward_value(args) for sample in samples]
    keys = [_prompt_id(sample) for sample in samples]
    history = _history(args)
    norms = _norms(args, samples) if history.needs_norms else None
    rollout_ids = [_rollout_id(row, sample) for row, sample in enumerate(samples)]
    return raw, history.advantages(keys, raw, norms, rollout_ids).tolist()


def _rollout_id(row: int, sample) -> tuple[str, int]:
    """Samples without an id, and those of versions that have none, are a rollout each."""
    given = getattr(sample, "rollout_id", None)
    return ("row", row) if given is None else ("rollout", given)


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
