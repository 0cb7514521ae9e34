"""Plug-in for slime: ``--custom-reward-post-process-path llm_train.plugins.slime.post_process_rewards``.

With ``--advantage-estimator grpo`` the rewards that this function returns become the advantages. The YAML file of
``--custom-config-path`` sets ``kvar_baseline``, ``kvar_baseline_kwargs`` and ``kvar_state_path``. A complete script is
``examples/slime.sh`` with ``examples/slime.yaml``. Leave ``--normalize-advantages`` off: it would centre them again.
"""

from __future__ import annotations

from collections.abc import Sequence

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
        messages. slime's own indices identify no prompt: they count up from step to step.

    Returns
    -------
    raw_rewards : list of float
        The rewards, for logging.
    rewards : list of float
        The advantages.
    """
    raw = [None if sample.reward is None else sample.get_reward_value(args) for sample in samples]
    keys = [_prompt_id(sample) for sample in samples]
    return raw, _history(args).advantages(keys, raw).tolist()


def _prompt_id(sample) -> int | str:
    given = (sample.metadata or {}).get(_KEY)
    return prompt_key(sample.prompt) if given is None else given
