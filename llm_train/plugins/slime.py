"""For slime: ``--custom-reward-post-process-path llm_train.plugins.slime.post_process_rewards``.

With ``--advantage-estimator grpo`` the rewards that this hook returns become the advantages. Settings come from the
YAML of ``--custom-config-path``: ``kvar_baseline``, ``kvar_baseline_kwargs`` and ``kvar_state_path``; see
``examples/slime.sh`` and ``examples/slime.yaml``. Leave ``--normalize-advantages`` off, which would centre them
again.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvar.rollouts.prompt_ids import prompt_key
from llm_train.plugins.prompt_history import PromptHistory

__all__ = ["post_process_rewards"]

_KEY = "prompt_id"
_histories: dict[str, PromptHistory] = {}


def _history(args) -> PromptHistory:
    """The one of this process; made at the first call, since slime hands over a function and no place to begin."""
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
    """Advantages in place of rewards.

    Parameters
    ----------
    args : namespace
        slime's settings.
    samples : sequence of slime.utils.types.Sample
        All rollouts of a step. A prompt is named by ``metadata["prompt_id"]``, else by a hash of its text or messages;
        slime's own indices count up and name no prompt.

    Returns
    -------
    raw_rewards : list of float
        As they came, for logging.
    rewards : list of float
        Advantages.
    """
    raw = [None if sample.reward is None else sample.get_reward_value(args) for sample in samples]
    keys = [_prompt_id(sample) for sample in samples]
    return raw, _history(args).advantages(keys, raw).tolist()


def _prompt_id(sample) -> int | str:
    named = (sample.metadata or {}).get(_KEY)
    return prompt_key(sample.prompt) if named is None else named
