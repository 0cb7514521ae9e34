"""Findings on the data themselves: rows that are missing or there twice, and rewards that look hacked or changed."""

from __future__ import annotations

import numpy as np

from kvar.auditing.evidence import Evidence, interval
from kvar.auditing.finding import Finding

__all__ = ["duplicates", "filtered_groups", "reward_jump", "reward_range"]

_HACKING = "Skalse et al. (2022), Defining and characterizing reward hacking, arXiv 2209.13085"


def filtered_groups(evidence: Evidence) -> Finding | None:
    """Groups with equal rewards are missing."""
    if evidence.filtered is None:
        return None
    facts = evidence.facts
    return Finding(
        "filtered-groups",
        "high",
        evidence.filtered,
        facts.zero_variance_groups,
        *(*facts.zero_variance_limits, "fraction of the groups with equal rewards", evidence.rests_on),
        action={
            "verl": "algorithm.filter_groups.enable=False while you record, or log before the filter",
            "OpenRLHF": "leave out --algo.dynamic_filtering_enable while you record",
        },
        reference="Yu et al. (2025), DAPO, arXiv 2503.14476",
    )


def duplicates(evidence: Evidence) -> Finding | None:
    """Rows that are copies of others."""
    number, total = evidence.n_duplicates, evidence.facts.n_rollouts
    if number == 0:
        return None
    share = number / (number + total)
    return Finding(
        "duplicates",
        "medium" if share > 0.01 else "low",
        f"{number:,} rows are copies of others, {100 * share:.2g} % of what was read. They are counted once here. If "
        "the trainer counts them twice, they have twice the weight in its gradient.",
        share,
        unit="fraction of the rows",
        rests_on=f"{number + total:,} rows",
    )


def reward_jump(evidence: Evidence) -> Finding | None:
    """All prompts' rewards change at once."""
    facts = evidence.facts
    if np.isnan(facts.jump):
        return None
    up = facts.jump > 0
    says = f"All rewards {'rise' if up else 'fall'} by {abs(facts.jump):.2g} at once at step {facts.jump_step:g}"
    says += f"{interval(*facts.jump_limits)}. "
    if up:
        says += "Prompts that have nothing in common do not learn together: read completions from before and after it. "
        says += "The policy may have found a way round the reward, or the reward function changed there. "
    else:
        says += "The policy may have collapsed, or the reward function changed there. "
    return Finding(
        "reward-jump",
        "high",
        says + "If it changed, audit the parts before and after separately.",
        *(facts.jump, *facts.jump_limits, "change of the rewards within one return of the prompts", evidence.rests_on),
        reference=_HACKING,
    )


def reward_range(evidence: Evidence) -> Finding | None:
    """Rewards of the two halves of the run lie in different ranges."""
    low, high, later_low, later_high = evidence.facts.ranges
    ranges = [high - low, later_high - later_low]
    if not (np.isfinite(ranges).all() and max(ranges) > 2 * min(ranges)):
        return None
    beyond = later_high > high or later_low < low
    return Finding(
        "reward-range",
        "high" if beyond else "medium",
        f"The scale of the rewards changes: {low:g} to {high:g} in the first half of the run, {later_low:g} to "
        f"{later_high:g} in the second. "
        + (
            "Rewards beyond their range are a sign of a reward that is exploited, or of one that changed. "
            if beyond
            else ""
        )
        + "If the reward function changed, audit the two parts separately.",
        ranges[1] / ranges[0] if ranges[0] > 0 else np.nan,
        unit="range of the second half over that of the first",
        rests_on=evidence.rests_on,
        reference=_HACKING,
    )
