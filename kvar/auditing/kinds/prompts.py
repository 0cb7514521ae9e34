"""Findings on single prompts: how many are forgotten, stuck, improving or solved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kvar.auditing.evidence import Evidence, percent
from kvar.auditing.finding import Finding, share_severity
from kvar.auditing.prompt_verdicts import FALSE_DISCOVERY_RATE, SOLVED
from kvar.intervals import rate_limits

__all__ = ["forgotten", "improving", "solved", "stuck"]

_REFERENCE = "Benjamini and Hochberg (1995), JRSS B 57:289"
_VARIANCE = {"TRL": 'KAEConfig(prompt_order="variance")'}
_OPEN_FILTER = {
    "verl": "algorithm.filter_groups.enable=True algorithm.filter_groups.metric=acc",
    "OpenRLHF": f"--algo.dynamic_filtering_enable --algo.dynamic_filtering_range {1 - SOLVED:.1f} {SOLVED:g}",
}


def _share(
    evidence: Evidence, verdict: str, says: str, severity: Callable[[float], str], action: dict[str, str], saves: bool
) -> Finding | None:
    """The fraction of the prompts with a verdict, and the rollouts spent on their last visits; None for no prompt."""
    prompts = evidence.prompts
    found, judged = prompts.are(verdict), ~prompts.are("not judged")
    if not found.any():
        return None
    share = float(found.sum() / judged.sum())
    low, high = (float(limit) for limit in rate_limits(share, judged.sum()))
    return Finding(
        verdict,
        severity(low),
        f"{found.sum():,} of {judged.sum():,} prompts with enough visits, {100 * share:.3g} %{percent((low, high))}, "
        f"{says}. prompts.parquet lists them; at most {100 * FALSE_DISCOVERY_RATE:.0f} % are expected to be there "
        "by chance.",
        *(share, low, high, "fraction of the judged prompts"),
        rests_on=f"the last {np.median(prompts.rewards[judged]):.0f} rewards of a prompt (median)",
        action=action,
        saves=float(prompts.rewards[found].sum()) if saves else np.nan,
        reference=_REFERENCE,
    )


def forgotten(evidence: Evidence) -> Finding | None:
    """Prompts whose rewards fall."""
    return _share(
        evidence,
        "forgotten",
        "have falling rewards over their last visits: the policy forgets them",
        lambda low: "high" if low > 0.1 else "medium" if low > 0.05 else "low",
        {
            "TRL": "a lower learning_rate, or beta > 0 for a KL penalty",
            "verl": "actor_rollout_ref.actor.use_kl_loss=True, or a lower actor_rollout_ref.actor.optim.lr",
            "OpenRLHF": "--algo.kl.init_coef above 0, or a lower --actor.adam.lr",
        },
        saves=False,
    )


def stuck(evidence: Evidence) -> Finding | None:
    """Prompts that are hardly ever right."""
    return _share(
        evidence,
        "stuck",
        f"have a value below {1 - SOLVED:.1f} of the range of the rewards and do not improve",
        lambda low: share_severity(low, 0.1, 0.3),
        {**_VARIANCE, **_OPEN_FILTER},
        saves=True,
    )


def improving(evidence: Evidence) -> Finding | None:
    """Prompts whose rewards rise."""
    return _share(evidence, "improving", "have rising rewards over their last visits", lambda low: "info", {}, False)


def solved(evidence: Evidence) -> Finding | None:
    """Prompts that are nearly always right."""
    return _share(
        evidence,
        "solved",
        f"have a value above {SOLVED:g} of the range of the rewards: little is left to learn",
        lambda low: share_severity(low, 0.3),
        {**_VARIANCE, **_OPEN_FILTER},
        saves=True,
    )
