"""Findings on the noise of the gradient: what a baseline can take off it, and what it cannot."""

from __future__ import annotations

import numpy as np

from kvar.auditing.evidence import Evidence, percent
from kvar.auditing.finding import Finding, share_severity

__all__ = ["gradient_noise", "gradient_saving"]

_REFERENCE = "Kernelized Advantage Estimation, arXiv 2604.28005, theorem 2"


def gradient_noise(evidence: Evidence) -> Finding | None:
    """The part of the gradient's noise that a better baseline takes off."""
    if evidence.gradient_parts is None:
        return _from_values(evidence)
    parts, facts = evidence.gradient_parts, evidence.facts
    size, prompts = facts.group_size, max(evidence.n_scored / (facts.n_steps * facts.group_size), 1.0)
    shares = np.array([0.0 if parts.prompt is None else size * parts.prompt.mean, parts.reward.mean])
    total = float(shares.sum() + parts.baseline.mean)
    if not total > 0:
        return None
    limits = parts.baseline.low / total, parts.baseline.high / total
    of_prompts, of_rewards = (f"{100 * share / total:.0f} %" for share in shares)
    first = (
        "The part of the draw of prompts is unknown without columns sketch_0, sketch_1, ... of the scores. "
        if parts.prompt is None
        else f"{of_prompts} comes from which prompts a step draws, and only more prompts a step reduce it. "
    )
    says = (
        f"Noise of the gradient of a step of {prompts:.0f} prompts, with {evidence.usual}: {first}{of_rewards} is the "
        f"noise of rewards under perfect values, which more rollouts reduce. {100 * parts.baseline.mean / total:.0f} % "
        f"is left for a better baseline{percent(limits)}. {_trust(limits, facts.n_prompts)}"
    )
    return _noise(evidence, says, parts.baseline.mean / total, limits, "fraction of the noise of the gradient")


def _trust(limits: tuple[float, float], n_prompts: int) -> str:
    wide = not limits[1] - limits[0] < 0.2
    if wide or n_prompts < 20:
        reason = "the interval is wide" if wide else f"it rests on {n_prompts} prompts"
        return f"This estimate cannot be trusted yet: {reason}."
    return "This estimate can be trusted within its interval."


def _from_values(evidence: Evidence) -> Finding | None:
    """Without scores: the value error against the error of the advantages, if norm and reward are unrelated."""
    row = next((row for row in evidence.rows if row.baseline == evidence.usual), None)
    if row is None or not row.one_step_error.mean > 0 or np.isnan(row.estimated_value_mse.mean):
        return None
    error, whole = row.estimated_value_mse, row.one_step_error.mean
    limits = max(error.low / whole, 0.0), min(error.high / whole, 1.0)
    part = float(np.clip(error.mean / whole, 0.0, 1.0))
    says = (
        f"{100 * part:.0f} % of the variance of the advantages under {evidence.usual} is error of the value"
        f"{percent(limits)}. A better baseline can take this much off the gradient's noise within prompts, where the "
        "norm of the score does not go with the reward. More rollouts reduce the rest. The draw of prompts adds noise "
        "that the log does not show, and only more prompts a step reduce it. "
        f"{_trust(limits, evidence.facts.n_prompts)}"
    )
    return _noise(evidence, says, part, limits, "fraction of the variance of the advantages")


def _noise(evidence: Evidence, says: str, part: float, limits: tuple[float, float], unit: str) -> Finding:
    """The finding on the part of the noise that a better baseline can take off."""
    # The value of group-mean is that of leave-one-out, but for the own reward.
    chosen = evidence.chosen.baseline
    better = "" if chosen in (evidence.usual, "group-mean") else f'KAEConfig(baseline="{chosen}"); more prompts: '
    return Finding(
        "gradient-noise",
        share_severity(limits[0], 0.15),
        says,
        *(part, *limits, unit, evidence.rests_on),
        action={
            "TRL": f"{better}per_device_train_batch_size",
            "verl": "data.train_batch_size for more prompts",
            "OpenRLHF": "--rollout.batch_size for more prompts",
        },
        reference=_REFERENCE,
    )


def gradient_saving(evidence: Evidence) -> Finding | None:
    """How much less variance the gradient would have had with the recommended baseline."""
    saving = evidence.gradient_saving
    if saving is None or not saving.mean > 0:
        return None
    return Finding(
        "gradient-saving",
        share_severity(saving.low, 0.2),
        f"The gradient of one rollout would have had {100 * saving.mean:.0f} % less variance"
        f"{percent((saving.low, saving.high))} with {evidence.chosen.label} than with {evidence.usual}. The square of "
        "the mean gradient counts as variance here; it is small in comparison.",
        *(saving.mean, saving.low, saving.high, "fraction of the variance of a rollout's gradient", evidence.rests_on),
        saves=saving.mean * evidence.n_scored,
        reference=_REFERENCE,
    )
