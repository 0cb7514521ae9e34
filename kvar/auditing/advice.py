"""What to do about it: the audit's numbers in plain words, and warnings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from kvar.auditing.findings import AuditRow, error_saved
from kvar.auditing.group_size_study import GroupSizeStudy
from kvar.auditing.log_statistics import LogStatistics
from kvar.auditing.trainer_settings import lines_to_paste
from kvar.auditing.window_study import WindowStudy
from kvar.intervals import Interval

__all__ = ["Advice", "advise"]

_FEW_REWARDS, _FEW_PROMPTS, _FEW_STEPS = 1000, 20, 20
_MOST_REUSE = 16


@dataclass(frozen=True)
class Advice:
    """The audit in words.

    Attributes
    ----------
    recommendation : str
        Which baseline, with numbers.
    findings : list of str
        What else is worth knowing.
    warnings : list of str
        What stands against trusting the numbers.
    lines : dict of str to str
        By trainer, what to change.
    """

    recommendation: str
    findings: list[str]
    warnings: list[str]
    lines: dict[str, str]


def advise(
    facts: LogStatistics,
    rows: list[AuditRow],
    chosen: AuditRow,
    gradient_saving: Interval | None,
    sizes: GroupSizeStudy | None,
    windows: WindowStudy | None,
) -> Advice:
    """Put an audit into words."""
    reuse = _reuse(facts)
    findings = [
        *_value_findings(rows, chosen, facts),
        *_own_reward_findings(rows, chosen),
        *_size_findings(sizes),
        *_waste_findings(facts),
        *_gradient_findings(None if chosen.takes_own_reward else gradient_saving, facts),
        *_repeat_findings(facts, reuse),
        *_window_findings(windows),
    ]
    size = sizes.advised.size if sizes is not None and sizes.advised is not None else facts.group_size
    return Advice(_recommend(rows, chosen), findings, list(_warnings(facts)), lines_to_paste(chosen, size, reuse))


def _recommend(rows: list[AuditRow], chosen: AuditRow) -> str:
    sentence = f"Use {chosen.label}: its one-step-ahead squared error is {chosen.one_step_error.mean:.4g}"
    rivals = [row for row in rows if row is not chosen and row.baseline != "oracle"]
    rivals = [row for row in rivals if not np.isnan(row.above_best.mean)]
    if not rivals:
        return sentence + "."
    second = min(rivals, key=lambda row: row.above_best.mean)
    gap = second.above_best
    if gap.mean == 0:
        return sentence + f", the same as that of {second.label}."
    sentence += f", {gap.mean:.2g} below the next best, {second.label}"
    if np.isnan(gap.low):
        return sentence + "; one prompt at one time gives no interval."
    limits = f"95 % interval {gap.low:.2g} to {gap.high:.2g}"
    if gap.low > 0:
        return sentence + f" ({limits})."
    return sentence + f", which is not clearly worse ({limits})."


def _value_findings(rows: list[AuditRow], chosen: AuditRow, facts: LogStatistics) -> Iterator[str]:
    if found := error_saved(rows, chosen, facts):
        usual, saved = found
        user = "GRPO" if usual.baseline == "group-mean" else "REINFORCE++"
        yield (
            f"Its values are nearer to the true ones than those of {usual.label}, which {user} uses: the estimated "
            f"mean squared error is {max(chosen.estimated_value_mse.mean, 0.0):.2g} instead of "
            f"{usual.estimated_value_mse.mean:.2g}, {100 * saved:.0f} % less."
        )


def _own_reward_findings(rows: list[AuditRow], chosen: AuditRow) -> Iterator[str]:
    if not chosen.takes_own_reward:
        return
    sentence = f"The value of {chosen.label} contains the rollout's own reward, which biases the gradient"
    rivals = [row for row in rows if not row.takes_own_reward and row.above_best.mean >= 0 and row.baseline != "oracle"]
    if rivals:
        sentence += f"; the best without it is {min(rivals, key=lambda row: row.above_best.mean).label}"
    yield sentence + "."


def _size_findings(sizes: GroupSizeStudy | None) -> Iterator[str]:
    if sizes is None:
        return
    sample = f" (tried on one prompt in {sizes.one_in})" if sizes.one_in > 1 else ""
    advised = sizes.advised
    if advised is None:
        yield f"The groups of {sizes.full} cannot be cut: no smaller one gives values as good as its mean{sample}."
        return
    if advised.size == sizes.full:
        yield f"The groups of {sizes.full} cannot be cut with {sizes.baseline} without losing accuracy{sample}."
        return
    error = advised.value_mse
    low, mean, high = (max(x, 0.0) for x in (error.low, error.mean, error.high))
    yield (
        f"Your run used groups of {sizes.full}, whose mean has an estimated mean squared error of "
        f"{sizes.reference.mean:.2g}. With {sizes.baseline}, groups of {advised.size} have no more: {mean:.2g} (95 % "
        f"interval {low:.2g} to {high:.2g}). That is {100 * (1 - advised.size / sizes.full):.0f} % fewer "
        f"rollouts{sample}, which could go to more prompts."
    )


def _waste_findings(facts: LogStatistics) -> Iterator[str]:
    if facts.zero_variance_groups > 0:
        yield (
            f"{100 * facts.zero_variance_groups:.0f} % of the groups have equal rewards only, "
            f"{100 * facts.zero_at_top:.0f} % all at the top of the range: a group baseline learns nothing from their "
            f"{100 * facts.wasted_rollouts:.0f} % of the rollouts, a baseline with history does."
        )


def _gradient_findings(saving: Interval | None, facts: LogStatistics) -> Iterator[str]:
    if saving is None or not saving.mean > 0:
        return
    usual = "the mean of the others in the group" if facts.group_size > 1 else "the batch mean"
    limits = "" if np.isnan(saving.low) else f" (95 % interval {100 * saving.low:.0f} to {100 * saving.high:.0f} %)"
    yield (
        f"The gradient of one rollout would have had {100 * saving.mean:.0f} % less variance{limits} than with "
        f"{usual}. This holds if, given the prompt, the squared norm of the score is unrelated to the reward, and it "
        "counts the square of the mean gradient as variance, which is small beside it."
    )


def _reuse(facts: LogStatistics) -> int:
    """For how many steps to keep a batch of prompts; 1 is no reuse."""
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
                "No prompt comes back in this log, so nothing can be remembered. Keeping each batch of prompts for "
                f"{reuse} consecutive steps would give every baseline with history something to work with."
            )
        return
    steps = "1 step" if facts.gap == 1 else f"{facts.gap:.0f} steps"
    sentence = f"A prompt comes back after {steps} (median), {facts.visits_per_prompt:.3g} times in the run"
    if np.isnan(facts.move):
        yield sentence + "."
        return
    within_group = np.sqrt(facts.noise / facts.group_size)
    sentence += (
        f"; in between its value moves by {facts.move:.2g} (root mean square), and the mean of its "
        f"{facts.group_size} rollout{'s' if facts.group_size > 1 else ''} misses it by {within_group:.2g}"
    )
    if facts.consecutive > 0.5:
        yield sentence + ". Prompts are kept for consecutive steps already."
    elif reuse == 1:
        yield sentence + ". What was seen at the last visit is still worth more than that, so the schedule may stay."
    else:
        yield sentence + f". Too far: keep each batch of prompts for {reuse} consecutive steps (block reuse)."
    moved = facts.trend * (facts.n_steps - 1) / 100
    if abs(moved) > 0.01 * (facts.reward_high - facts.reward_low):
        yield f"Values {'rise' if moved > 0 else 'fall'} by {abs(moved):.2g} over the run on average."


def _window_findings(windows: WindowStudy | None) -> Iterator[str]:
    if windows is None or len(windows.windows) < 2:
        return
    path = [f"{w:g}" for w, _ in groupby(windows.path)]
    changes = f" (in the course of the run {', '.join(path)})" if len(path) > 1 else ""
    edge = " or longer" if windows.best == windows.windows[-1] else ""
    yield f"The best fixed window of the kernel baseline is {windows.best:g} steps{edge}{changes}."


def _warnings(facts: LogStatistics) -> Iterator[str]:
    n_scored = facts.n_rollouts - facts.n_unscored
    if np.isnan(facts.gap):
        yield "No prompt comes back: baselines with history were compared without any."
    elif facts.seen_once > 0.5:
        yield f"{100 * facts.seen_once:.0f} % of the prompts were seen at one step only."
    if n_scored < _FEW_REWARDS:
        yield f"Only {n_scored} rewards: differences of a few per cent cannot be seen."
    if facts.n_prompts < _FEW_PROMPTS or facts.n_steps < _FEW_STEPS:
        yield f"Only {facts.n_prompts} prompts and {facts.n_steps} steps: the intervals themselves are uncertain."
    if facts.noise_source == "visits":
        yield (
            "Groups of one do not show how noisy a reward is; the noise was estimated from rewards of successive "
            "visits, and the intervals of the value error allow for the movement in between."
        )
    elif facts.noise_source == "none":
        yield "Neither groups nor returning prompts show how noisy a reward is: the value error has limits only."
    if facts.reward_low == facts.reward_high:
        yield f"All rewards are {facts.reward_low:g}: there is nothing to tell baselines apart by."
    if facts.n_unscored > 0.1 * facts.n_rollouts:
        yield f"{100 * facts.n_unscored / facts.n_rollouts:.0f} % of the rollouts have no reward."
    if facts.step_spacing > 1:
        yield (
            f"The log holds one step in {facts.step_spacing:g}: prompts came back in between, and histories would have "
            "been longer than they look. Log every step (in TRL, logging_steps=1)."
        )
    yield from _scale_warnings(facts)


def _scale_warnings(facts: LogStatistics) -> Iterator[str]:
    low, high, later_low, later_high = facts.ranges
    ranges = [high - low, later_high - later_low]
    if np.isfinite(ranges).all() and max(ranges) > 2 * min(ranges) and max(ranges) > 0:
        yield (
            f"The scale of the rewards changes: {low:g} to {high:g} in the first half of the run, {later_low:g} to "
            f"{later_high:g} in the second. Audit the parts apart if the reward function was changed."
        )
    if not np.isnan(facts.jump):
        yield (
            f"All rewards {'rise' if facts.jump > 0 else 'fall'} by {abs(facts.jump):.2g} at once at step "
            f"{facts.jump_step:g}. If the reward function changed there, audit the parts before and after it apart."
        )
