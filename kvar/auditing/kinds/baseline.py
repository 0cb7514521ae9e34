"""Findings on the baseline: its value error, its own reward, and whether score norms go with the reward."""

from __future__ import annotations

import numpy as np

from kvar.auditing.evidence import Evidence, interval
from kvar.auditing.finding import Finding
from kvar.auditing.findings import error_saved
from kvar.auditing.kinds.groups import of_error

__all__ = ["norms_missing", "own_reward", "score_norms", "value_error"]

_OPTIMAL = "variance-optimal"
_GREENSMITH = "Greensmith, Bartlett and Baxter (2004), JMLR 5:1471"


def value_error(evidence: Evidence) -> Finding | None:
    """How much less error the values of the recommended baseline have than those of the usual one."""
    chosen = evidence.chosen
    found = error_saved(evidence.rows, chosen, evidence.facts)
    if found is None:
        return None
    error, user = chosen.estimated_value_mse, "GRPO" if found.usual.baseline == "group-mean" else "REINFORCE++"
    return Finding(
        "value-error",
        "medium" if found.percent >= 50 else "low",
        f"The estimated value MSE of {chosen.label} (mean squared error against the true values) "
        f"{of_error(error, limits=False)}, against {found.usual.estimated_value_mse.mean:.2g} for {found.usual.label}, "
        f"which {user} uses: {found}.",
        *(error.mean, error.low, error.high, "value MSE", evidence.rests_on),
        reference="Kernelized Advantage Estimation, arXiv 2604.28005",
    )


def own_reward(evidence: Evidence) -> Finding | None:
    """The recommended baseline uses the reward that it is subtracted from."""
    chosen = evidence.chosen
    if not chosen.takes_own_reward:
        return None
    sentence = f"The value of {chosen.label} contains the rollout's own reward, which biases the gradient"
    rivals = [
        row
        for row in evidence.rows
        if not row.takes_own_reward and row.above_best.mean >= 0 and row.baseline != "oracle"
    ]
    if rivals:
        sentence += f"; the best baseline without it is {min(rivals, key=lambda row: row.above_best.mean).label}"
    return Finding("own-reward", "low", sentence + ".", rests_on=evidence.rests_on)


def score_norms(evidence: Evidence) -> Finding | None:
    """Whether right answers have other score norms than wrong ones."""
    facts, chosen = evidence.facts, evidence.chosen
    if np.isnan(facts.norm_ratio):
        return None
    low, high = facts.norm_ratio_limits
    sentence = (
        f"Given the prompt, the mean squared norm of the score of right answers over that of wrong ones, W1 / W0, is "
        f"{facts.norm_ratio:.2g}{interval(low, high)}: "
    )
    related = high < 1 or low > 1
    if high < 1:
        sentence += "right answers have the smaller scores, and the best baseline lies below the value"
    elif low > 1:
        sentence += "right answers have the larger scores, and the best baseline lies above the value"
    else:
        sentence += "norm and reward are not seen to be related, and then the value is the best baseline"
    advised = related and chosen.baseline != _OPTIMAL
    return Finding(
        "score-norms",
        "low" if advised else "info",
        sentence + (f"; {_OPTIMAL} estimates it." if advised else "."),
        *(facts.norm_ratio, low, high, "W1 / W0", f"{facts.n_normed:,} rollouts with a known norm"),
        action={"TRL": f'KAEConfig(baseline="{_OPTIMAL}")'} if advised else {},
        reference=_GREENSMITH,
    )


def norms_missing(evidence: Evidence) -> Finding | None:
    """The log has no score norms, so that baselines are compared by the value; GRPO itself can record them."""
    if evidence.chosen.gradient_error is not None:
        return None
    grpo = 'baseline="group-mean", scale_rewards="group", ' if evidence.facts.group_size > 1 else ""
    record = f'KAEConfig({grpo}score_norms="sampled", trace_dir="trace")'
    return Finding(
        "norms-missing",
        "info",
        "Baselines are compared by the error of the value. Where the norm of the score goes with the reward, the "
        f"gradient can rank them otherwise. To see it, record the norms: in TRL {record}, audited as kvar audit trace; "
        "elsewhere a column logprobs with the list of the log-probabilities of each rollout's tokens.",
        action={"TRL": record},
        reference=_GREENSMITH,
    )
