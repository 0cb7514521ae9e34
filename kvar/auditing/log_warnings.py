"""Warnings about a log: what is too little, missing, or changed on the way."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kvar.auditing.log_statistics import LogStatistics

__all__ = ["log_warnings"]

_FEW_REWARDS, _FEW_PROMPTS, _FEW_STEPS = 1000, 20, 20


def log_warnings(facts: LogStatistics) -> Iterator[str]:
    """Warn of what a log cannot show."""
    n_scored = facts.n_rollouts - facts.n_unscored
    if np.isnan(facts.gap):
        yield "No prompt comes back: baselines with history had none to use."
    elif facts.seen_once > 0.5:
        yield f"{100 * facts.seen_once:.0f} % of the prompts were seen at one step only."
    if n_scored < _FEW_REWARDS:
        yield f"Only {n_scored} rewards: differences of a few per cent cannot be detected."
    if facts.n_prompts < _FEW_PROMPTS or facts.n_steps < _FEW_STEPS:
        yield f"Only {facts.n_prompts} prompts and {facts.n_steps} steps: the intervals themselves are uncertain."
    if facts.noise_source == "visits":
        yield (
            "Groups of one do not show the noise of a reward. It was estimated from successive visits of a prompt; the "
            "intervals of the value MSE allow for the change of its value in between."
        )
    elif facts.noise_source == "none":
        yield "Reward noise cannot be estimated here (no groups, no repeated prompts); only bounds are given."
    if facts.reward_low == facts.reward_high:
        yield f"All rewards are {facts.reward_low:g}: baselines cannot be told apart."
    if facts.n_unscored > 0.1 * facts.n_rollouts:
        yield f"{100 * facts.n_unscored / facts.n_rollouts:.0f} % of the rollouts have no reward."
    if facts.step_spacing > 1:
        yield (
            f"The log holds one step in {facts.step_spacing:g}. Prompts came back in between, so real histories are "
            "longer than those replayed. Log every step (in TRL, logging_steps=1)."
        )
