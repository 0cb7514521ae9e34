"""The audit in words: a recommendation, findings and warnings, each with its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from kvar.auditing.findings import AuditRow, error_saved
from kvar.auditing.group_size_study import GroupSizeStudy
from kvar.auditing.log_statistics import LogStatistics
from kvar.auditing.log_warnings import log_warnings
from kvar.auditing.trainer_settings import trainer_settings
from kvar.auditing.window_study import WindowStudy
from kvar.intervals import Interval

__all__ = ["Advice", "advise"]

_MOST_REUSE = 16
_OPTIMAL = "variance-optimal"


@dataclass(frozen=True)
class Advice:
    """The audit in words."""

    recommendation: str  # Which baseline, with numbers
    findings: list[str]  # What else is worth knowing
    warnings: list[str]  # Why the numbers may mislead
    lines: dict[str, str]  # Settings that follow the recommendation, by trainer


def advise(
    facts: LogStatistics,
    rows: list[AuditRow],
    chosen: AuditRow,
    gradient_saving: Interval | None,
    sizes: GroupSizeStudy | None,
    windows: WindowStudy | None,
    filtered: str | None = None,
) -> Advice:
    """Put an audit into words; of a filtered log there is only the reason why nothing can be advised."""
    if filtered is not None:
        return Advice("No advice: groups are missing from this log.", [], [filtered, *log_warnings(facts)], {})
    reuse = _reuse(facts)
    findings = [
        *_value_findings(rows, chosen, facts),
        *_own_reward_findings(rows, chosen),
        *_size_findings(sizes),
        *_waste_findings(facts),
        *_gradient_findings(chosen, gradient_saving, facts),
        *_norm_findings(chosen, facts),
        *_repeat_findings(facts, reuse),
        *_window_findings(windows),
    ]
    size = facts.group_size
    if sizes is not None and sizes.baseline == chosen.baseline and sizes.advised is not None:
        size = sizes.advised.size
    return Advice(_recommend(rows, chosen), findings, list(log_warnings(facts)), trainer_settings(chosen, size, reuse))


def _recommend(rows: list[AuditRow], chosen: AuditRow) -> str:
    measure = "one-step-ahead squared error"
    rivals = [row for row in rows if row is not chosen and row.baseline != "oracle"]
    if chosen.gradient_error is not None:
        measure += ", weighted by the squared norm of the score as in the variance of the gradient,"
        rivals = [row for row in rivals if row.takes_own_reward <= chosen.takes_own_reward]
    sentence = f"Use {chosen.label}: its {measure} is {chosen.ranked.mean:.4g}"
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
    limits = _interval(gap.low, gap.high)
    return sentence + (f"{limits}." if gap.low > 0 else f". The difference is not significant{limits}.")


def _interval(low: float, high: float, *, unit: str = "", digits: str = ".2g") -> str:
    return "" if np.isnan(low) else f" (95 % interval {low:{digits}} to {high:{digits}}{unit})"


def _percent(limits: tuple[float, float]) -> str:
    low, high = limits
    return _interval(100 * low, 100 * high, unit=" %", digits=".0f")


def _value_findings(rows: list[AuditRow], chosen: AuditRow, facts: LogStatistics) -> Iterator[str]:
    if found := error_saved(rows, chosen, facts):
        user = "GRPO" if found.usual.baseline == "group-mean" else "REINFORCE++"
        yield (
            "Its estimated value MSE (mean squared error against the true values) "
            f"{_of_error(chosen.estimated_value_mse, limits=False)}, against "
            f"{found.usual.estimated_value_mse.mean:.2g} for {found.usual.label}, which {user} uses: {found}."
        )


def _of_error(error: Interval, limits: bool = True) -> str:
    """The size of an estimated error, which may be below 0 by chance."""
    if error.mean > 0:
        return f"is {error.mean:.2g}{_interval(max(error.low, 0.0), error.high) if limits else ''}"
    return f"cannot be told from 0 (at most {error.high:.2g}, the upper 95 % limit)"


def _own_reward_findings(rows: list[AuditRow], chosen: AuditRow) -> Iterator[str]:
    if not chosen.takes_own_reward:
        return
    sentence = f"The value of {chosen.label} contains the rollout's own reward, which biases the gradient"
    rivals = [row for row in rows if not row.takes_own_reward and row.above_best.mean >= 0 and row.baseline != "oracle"]
    if rivals:
        sentence += f"; the best baseline without it is {min(rivals, key=lambda row: row.above_best.mean).label}"
    yield sentence + "."


def _size_findings(sizes: GroupSizeStudy | None) -> Iterator[str]:
    if sizes is None:
        return
    sample = f" (tried on one prompt in {sizes.one_in})" if sizes.one_in > 1 else ""
    advised = sizes.advised
    if advised is None:
        yield f"Keep groups of {sizes.full}: at no size is {sizes.baseline} as accurate as group-mean{sample}."
        return
    if advised.size == sizes.full:
        yield f"Keep groups of {sizes.full}: no smaller size is as accurate with {sizes.baseline}{sample}."
        return
    yield (
        f"With {sizes.baseline}, groups of {advised.size} are enough: their estimated value MSE "
        f"{_of_error(advised.value_mse)}, against {sizes.reference.mean:.2g} for group-mean with the groups of "
        f"{sizes.full} in your run. That is {100 * (1 - advised.size / sizes.full):.0f} % fewer rollouts{sample}, "
        "which could go to more prompts."
    )


def _waste_findings(facts: LogStatistics) -> Iterator[str]:
    if facts.zero_variance_groups > 0:
        yield (
            f"In {100 * facts.zero_variance_groups:.0f} % of the groups{_percent(facts.zero_variance_limits)} all "
            f"rewards are equal, in {100 * facts.zero_at_top:.0f} % all are the largest of the run. A group baseline "
            f"learns nothing from these {100 * facts.wasted_rollouts:.0f} % of the "
            f"rollouts{_percent(facts.wasted_limits)}; a baseline with history does."
        )


def _gradient_findings(chosen: AuditRow, saving: Interval | None, facts: LogStatistics) -> Iterator[str]:
    if chosen.gradient_error is None:
        yield (
            "Baselines are compared by the error of the value. Where the norm of the score goes with the reward, the "
            'gradient can rank them otherwise. To see it, record the norms: in TRL KAEConfig(score_norms="sampled"), '
            "elsewhere a column logprobs with the list of the log-probabilities of each rollout's tokens."
        )
    if saving is None or not saving.mean > 0:
        return
    usual = "leave-one-out" if facts.group_size > 1 else "batch-mean"
    yield (
        f"The gradient of one rollout would have had {100 * saving.mean:.0f} % less variance"
        f"{_percent((saving.low, saving.high))} than with {usual}. The square of the mean gradient counts as "
        "variance here; it is small in comparison."
    )


def _norm_findings(chosen: AuditRow, facts: LogStatistics) -> Iterator[str]:
    if np.isnan(facts.norm_ratio):
        return
    low, high = facts.norm_ratio_limits
    sentence = (
        f"Given the prompt, the mean squared norm of the score of right answers over that of wrong ones, W1 / W0, is "
        f"{facts.norm_ratio:.2g}{_interval(low, high)}: "
    )
    if high < 1:
        sentence += "right answers have the smaller scores, and the best baseline lies below the value"
    elif low > 1:
        sentence += "right answers have the larger scores, and the best baseline lies above the value"
    else:
        yield sentence + "norm and reward are not seen to be related, and then the value is the best baseline."
        return
    yield sentence + (f"; {_OPTIMAL} estimates it." if chosen.baseline != _OPTIMAL else ".")


def _reuse(facts: LogStatistics) -> int:
    """Number of consecutive steps to keep a batch of prompts for; 1 is no reuse."""
    if facts.n_steps < 2 or facts.consecutive > 0.5:
        return 1
    if np.isnan(facts.gap):
        return 8
    within_group = facts.noise / facts.group_size
    if np.isnan(facts.move) or facts.move**2 <= within_group:
        return 1
    return int(np.clip(facts.gap * within_group / facts.move**2, 2, _MOST_REUSE))


def _repeat_findings(facts: LogStatistics, reuse: int) -> Iterator[str]:
    if np.isnan(facts.gap):
        if facts.n_steps > 1:
            yield (
                f"No prompt comes back in this log, so history cannot help. Keep each batch of prompts for {reuse} "
                "consecutive steps to give baselines with history something to learn from."
            )
        return
    steps = "1 step" if facts.gap == 1 else f"{facts.gap:.0f} steps"
    sentence = f"A prompt comes back after {steps} (median) and is seen {facts.visits_per_prompt:.3g} times in the run"
    if np.isnan(facts.move):
        yield sentence + "."
        return
    noise = np.sqrt(facts.noise / facts.group_size)
    rollouts = f"mean of {facts.group_size} rollouts" if facts.group_size > 1 else "single rollout"
    sentence += (
        f". Its value changes by {facts.move:.2g} in between (root mean square); a {rollouts} has a standard error of "
        f"{noise:.2g}. "
    )
    if facts.consecutive > 0.5:
        yield sentence + "Prompts are kept for consecutive steps already."
    elif reuse == 1:
        yield sentence + "The last visit still tells more than the new rollouts, so the schedule may stay."
    else:
        yield sentence + f"The change is too large: keep each batch of prompts for {reuse} consecutive steps."
    steps_per_trend = (facts.n_steps - 1) / 100
    if abs(facts.trend * steps_per_trend) > 0.01 * (facts.reward_high - facts.reward_low):
        moved, *limits = (steps_per_trend * x for x in (facts.trend, *facts.trend_limits))
        yield f"Values change by {moved:+.2g}{_interval(*limits, digits='+.2g')} over the run on average."


def _window_findings(windows: WindowStudy | None) -> Iterator[str]:
    if windows is None or len(windows.windows) < 2:
        return
    path = [f"{w:g}" for w, _ in groupby(windows.path)]
    changes = f" (in successive parts of the run {', '.join(path)})" if len(path) > 1 else ""
    edge = " or longer" if windows.best == windows.windows[-1] else ""
    yield f"The best fixed window of the kernel baseline is {windows.best:g} steps{edge}{changes}."
