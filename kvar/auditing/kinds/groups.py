"""Findings on groups: those that teach a group baseline nothing, and how large they need to be."""

from __future__ import annotations

from kvar.auditing.evidence import Evidence, interval, percent
from kvar.auditing.finding import Finding, share_severity
from kvar.baselines import baseline_class
from kvar.intervals import Interval

__all__ = ["all_right", "all_wrong", "group_size", "of_error"]

_FILTERS = {
    "verl": "algorithm.filter_groups.enable=True algorithm.filter_groups.metric=acc",
    "OpenRLHF": "--algo.dynamic_filtering_enable --algo.dynamic_filtering_range 0 1",
}
_DAPO = "Yu et al. (2025), DAPO, arXiv 2503.14476"


def all_wrong(evidence: Evidence) -> Finding | None:
    """Groups whose rewards are all the least of the run."""
    facts = evidence.facts
    return _equal_rewards(
        *("all-wrong", evidence, facts.zero_at_bottom, facts.zero_at_bottom_limits, (0.1, 0.3)),
        which=f"least of the run, {facts.reward_low:g}",
        remedy="Easier prompts or a partial reward would give a signal.",
    )


def all_right(evidence: Evidence) -> Finding | None:
    """Groups whose rewards are all the largest of the run."""
    facts = evidence.facts
    return _equal_rewards(
        *("all-right", evidence, facts.zero_at_top, facts.zero_at_top_limits, (0.3,)),
        which=f"largest of the run, {facts.reward_high:g}",
        remedy="These rollouts could go to other prompts.",
    )


def _with_history(evidence: Evidence) -> str:
    """The recommended baseline if it knows prompts before they are drawn, else one that does."""
    name = evidence.chosen.baseline
    return name if baseline_class(name).has_history() else "adaptive"


def _equal_rewards(
    kind: str, evidence: Evidence, share: float, limits: tuple[float, float], thresholds: tuple[float, ...],
    *, which: str, remedy: str,
) -> Finding | None:  # fmt: skip
    """Groups at one end of the rewards, unless there are none or only one reward was ever given."""
    if not share > 0 or evidence.reward_range == 0:
        return None
    return Finding(
        kind,
        share_severity(limits[0], *thresholds),
        f"In {100 * share:.0f} % of the groups{percent(limits)} all rewards are the {which}. A group baseline learns "
        f"nothing from them. {remedy}",
        *(share, *limits, "fraction of the groups", evidence.rests_on),
        action={"TRL": f'KAEConfig(baseline="{_with_history(evidence)}", prompt_order="variance")', **_FILTERS},
        saves=share * evidence.n_scored,
        reference=_DAPO,
    )


def group_size(evidence: Evidence) -> Finding | None:
    """The group size of the run against the smallest that does as well."""
    sizes = evidence.sizes
    if sizes is None:
        return None
    sample = f" (tried on one prompt in {sizes.one_in})" if sizes.one_in > 1 else ""
    advised, full = sizes.advised, sizes.full
    if advised is None or advised.size == full:
        reason = (
            f"at no size is {sizes.baseline} as accurate as group-mean"
            if advised is None
            else f"no smaller size is as accurate with {sizes.baseline}"
        )
        return Finding(
            "group-size",
            "info",
            f"The values of groups of {full} are the best: {reason}{sample}. At equal rollouts a step, smaller groups "
            "draw more prompts, which takes noise off the gradient that this comparison does not count: "
            "variance-optimal with num_generations=1 is worth a run.",
            rests_on=evidence.rests_on,
            reference="Kernelized Advantage Estimation, arXiv 2604.28005, theorem 2",
        )
    fewer = 1 - advised.size / full
    return Finding(
        "group-size",
        "medium" if fewer >= 0.5 else "low",
        f"With {sizes.baseline}, groups of {advised.size} are enough: their estimated value MSE "
        f"{of_error(advised.value_mse)}, against {sizes.reference.mean:.2g} for group-mean with the groups of {full} "
        f"in your run. That is {100 * fewer:.0f} % fewer rollouts{sample}, which could go to more prompts.",
        *(advised.value_mse.mean, advised.value_mse.low, advised.value_mse.high, "value MSE", evidence.rests_on),
        action={
            "TRL": f"num_generations={advised.size}",
            "verl": f"actor_rollout_ref.rollout.n={advised.size}",
            "OpenRLHF": f"--rollout.n_samples_per_prompt {advised.size}",
        },
        saves=fewer * evidence.facts.n_rollouts,
        reference="Kernelized Advantage Estimation, arXiv 2604.28005",
    )


def of_error(error: Interval, limits: bool = True) -> str:
    """The size of an estimated error, which may be below 0 by chance."""
    if error.mean > 0:
        return f"is {error.mean:.2g}{interval(max(error.low, 0.0), error.high) if limits else ''}"
    return f"cannot be told from 0 (at most {error.high:.2g}, the upper 95 % limit)"
