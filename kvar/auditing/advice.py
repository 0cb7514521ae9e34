"""The audit in words: a recommendation, findings, warnings, and settings to paste."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.auditing.evidence import Evidence, interval
from kvar.auditing.finding import Finding
from kvar.auditing.findings import AuditRow
from kvar.auditing.kinds import find_all
from kvar.auditing.log_warnings import log_warnings
from kvar.auditing.trainer_settings import trainer_settings

__all__ = ["Advice", "advise"]

# Who is told to stay with what they have, with groups and with single rollouts.
_OF_GROUPS = {"group-mean": "GRPO", "leave-one-out": "RLOO"}
_OF_ONE = {"batch-mean": "REINFORCE++", "none": "REINFORCE"}


@dataclass(frozen=True)
class Advice:
    """The audit in words."""

    recommendation: str  # Which baseline, with numbers
    findings: list[Finding]  # What else is worth knowing, the worst first
    warnings: list[str]  # Why the numbers may mislead
    lines: dict[str, str]  # Settings that follow the recommendation, by trainer


def advise(evidence: Evidence) -> Advice:
    """Put an audit into words; a filtered log gets no advice."""
    facts, sizes, chosen = evidence.facts, evidence.sizes, evidence.chosen
    findings, warnings = find_all(evidence), list(log_warnings(facts))
    if evidence.filtered is not None:
        return Advice("No advice: groups are missing from this log.", findings, warnings, {})
    size = facts.group_size
    if sizes is not None and sizes.baseline == chosen.baseline and sizes.advised is not None:
        size = sizes.advised.size
    lines = trainer_settings(chosen, size, evidence.affordable_reuse)
    recommendation = _recommend(evidence.rows, chosen, facts.group_size) + _what_is_ranked(chosen)
    return Advice(recommendation, findings, warnings, lines)


def _recommend(rows: list[AuditRow], chosen: AuditRow, group_size: int) -> str:
    measure = "one-step-ahead squared error"
    rivals = [row for row in rows if row is not chosen and row.baseline != "oracle"]
    if chosen.gradient_error is not None:
        measure += ", weighted by the squared norm of the score as in the variance of the gradient,"
        rivals = [row for row in rivals if row.takes_own_reward <= chosen.takes_own_reward]
    trainer = (_OF_GROUPS if group_size > 1 else _OF_ONE).get(chosen.baseline)
    advice = f"Use {chosen.label}" if trainer is None else f"Stay with {chosen.label}, as in {trainer}"
    sentence = f"{advice}: its {measure} is {chosen.ranked.mean:.4g}"
    rivals = [row for row in rivals if not np.isnan(row.excess.mean)]
    if not rivals:
        return sentence + "."
    second = min(rivals, key=lambda row: row.excess.mean)
    gap = second.excess
    if gap.mean == 0:
        return sentence + f", the same as that of {second.label}."
    sentence += f", {gap.mean:.2g} below the next best, {second.label}"
    if np.isnan(gap.low):
        return sentence + "; one prompt at one step gives no interval."
    limits = interval(gap.low, gap.high)
    return sentence + (f"{limits}." if gap.low > 0 else f". The difference is not significant{limits}.")


def _what_is_ranked(chosen: AuditRow) -> str:
    """What the ranking is of, where it is not of gradients."""
    if chosen.gradient_error is not None:
        return ""
    return (
        " Values are ranked here, not gradients, so that training can rank otherwise: gradients need score norms, "
        "which this log does not have."
    )
