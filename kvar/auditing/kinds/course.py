"""Findings on the course of a run: how old rewards may be, when prompts return, what drifts."""

from __future__ import annotations

from itertools import groupby

import numpy as np

from kvar.auditing.evidence import Evidence, interval
from kvar.auditing.finding import Finding

__all__ = ["difficulty", "return_of_prompts", "stale_window", "trend"]

# As a fraction of the range of the rewards: a change below it is no drift worth acting on.
_DRIFT, _LARGE_DRIFT = 0.05, 0.15


def stale_window(evidence: Evidence) -> Finding | None:
    """The best window, and whether rewards older than it mislead."""
    windows = evidence.windows
    if windows is None or len(windows.windows) < 2:
        return None
    path = [f"{w:g}" for w, _ in groupby(windows.path)]
    changes = f" (in successive parts of the run {', '.join(path)})" if len(path) > 1 else ""
    says = f"The best fixed window of the kernel baseline is {windows.best:g} steps"
    longest, excess = windows.windows[-1], windows.above_best[-1]
    level = windows.value_mse[windows.windows.index(windows.best)].mean
    if windows.best == longest:
        says += f" or longer{changes}."
    else:
        says += f"{changes}. With one of {longest:g} steps its value MSE is {excess.mean:.2g} larger"
        says += f"{interval(excess.low, excess.high)}."
    stale = excess.low > 0
    if stale:
        says += " Older rewards are stale: they tell of a policy that has moved on."
    return Finding(
        "stale-window",
        "info" if not stale else "medium" if excess.mean > max(level, 0.0) else "low",
        says,
        *(excess.mean, excess.low, excess.high, "value MSE with the longest window, less the best"),
        rests_on=evidence.rests_on,
        action={"TRL": f'KAEConfig(baseline="kernel", baseline_kwargs={{"bandwidth": {windows.best:g}}})'},
        reference="Kernelized Advantage Estimation, arXiv 2604.28005",
    )


def return_of_prompts(evidence: Evidence) -> Finding | None:
    """How soon prompts come back, against how fast their values move."""
    facts, reuse = evidence.facts, evidence.reuse
    action = {"TRL": f"KAEConfig(block_reuse={reuse})"} if reuse > 1 else {}
    seen = f"As many steps then see {evidence.prompts_seen(reuse):,} of the {facts.n_prompts:,} prompts."
    if np.isnan(facts.gap):
        if facts.n_steps == 1:
            return None
        return Finding(
            "return-of-prompts",
            "medium",
            f"No prompt comes back in this log, so history cannot help. Keep each batch of prompts for {reuse} "
            f"consecutive steps to give baselines with history something to learn from. {seen}",
            rests_on=evidence.rests_on,
            action=action,
        )
    steps = "1 step" if facts.gap == 1 else f"{facts.gap:.0f} steps"
    says = f"A prompt comes back after {steps} (median) and is seen {facts.visits_per_prompt:.3g} times in the run. "
    if not np.isnan(facts.move):
        noise = np.sqrt(facts.noise / facts.group_size)
        rollouts = f"mean of {facts.group_size} rollouts" if facts.group_size > 1 else "single rollout"
        says += (
            f"Its value changes by {facts.move:.2g} in between (root mean square); a {rollouts} has a standard error "
            f"of {noise:.2g}. "
        )
        if facts.consecutive > 0.5:
            says += "Prompts are kept for consecutive steps already."
        elif reuse == 1:
            says += "The last visit still tells more than the new rollouts, so the schedule may stay."
        else:
            says += (
                f"The change is too large for a baseline with history: keep each batch of prompts for {reuse} "
                f"consecutive steps if you use one. {seen}"
            )
    return Finding(
        "return-of-prompts",
        "low" if reuse > 1 else "info",
        says.strip(),
        facts.gap,
        unit="logged steps between visits (median)",
        rests_on=evidence.rests_on,
        action=action,
    )


def difficulty(evidence: Evidence) -> Finding | None:
    """Prompts get easier or harder as the run goes on."""
    facts = evidence.facts
    size, (low, high) = facts.difficulty, facts.difficulty_limits
    if np.isnan(size) or evidence.reward_range == 0:
        return None
    drifts = (low > 0 or high < 0) and abs(size) > _DRIFT * evidence.reward_range
    if not drifts:
        return None
    return Finding(
        "difficulty",
        "medium" if abs(size) > _LARGE_DRIFT * evidence.reward_range else "low",
        f"The prompts get {'easier' if size > 0 else 'harder'} as the run goes on: their order alone changes the mean "
        f"reward by {size:+.2g}{interval(low, high, digits='+.2g')}. In a curve of the mean reward this looks like "
        "learning.",
        *(size, low, high, "change of the mean reward over the run"),
        rests_on=evidence.rests_on,
        action={
            "TRL": "shuffle_dataset=True",
            "verl": "data.shuffle=True",
            "OpenRLHF": "shuffle the file of --data.prompt_dataset",
        },
        reference="Mundlak (1978), Econometrica 46:69",
    )


def trend(evidence: Evidence) -> Finding | None:
    """How the values of prompts change over the run."""
    facts = evidence.facts
    size, low, high = ((facts.n_steps - 1) / 100 * x for x in (facts.trend, *facts.trend_limits))
    if not abs(size) > 0.01 * evidence.reward_range or low <= 0 <= high:
        return None
    return Finding(
        "trend",
        "medium" if high < 0 else "info",
        f"Values change by {size:+.2g}{interval(low, high, digits='+.2g')} over the run on average.",
        *(size, low, high, "change of a value over the run", evidence.rests_on),
    )
