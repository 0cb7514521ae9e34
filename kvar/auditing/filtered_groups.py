"""Whether groups with equal rewards were left out of a log, as dynamic sampling does (DAPO, arXiv 2503.14476).

In such a log a reward tells of the others of its group, since a group of equal ones would not be there. Noise, value
error and what smaller groups would do can then not be estimated.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvar.auditing.findings import AuditRow
from kvar.auditing.log_statistics import LogStatistics

__all__ = ["reason_filtered"]

# Below this number of equal groups, none may be there by chance.
_ENOUGH_EXPECTED = 10.0
_REMEDY = (
    "Audit a log of all sampled rollouts, written before the filter: in verl, SkyRL and NeMo-RL switch the filter of "
    "groups off or log in front of it, in prime-rl read the folder all"
)


def reason_filtered(facts: LogStatistics, rows: Sequence[AuditRow]) -> str | None:
    """Why the groups of a log are a selection by their rewards, and what to log, or None."""
    n_equal = facts.zero_variance_groups * facts.n_groups
    if facts.equal_groups_expected >= _ENOUGH_EXPECTED and n_equal <= 0.1 * facts.equal_groups_expected:
        return (
            "Groups with equal rewards were filtered out of this log, as by DAPO's dynamic sampling: of "
            f"{facts.n_groups:,} groups {n_equal:.0f} have equal rewards, where at least "
            f"{facts.equal_groups_expected:.0f} are expected. What is left does not show the noise of a reward, so "
            f"that value errors and group sizes cannot be judged. {_REMEDY}."
        )
    for row in rows:
        error = row.estimated_value_mse
        # Three standard errors, since many baselines are looked at.
        if facts.noise_source == "groups" and error.mean + 1.5 * (error.high - error.mean) < 0:
            return (
                f"The estimated value MSE of {row.label} is {error.mean:.2g}, significantly below 0: the rewards of a "
                "group are not independent, as where groups were chosen by their rewards. Value errors and group sizes "
                f"cannot be judged. {_REMEDY}."
            )
    return None
