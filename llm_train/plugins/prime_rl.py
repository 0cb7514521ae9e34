"""Plug-in for prime-rl: an algorithm in the place of its GRPO.

Call `install` before the orchestrator starts; ``algo.type`` stays "grpo", since prime-rl's settings admit no new names.
A complete script is ``examples/prime_rl_main.py``, run instead of ``orchestrator``. A prompt is identified by its
environment, the number of its task, and the agent.

prime-rl scores each group as it is complete. So the clock is the version of the policy, and the groups of one version
see each other's rewards as far as they came earlier. The history is written when the version has changed.

Baselines that need score norms take them from the log-probabilities of the sampled tokens.
"""

from __future__ import annotations

import os

import numpy as np

from kvar import score_norm_from_logprobs
from llm_train.plugins.prompt_history import PromptHistory

__all__ = ["install"]


def install(baseline: str = "adaptive", state_path: str | os.PathLike | None = None, **parameters) -> None:
    """Let prime-rl, in this process, use one of our baselines where its settings say "grpo".

    Parameters
    ----------
    baseline : str
        A name from `kvar.baseline_names`.
    state_path : path, optional
        File of the history, see `PromptHistory`.
    **parameters
        Parameters of the baseline.
    """
    from prime_rl.orchestrator import algo
    from prime_rl.orchestrator.algo.base import iter_trainable_traces
    from prime_rl.orchestrator.utils import train_work

    history = PromptHistory(baseline, state_path, **parameters)

    class KernelAlgorithm(algo.GRPOAlgorithm):
        """GRPO with another baseline; the environments share one history."""

        def __init__(self, config, policy_pool):
            super().__init__(config, policy_pool)
            if config.length_penalty is not None:
                raise ValueError(
                    f"a length penalty relative to the group is not supported, got {config.length_penalty}: remove "
                    "algo.length_penalty, or penalize the length in the environment's reward"
                )

        async def score_group(self, episodes):
            found = list(iter_trainable_traces(episodes))
            traces = [trace for _, trace in found]
            keys = [_prompt_id(episode, trace) for episode, trace in found]
            norms = [_norm(trace) for trace in traces] if history.needs_norms else None
            versions = [work.policy.start for episode, _ in found if (work := train_work(episode)).policy is not None]
            rewards = [trace.reward for trace in traces]
            advantages = history.advantages(keys, rewards, norms, step=max(versions, default=history.step))
            for trace, advantage in zip(traces, advantages.tolist(), strict=True):
                algo.assign_advantages(trace, advantage)

    algo.ALGORITHM_CLASSES["grpo"] = KernelAlgorithm


def _prompt_id(episode, trace) -> str:
    if trace.task.data.idx is None:
        raise ValueError(
            f"a task of environment {episode.env.name!r} has no number, by which the history identifies its prompt: "
            "set idx in its TaskData"
        )
    return f"{episode.env.name}/{trace.task.data.idx}/{trace.agent.name}"


def _norm(trace) -> float:
    sampled = [logprob for node in trace.nodes if any(node.mask) for logprob in node.logprobs]
    return float(score_norm_from_logprobs(np.array(sampled, dtype=np.float64)))
