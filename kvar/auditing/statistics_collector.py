"""Statistics of a log, collected from its groups as they come in the order of steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.auditing.difficulty_drift import DifficultyDrift
from kvar.auditing.equal_groups import EqualGroups
from kvar.auditing.groups import Groups
from kvar.auditing.log_statistics import LogStatistics
from kvar.auditing.recent_visits import RecentVisits
from kvar.auditing.visit_changes import VisitChanges
from kvar.intervals import LONGEST_PERIOD, ClusteredSums, Ratio, fraction_limits
from kvar.utils.arrays import extended

__all__ = ["NoiseTerms", "StatisticsCollector"]

# Columns of the collector's sums: groups of two rewards or more, those with equal rewards, rewards, those in groups
# with equal rewards, change of a prompt's mean, logged steps in which it changed, and groups in which all rewards are
# the largest, or the least, of the run.
_GROUPS, _EQUAL, _REWARDS, _WASTED, _RISE, _GAP, _TOP, _BOTTOM = range(8)


@dataclass(frozen=True)
class NoiseTerms:
    """What each of C groups says about the noise of a reward."""

    # noise, noisy: shape (C,): Number of rewards times their variance, and the number; 0 for fewer than two.
    noise: np.ndarray
    noisy: np.ndarray
    half_square: np.ndarray  # half_square, pairs: shape (2, C): See `kvar.auditing.visit_changes.Changes`
    pairs: np.ndarray


class StatisticsCollector:
    """Takes groups in the order of steps; memory is a few numbers for each prompt and step.

    Of whole longest periods, what is added does not depend on what comes later, so that a log may grow.
    """

    def __init__(self) -> None:
        self.recent_visits = RecentVisits()
        self._changes = VisitChanges()
        self._difficulty = DifficultyDrift()
        self._sums = ClusteredSums(8, longest=LONGEST_PERIOD)
        self._step = self._lows = self._highs = np.zeros(0)
        self._count, self._total, self._wasted = np.zeros((3, 0))
        self._sizes = np.zeros(1, dtype=np.int64)
        self._low, self._high = np.inf, -np.inf
        self._equal_groups = EqualGroups()
        self._rollouts = 0
        self._noise = self._n_noise = 0.0

    def grow(self, n_prompts: int, n_steps: int) -> None:
        """Expect so many prompts and steps."""
        self._changes.grow(n_prompts, n_steps)
        self._sums.grow(n_prompts, n_steps)
        self.recent_visits.grow(n_prompts)
        self._difficulty.grow(n_prompts)
        self._step = extended(self._step, n_steps, np.nan)
        self._lows, self._highs = extended(self._lows, n_steps, np.inf), extended(self._highs, n_steps, -np.inf)
        sums = (self._count, self._total, self._wasted)
        self._count, self._total, self._wasted = (extended(array, n_steps) for array in sums)

    def add(self, groups: Groups) -> NoiseTerms:
        """Add some groups."""
        self.grow(int(groups.prompt.max(initial=-1)) + 1, int(groups.time.max(initial=-1)) + 1)
        n_steps = len(self._step)
        self._rollouts += int(groups.size.sum())
        self._step[groups.time] = groups.step
        counts = np.bincount(groups.size)
        if len(counts) > len(self._sizes):
            self._sizes = np.pad(self._sizes, (0, len(counts) - len(self._sizes)))
        self._sizes[: len(counts)] += counts
        scored = groups.count > 0
        np.minimum.at(self._lows, groups.time[scored], groups.low[scored])
        np.maximum.at(self._highs, groups.time[scored], groups.high[scored])
        self._widen_range(groups.low[scored], groups.high[scored])
        total = np.where(scored, groups.mean * groups.count, 0.0)
        self._count += np.bincount(groups.time, weights=groups.count, minlength=n_steps)
        self._total += np.bincount(groups.time, weights=total, minlength=n_steps)

        grouped = groups.count > 1
        equal = grouped & (groups.low == groups.high)
        wasted = np.where(equal, groups.count, 0)
        self._wasted += np.bincount(groups.time, weights=wasted, minlength=n_steps)
        top, bottom = equal & (groups.high == self._high), equal & (groups.low == self._low)

        self._equal_groups.add(groups)
        noise = np.where(grouped, groups.count * groups.variance, 0.0)
        noisy = np.where(grouped, groups.count, 0).astype(np.float64)
        self._noise += noise.sum()
        self._n_noise += noisy.sum()
        changes = self._changes.add(groups)
        self.recent_visits.add(groups)
        self._difficulty.add(groups)
        cells = np.array(
            [grouped, equal, groups.count, wasted, changes.rise, changes.gap, top, bottom], dtype=np.float64
        )
        self._sums.add(cells, groups.prompt, groups.time)
        return NoiseTerms(noise, noisy, changes.half_square, changes.pairs)

    def _widen_range(self, lows: np.ndarray, highs: np.ndarray) -> None:
        """Take the range of some groups in. Groups at what was the end of the range before are then inside it."""
        low, high = float(lows.min(initial=self._low)), float(highs.max(initial=self._high))
        if high > self._high:
            self._sums.clear(_TOP)
        if low < self._low:
            self._sums.clear(_BOTTOM)
        self._low, self._high = low, high

    @property
    def _noise_source(self) -> str:
        # Groups speak for lone rollouts too where they are most of the log.
        if self._n_noise > 0 and self._n_noise >= self._count.sum() / 2:
            return "groups"
        return "visits" if self._changes.has_pairs else "none"

    def _noise_level(self) -> float:
        source = self._noise_source
        if source == "groups":
            return float(self._noise / self._n_noise)
        return self._changes.noise() if source == "visits" else np.nan

    def statistics(self) -> LogStatistics:
        """All numbers, once every group was added."""
        n_scored, n_groups = self._count.sum(), self._sums.total([_GROUPS])
        visits, gaps = self._changes.n_visits, self._changes.gap_counts
        zero, top, bottom, wasted, trend = (
            self._sums.interval(Ratio([a], [b]))
            for a, b in ((_EQUAL, _GROUPS), (_TOP, _GROUPS), (_BOTTOM, _GROUPS), (_WASTED, _REWARDS), (_RISE, _GAP))
        )
        drift = self._difficulty.slope()
        whole_run = len(self._step) - 1
        steps = np.diff(self._step)
        jump, jump_error, jump_place = self._changes.jump((self._high - self._low) / 4)
        middle = -(-len(steps) // 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            return LogStatistics(
                n_rollouts=self._rollouts,
                n_unscored=self._rollouts - int(n_scored),
                n_prompts=len(visits),
                n_steps=len(self._step),
                group_size=int(np.argmax(self._sizes * np.arange(len(self._sizes)))),
                reward_low=self._low,
                reward_high=self._high,
                reward_mean=float(self._total.sum() / n_scored),
                zero_variance_groups=zero.mean,
                zero_at_top=top.mean,
                zero_at_bottom=bottom.mean,
                wasted_rollouts=wasted.mean if n_groups else np.nan,
                seen_once=_ratio((visits == 1).sum(), (visits > 0).sum()),
                visits_per_prompt=_ratio(visits.sum(), (visits > 0).sum()),
                gap=self._changes.median_gap(),
                consecutive=_ratio(gaps[1] if len(gaps) > 1 else 0, gaps.sum()),
                step_spacing=float(np.median(steps)) if len(steps) else np.nan,
                noise=self._noise_level(),
                noise_source=self._noise_source,
                move=self._changes.movement(self._noise_source),
                trend=100 * trend.mean,
                jump=jump,
                jump_step=np.nan if jump_place is None else float(self._step[jump_place]),
                ranges=(*self._range(slice(None, middle)), *self._range(slice(middle, None))),
                step_means=self._total / self._count,
                step_wasted=self._wasted / self._count,
                gap_counts=gaps.copy(),
                zero_variance_limits=fraction_limits(zero),
                wasted_limits=fraction_limits(wasted) if n_groups else (np.nan, np.nan),
                trend_limits=(100 * trend.low, 100 * trend.high),
                zero_at_top_limits=fraction_limits(top),
                zero_at_bottom_limits=fraction_limits(bottom),
                jump_limits=(jump - 1.96 * jump_error, jump + 1.96 * jump_error),
                difficulty=whole_run * drift.mean,
                difficulty_limits=(whole_run * drift.low, whole_run * drift.high),
                n_groups=int(n_groups),
                equal_groups_expected=self._equal_groups.expected(),
            )

    def _range(self, steps: slice) -> tuple[float, float]:
        return float(self._lows[steps].min(initial=np.inf)), float(self._highs[steps].max(initial=-np.inf))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else np.nan
