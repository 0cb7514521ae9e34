"""All that an audit measured, as the kinds of findings see it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kvar.auditing.findings import AuditRow
from kvar.auditing.group_size_study import GroupSizeStudy
from kvar.auditing.log_statistics import LogStatistics
from kvar.auditing.prompt_verdicts import PromptVerdicts
from kvar.auditing.window_study import WindowStudy
from kvar.baselines import BaselineName
from kvar.intervals import Interval
from kvar.variance import GradientVariance

__all__ = ["Evidence", "interval", "percent", "usual_baseline"]

_MOST_REUSE = 16


@dataclass(frozen=True)
class Evidence:
    """What was measured."""

    facts: LogStatistics
    rows: list[AuditRow]  # Baselines, best first
    chosen: AuditRow  # The recommended one
    prompts: PromptVerdicts
    gradient_saving: Interval | None = None  # Fraction of the gradient's variance that the chosen one takes off
    gradient_parts: GradientVariance | None = None  # Under the usual baseline; None without scores
    sizes: GroupSizeStudy | None = None
    windows: WindowStudy | None = None
    filtered: str | None = None  # Why groups seem to be missing
    n_duplicates: int = 0  # Rows that the reader took for copies

    @property
    def usual(self) -> str:
        """See `usual_baseline`."""
        return usual_baseline(self.facts.group_size)

    @property
    def n_scored(self) -> int:
        """Rollouts with a reward."""
        return self.facts.n_rollouts - self.facts.n_unscored

    @property
    def rests_on(self) -> str:
        """The size of the log in words."""
        return f"{self.n_scored:,} rollouts of {self.facts.n_prompts:,} prompts in {self.facts.n_steps:,} steps"

    @property
    def reward_range(self) -> float:
        """Largest reward less the least."""
        return self.facts.reward_high - self.facts.reward_low

    @cached_property
    def reuse(self) -> int:
        """Number of consecutive steps to keep a batch of prompts for; 1 is no reuse."""
        facts = self.facts
        if facts.n_steps < 2 or facts.consecutive > 0.5:
            return 1
        if np.isnan(facts.gap):
            return 8
        within_group = facts.noise / facts.group_size
        if np.isnan(facts.move) or facts.move**2 <= within_group:
            return 1
        return int(np.clip(facts.gap * within_group / facts.move**2, 2, _MOST_REUSE))

    @property
    def affordable_reuse(self) -> int:
        """The same, but no more than lets the run see all of its prompts in as many steps."""
        return min(self.reuse, max(int(self.facts.visits_per_prompt), 1))

    def prompts_seen(self, reuse: int) -> int:
        """Number of prompts that as many steps would see, each batch kept for so many."""
        return min(round(self.facts.n_prompts * self.facts.visits_per_prompt / reuse), self.facts.n_prompts)


def usual_baseline(group_size: int) -> BaselineName:
    """The baseline of most trainers, in the form that leaves the own reward out."""
    return "leave-one-out" if group_size > 1 else "batch-mean"


def interval(low: float, high: float, *, unit: str = "", digits: str = ".2g") -> str:
    """95 % limits in brackets; nothing where there are none."""
    return "" if np.isnan(low) else f" (95 % interval {low:{digits}} to {high:{digits}}{unit})"


def percent(limits: tuple[float, float]) -> str:
    """95 % limits of a fraction, in per cent."""
    low, high = limits
    return interval(100 * low, 100 * high, unit=" %", digits=".0f")
