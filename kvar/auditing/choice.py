"""Which baseline is recommended, and what is said of each."""

from __future__ import annotations

import numpy as np

from kvar.auditing.error_sums import ScoreSums
from kvar.auditing.evidence import usual_baseline
from kvar.auditing.findings import AuditRow
from kvar.auditing.mean_errors import MeanErrors
from kvar.baselines import Baseline
from kvar.intervals import Interval

__all__ = ["best_baseline", "gradient_saving", "row_of"]

_PARTS = 12


def best_baseline(found: ScoreSums, errors: MeanErrors, kept: list[int]) -> int:
    """Place of the baseline with the least error among those that can be compared, the oracle left out.

    By the gradient only baselines without the own reward are eligible: the gradient of the others is a shrunken one.
    """
    judged = [k for k in kept if errors.comparable(k)] or kept
    eligible = [k for k in judged if found.baselines[k].name != "oracle"] or judged
    if errors is found.gradient:
        eligible = [k for k in eligible if not _takes_own_reward(found.baselines[k])] or eligible
    means = {k: mean for k in eligible if not np.isnan(mean := errors.mean(k).mean)}
    # Baselines that differ by rounding count as equal, and the first of them is taken.
    return next((k for k, mean in means.items() if mean <= min(means.values()) * (1 + 1e-12)), eligible[0])


def _takes_own_reward(baseline: Baseline) -> bool:
    return type(baseline).own_weight is not Baseline.own_weight and getattr(baseline, "include_own", True)


def row_of(found: ScoreSums, k: int, best: int, p_value_adjusted: float) -> AuditRow:
    """What is said of baseline k, against the best."""
    baseline = found.baselines[k]
    return AuditRow(
        baseline=baseline.name,
        parameters=baseline.parameters,
        one_step_error=found.prediction.mean(k),
        above_best=found.prediction.difference(k, best),
        estimated_value_mse=found.estimated_value_mse(k, best),
        value_mse=found.value_mse(k) if found.knows_truth else None,
        takes_own_reward=_takes_own_reward(baseline),
        by_part=found.prediction.by_part(k, _PARTS),
        p_value_adjusted=float(p_value_adjusted),
        gradient_error=None if found.gradient is None else found.gradient.mean(k),
        gradient_above_best=None if found.gradient is None else found.gradient.difference(k, best),
    )


def gradient_saving(found: ScoreSums, kept: list[int], best: int) -> Interval | None:
    """Fraction by which the gradient error is below that of leave-one-out, or of the batch mean without groups."""
    errors = found.gradient
    if errors is None:
        return None
    usual = usual_baseline(found.facts.group_size)
    others = [k for k in kept if found.baselines[k].name == usual and errors.comparable(k)]
    return errors.reduction(best, others[0]) if others and errors.comparable(best) else None
