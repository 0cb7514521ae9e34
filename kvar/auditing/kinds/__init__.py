"""The kinds of findings by name, each a function from what an audit measured to a finding, or None."""

from __future__ import annotations

from collections.abc import Callable

from kvar.auditing.evidence import Evidence
from kvar.auditing.finding import Finding, Severity
from kvar.auditing.kinds.baseline import norms_missing, own_reward, score_norms, value_error
from kvar.auditing.kinds.course import difficulty, return_of_prompts, stale_window, trend
from kvar.auditing.kinds.data import duplicates, filtered_groups, reward_jump, reward_range
from kvar.auditing.kinds.gradient import gradient_noise, gradient_saving
from kvar.auditing.kinds.groups import all_right, all_wrong, group_size
from kvar.auditing.kinds.prompts import forgotten, improving, solved, stuck

__all__ = ["KINDS", "find_all"]

KINDS: dict[str, Callable[[Evidence], Finding | None]] = {
    made.__name__.replace("_", "-"): made
    for made in (
        *(filtered_groups, duplicates, reward_range, reward_jump),
        *(all_wrong, all_right, group_size, value_error, own_reward),
        *(gradient_noise, gradient_saving, score_norms, norms_missing),
        *(forgotten, stuck, improving, solved),
        *(stale_window, return_of_prompts, difficulty, trend),
    )
}
# What can be said of a log from which groups were filtered out.
_OF_ANY_LOG = ("filtered-groups", "duplicates", "reward-range")


def find_all(evidence: Evidence) -> list[Finding]:
    """All findings, the worst first."""
    names = KINDS if evidence.filtered is None else _OF_ANY_LOG
    found = [made for made in (KINDS[name](evidence) for name in names) if made is not None]
    return sorted(found, key=lambda finding: Severity(finding.severity).rank)
