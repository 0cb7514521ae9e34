"""What a log shows without any baseline: groups, repeats, wasted rollouts, noise and drift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["LogStatistics"]


@dataclass(frozen=True)
class LogStatistics:
    """What a log shows without any baseline.

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
        Fraction of the groups of two rewards or more in which all rewards are equal; NaN without such groups.
    zero_at_top : float
        Fraction of the groups of two rewards or more in which all rewards are the largest of the run.
    wasted_rollouts : float
        Fraction of scored rollouts in a group without variance, from which a group baseline learns nothing.
    seen_once : float
        Fraction of prompts with rewards at one step only.
    visits_per_prompt : float
        Steps at which a prompt has rewards, on average.
    gap : float
        Median number of logged steps from one visit of a prompt to its next; NaN if none comes back.
    consecutive : float
        Fraction of the returns to a prompt that come at the very next logged step.
    step_spacing : float
        Median distance of two logged steps; above 1 the log leaves steps out.
    noise : float
        Mean variance of a reward given its prompt and step; NaN if unknown.
    noise_source : {"groups", "visits", "none"}
        Where the noise comes from.
    move : float
        Root mean square change of a prompt's value over the median gap; NaN if unknown.
    trend : float
        Mean change of a prompt's value in 100 logged steps; NaN if no prompt comes back.
    jump : float
        Largest change of all prompts at once, if it exceeds five standard errors and a quarter of the rewards' range;
        else NaN.
    jump_step : float
        The first step after the jump.
    ranges : tuple of float
        Least and largest reward of the first half of the steps, then of the second.
    step_means, step_wasted : ndarray of float64, shape (n_steps,)
        Mean reward, and fraction of rollouts in groups without variance, of each step.
    gap_counts : ndarray of int, shape (n_steps,)
        Number of visits by logged steps since the visit before.
    zero_variance_limits, wasted_limits, trend_limits : tuple of float
        95 % limits of `zero_variance_groups`, `wasted_rollouts` and `trend`, which allow for dependence within prompts
        and within periods. The other fractions describe the log itself and have no sampling error.
    n_normed : int
        Rollouts with a reward and a known score norm.
    norm_ratio : float
        W1 / W0: mean squared score norm of rollouts weighted by the reward on the scale from 0 to 1, over that weighted
        by 1 less the reward, from pairs of rollouts of one prompt; NaN if unknown. At 1 the value is the baseline of
        least gradient variance, below 1 that baseline lies below the value.
    norm_ratio_limits : tuple of float
        95 % limits of `norm_ratio`.
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
    zero_variance_limits: tuple[float, float]
    wasted_limits: tuple[float, float]
    trend_limits: tuple[float, float]
    n_normed: int = 0
    norm_ratio: float = np.nan
    norm_ratio_limits: tuple[float, float] = (np.nan, np.nan)

    def as_dict(self) -> dict:
        """The numbers without the arrays."""
        return {name: value for name, value in vars(self).items() if not isinstance(value, np.ndarray)}
