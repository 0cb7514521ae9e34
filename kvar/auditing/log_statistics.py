"""What a log shows without any baseline: groups, repeats, wasted rollouts, noise and drift."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["LogStatistics"]


@dataclass(frozen=True)
class LogStatistics:
    """What a log shows without any baseline."""

    n_rollouts: int  # n_rollouts, n_unscored: Rollouts, and those of them without a reward
    n_unscored: int
    n_prompts: int  # n_prompts, n_steps: How many of each
    n_steps: int
    # Number of rollouts of a prompt at a step; where it varies, the one that most rollouts are in a group of.
    group_size: int
    reward_low: float  # reward_low, reward_high, reward_mean: Range and mean of the rewards
    reward_high: float
    reward_mean: float
    # Fraction of the groups of two rewards or more in which all rewards are equal; NaN without such groups.
    zero_variance_groups: float
    # zero_at_top, zero_at_bottom: Fraction of the groups of two rewards or more in which all rewards are the largest,
    # or the least, of the run.
    zero_at_top: float
    zero_at_bottom: float
    # Fraction of scored rollouts in a group without variance, from which a group baseline learns nothing.
    wasted_rollouts: float
    seen_once: float  # Fraction of prompts with rewards at one step only
    visits_per_prompt: float  # Steps at which a prompt has rewards, on average
    gap: float  # Median number of logged steps from one visit of a prompt to its next; NaN if none comes back
    consecutive: float  # Fraction of the returns to a prompt that come at the very next logged step
    step_spacing: float  # Median distance of two logged steps; above 1 the log leaves steps out
    noise: float  # Mean variance of a reward given its prompt and step; NaN if unknown
    noise_source: str  # Where the noise comes from
    move: float  # Root mean square change of a prompt's value over the median gap; NaN if unknown
    trend: float  # Mean change of a prompt's value in 100 logged steps; NaN if no prompt comes back
    # Largest change of all prompts at once, if it exceeds five standard errors and a quarter of the rewards' range;
    # else NaN.
    jump: float
    jump_step: float  # The first step after the jump
    # Least and largest reward of the first half of the steps, then of the second.
    ranges: tuple[float, float, float, float]
    # step_means, step_wasted: shape (n_steps,): Mean reward, and fraction of rollouts in groups without variance, of
    # each step.
    step_means: np.ndarray = field(repr=False)
    step_wasted: np.ndarray = field(repr=False)
    # shape (n_steps,): Number of visits by logged steps since the visit before
    gap_counts: np.ndarray = field(repr=False)
    # zero_variance_limits, wasted_limits, trend_limits: 95 % limits of `zero_variance_groups`, `wasted_rollouts` and
    # `trend`, which allow for dependence within prompts and within periods. The other fractions describe the log itself
    # and have no sampling error.
    zero_variance_limits: tuple[float, float]
    wasted_limits: tuple[float, float]
    trend_limits: tuple[float, float]
    zero_at_top_limits: tuple[float, float]  # zero_at_top_limits, zero_at_bottom_limits: The same of these fractions
    zero_at_bottom_limits: tuple[float, float]
    jump_limits: tuple[float, float]  # Of the jump; it was looked for, so that they are too narrow
    # Change over the run of the mean level of the prompts that come, with 95 % limits over prompts: positive where they
    # get easier. See `DifficultyDrift`.
    difficulty: float
    difficulty_limits: tuple[float, float]
    n_groups: int = 0  # Groups of two rewards or more
    # Least number of them whose rewards are all equal, if none are left out, by `EqualGroups.expected`.
    equal_groups_expected: float = 0.0
    n_normed: int = 0  # Rollouts with a reward and a known score norm
    # W1 / W0: mean squared score norm of rollouts weighted by the reward on the scale from 0 to 1, over that weighted
    # by 1 less the reward, from pairs of rollouts of one prompt; NaN if unknown. At 1 the value is the baseline of
    # least gradient variance, below 1 that baseline lies below the value.
    norm_ratio: float = np.nan
    norm_ratio_limits: tuple[float, float] = (np.nan, np.nan)  # 95 % limits of `norm_ratio`

    @property
    def reward_first_and_last(self) -> tuple[float, float]:
        """Mean reward of the first tenth of the steps, and of the last; NaN where they have no reward."""
        tenth = max(self.n_steps // 10, 1)
        parts = (means[~np.isnan(means)] for means in (self.step_means[:tenth], self.step_means[-tenth:]))
        first, last = (float(means.mean()) if means.size else np.nan for means in parts)
        return first, last

    def as_dict(self) -> dict:
        """The numbers without the arrays."""
        return {name: value for name, value in vars(self).items() if not isinstance(value, np.ndarray)}
