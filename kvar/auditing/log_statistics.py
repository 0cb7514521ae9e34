"""What a log itself says: groups, repeats, wasted rollouts, noise and drift. No baseline is needed for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.auditing.groups import Groups

__all__ = ["LogStatistics", "StatisticsCollector"]


@dataclass(frozen=True)
class LogStatistics:
    """Numbers about a log.

    Attributes
    ----------
    n_rollouts, n_unscored : int
        Rollouts, and those of them without a reward.
    n_prompts, n_steps : int
        How many of each.
    group_size : int
        Number of rollouts of a prompt at a step; where it varies, the one that most rollouts are in a group of.
    reward_low, reward_high, reward_mean : float
        Range and mean of the rewards.
    zero_variance_groups : float
        Share of groups of two rewards or more in which all are equal; NaN without such groups.
    zero_at_top : float
        Share of those groups, all groups taken as the whole, that have the largest reward of the run.
    wasted_rollouts : float
        Share of scored rollouts that lie in a group without variance, and so teach a group baseline nothing.
    seen_once : float
        Share of prompts with rewards at one step only.
    visits_per_prompt : float
        Steps at which a prompt has rewards, on average.
    gap : float
        Median number of logged steps from one visit of a prompt to its next; NaN if none comes back.
    consecutive : float
        Share of the visits that follow at the very next logged step, among those that follow another.
    step_spacing : float
        Median distance of two logged steps; above 1 the log leaves steps out.
    noise : float
        Mean variance of a reward given its prompt and step, see `StatisticsCollector.noise`; NaN if unknown.
    noise_source : {"groups", "visits", "none"}
        Where the noise comes from.
    move : float
        Root mean square by which a prompt's value moves over the median gap; NaN if unknown.
    trend : float
        Mean change of a prompt's value in 100 logged steps; NaN if no prompt comes back.
    jump : float
        Largest change of level that comes on all prompts at once, found where it stands out from the noise of the
        paired differences by five standard errors and is a quarter of the rewards' range; NaN if there is none.
    jump_step : float
        The first step with it.
    ranges : tuple of float
        Least and largest reward of the first half of the steps, then of the second.
    step_means, step_wasted : ndarray of float64, shape (n_steps,)
        Mean reward, and share of rollouts in groups without variance, of each step.
    gap_counts : ndarray of int, shape (n_steps,)
        How many visits came after how many logged steps.
    """

    n_rollouts: int
    n_unscored: int
    n_prompts: int
    n_steps: int
    group_size: int
    reward_low: float
    reward_high: float
    reward_mean: float
    zero_variance_groups: float
    zero_at_top: float
    wasted_rollouts: float
    seen_once: float
    visits_per_prompt: float
    gap: float
    consecutive: float
    step_spacing: float
    noise: float
    noise_source: str
    move: float
    trend: float
    jump: float
    jump_step: float
    ranges: tuple[float, float, float, float]
    step_means: np.ndarray
    step_wasted: np.ndarray
    gap_counts: np.ndarray

    def as_dict(self) -> dict:
        """The numbers without the series."""
        return {name: value for name, value in vars(self).items() if not isinstance(value, np.ndarray)}


class StatisticsCollector:
    """Takes groups in as they come, in the order of steps.

    Parameters
    ----------
    n_prompts, n_steps : int
        Sizes of the tables that are kept: a few numbers for each prompt and step.
    """

    def __init__(self, n_prompts: int, n_steps: int):
        self._visits = np.zeros(n_prompts, dtype=np.int64)
        # The last two visits of each prompt: time, mean, variance of the mean (NaN for one reward), number of rewards.
        self._last = np.full((n_prompts, 2, 4), np.nan)
        self._step = np.full(n_steps, np.nan)
        self._count, self._total, self._wasted = (np.zeros(n_steps) for _ in range(3))
        self._gaps = np.zeros(n_steps, dtype=np.int64)
        # Squared moves by gap, less what the noise of two group means adds, and how many.
        self._moves, self._n_moves = np.zeros(n_steps), np.zeros(n_steps)
        # By step: number, sum and sum of squares of the differences of group means to the visits before.
        self._rises = np.zeros((3, n_steps))
        self._rise_time = 0.0
        self._lows, self._highs = np.full(n_steps, np.inf), np.full(n_steps, -np.inf)
        self._sizes = np.zeros(1, dtype=np.int64)
        self._high = -np.inf
        self._zero_by_mean: dict[float, int] = {}
        self._groups = self._zero = self._rollouts = 0
        self._noise = self._n_noise = 0.0
        self._half_squares, self._n_half_squares = np.zeros(2), np.zeros(2)

    def add(self, groups: Groups) -> dict[str, np.ndarray]:
        """Take some groups in."""
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
        self._high = max(self._high, float(np.max(groups.high[scored], initial=-np.inf)))
        total = np.where(scored, groups.mean * groups.count, 0.0)
        self._count += np.bincount(groups.time, weights=groups.count, minlength=n_steps)
        self._total += np.bincount(groups.time, weights=total, minlength=n_steps)

        grouped = groups.count > 1
        equal = grouped & (groups.low == groups.high)
        self._groups += int(grouped.sum())
        self._zero += int(equal.sum())
        self._wasted += np.bincount(groups.time[equal], weights=groups.count[equal], minlength=n_steps)
        for level, number in zip(*np.unique(groups.high[equal], return_counts=True), strict=True):
            # Only what may turn out to be the largest reward of the run is worth keeping.
            if level >= self._high:
                self._zero_by_mean[float(level)] = self._zero_by_mean.get(float(level), 0) + int(number)

        noise = np.where(grouped, groups.count * groups.variance, 0.0)
        noisy = np.where(grouped, groups.count, 0).astype(np.float64)
        self._noise += noise.sum()
        self._n_noise += noisy.sum()
        return {"noise": noise, "noisy": noisy} | self._compare_visits(groups, scored)

    def _compare_visits(self, groups: Groups, scored: np.ndarray) -> dict[str, np.ndarray]:
        """Set each group against the last two of its prompt."""
        kept = np.flatnonzero(scored)
        kept = kept[np.argsort(groups.prompt[kept], kind="stable")]
        prompt = groups.prompt[kept]
        count = groups.count[kept].astype(np.float64)
        now = np.column_stack([groups.time[kept], groups.mean[kept], groups.variance[kept] / count, count])
        starts = np.flatnonzero(np.diff(prompt, prepend=-1))
        rank = np.arange(len(prompt)) - np.repeat(starts, np.diff(starts, append=len(prompt)))
        result = {}
        for lag in (1, 2):
            before = np.empty_like(now)
            inside = rank >= lag
            before[inside] = now[np.flatnonzero(inside) - lag]
            # What this chunk does not hold is lag - rank visits before it.
            before[~inside] = self._last[prompt[~inside], lag - 1 - rank[~inside]]
            alone = (now[:, 3] == 1) & (before[:, 3] == 1)
            half_square = np.where(alone, (now[:, 1] - before[:, 1]) ** 2 / 2, 0.0)
            for name, values in ((f"half_square_{lag}", half_square), (f"pairs_{lag}", alone)):
                result[name] = np.zeros(len(groups))
                result[name][kept] = values
            self._half_squares[lag - 1] += half_square.sum()
            self._n_half_squares[lag - 1] += alone.sum()
            if lag == 1:
                self._take_moves(now, before)
        self._visits += np.bincount(prompt, minlength=len(self._visits))
        ends = np.append(starts[1:], len(prompt)) - 1 if len(prompt) else starts
        single = rank[ends] == 0
        self._last[prompt[ends], 1] = np.where(
            single[:, None], self._last[prompt[ends], 0], now[np.maximum(ends - 1, 0)]
        )
        self._last[prompt[ends], 0] = now[ends]
        return result

    def _take_moves(self, now: np.ndarray, before: np.ndarray) -> None:
        again = ~np.isnan(before[:, 0])
        gap = (now[again, 0] - before[again, 0]).astype(np.int64)
        rise = now[again, 1] - before[again, 1]
        self._gaps += np.bincount(gap, minlength=len(self._gaps))
        time = now[again, 0].astype(np.int64)
        self._rises += [np.bincount(time, weights=rise**k, minlength=len(self._gaps)) for k in range(3)]
        self._rise_time += gap.sum()
        square = rise**2 - now[again, 2] - before[again, 2]
        known = ~np.isnan(square)
        self._moves += np.bincount(gap[known], weights=square[known], minlength=len(self._moves))
        self._n_moves += np.bincount(gap[known], minlength=len(self._moves))

    @property
    def noise_source(self) -> str:
        """Where the noise of a reward can be seen: in groups, between visits, or nowhere."""
        # Groups speak for lone rollouts too where they are most of the log.
        if self._n_noise > 0 and self._n_noise >= self._count.sum() / 2:
            return "groups"
        return "visits" if (self._n_half_squares > 0).all() else "none"

    @property
    def noise(self) -> float:
        """Mean variance of a reward given its prompt and step.

        From groups where most rewards are in one. Else from visits: half the squared difference of two rewards of a
        prompt exceeds the noise by half the squared move of its value, whose growth shows one and two visits apart.
        """
        if self.noise_source == "groups":
            return float(self._noise / self._n_noise)
        if self.noise_source == "visits":
            first, second = self._half_squares / self._n_half_squares
            return float(max((4 * first - second) / 3, 0.0))
        return np.nan

    def facts(self) -> LogStatistics:
        """Sum up."""
        n_scored = self._count.sum()
        after = np.cumsum(self._gaps)
        gap = float(np.searchsorted(after, after[-1] / 2)) if after[-1] else np.nan
        steps = np.diff(self._step)
        jump, jump_step = self._jump(gap)
        middle = -(-len(steps) // 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            return LogStatistics(
                n_rollouts=self._rollouts,
                n_unscored=self._rollouts - int(n_scored),
                n_prompts=len(self._visits),
                n_steps=len(self._step),
                group_size=int(np.argmax(self._sizes * np.arange(len(self._sizes)))),
                reward_low=float(self._lows.min()),
                reward_high=self._high,
                reward_mean=float(self._total.sum() / n_scored),
                zero_variance_groups=_ratio(self._zero, self._groups),
                zero_at_top=_ratio(self._zero_by_mean.get(self._high, 0), self._groups),
                wasted_rollouts=_ratio(self._wasted.sum(), n_scored) if self._groups else np.nan,
                seen_once=_ratio((self._visits == 1).sum(), (self._visits > 0).sum()),
                visits_per_prompt=_ratio(self._visits.sum(), (self._visits > 0).sum()),
                gap=gap,
                consecutive=_ratio(self._gaps[1] if len(self._gaps) > 1 else 0, after[-1]),
                step_spacing=float(np.median(steps)) if len(steps) else np.nan,
                noise=self.noise,
                noise_source=self.noise_source,
                move=self._move(gap),
                trend=_ratio(100 * self._rises[1].sum(), self._rise_time),
                jump=jump,
                jump_step=jump_step,
                ranges=(*self._range(slice(None, middle)), *self._range(slice(middle, None))),
                step_means=self._total / self._count,
                step_wasted=self._wasted / self._count,
                gap_counts=self._gaps.copy(),
            )

    def _range(self, steps: slice) -> tuple[float, float]:
        return float(self._lows[steps].min(initial=np.inf)), float(self._highs[steps].max(initial=-np.inf))

    def _jump(self, gap: float) -> tuple[float, float]:
        """Windows of a median gap, in which most prompts come back once."""
        if np.isnan(gap):
            return np.nan, np.nan
        width = max(int(gap), 1)
        sums = np.cumsum(np.pad(self._rises, ((0, 0), (1, 0))), axis=1)
        number, rise, square = sums[:, width:] - sums[:, :-width]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = rise / number
            error = np.sqrt(np.maximum(square / number - mean**2, 0.0) / (number - 1))
        far = (number > 4) & (np.abs(mean) > 5 * error)
        far &= np.abs(mean) > (self._highs.max() - self._lows.min()) / 4
        if not far.any():
            return np.nan, np.nan
        k = int(np.argmax(np.where(far, np.abs(mean), 0.0)))
        return float(mean[k]), float(self._step[k])

    def _move(self, gap: float) -> float:
        if np.isnan(gap):
            return np.nan
        if self.noise_source == "groups":
            # Gaps from half to twice the median, so that one rare gap does not decide.
            near = slice(max(int(gap // 2), 1), int(2 * gap) + 1)
            square = _ratio(self._moves[near].sum(), self._n_moves[near].sum())
        elif self.noise_source == "visits":
            square = 2 * (self._half_squares[0] / self._n_half_squares[0] - self.noise)
        else:
            square = np.nan
        return float(np.sqrt(max(square, 0.0))) if not np.isnan(square) else np.nan


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else np.nan
