"""Prompts on given value paths whose score norms go with the reward by a known factor, with exact second moments.

A prompt has the value v, and a rollout of it the reward Z and the squared score norm

    n = scale (W0 + (W1 - W0) Z) e

with W1 and W0 the mean squared norms of the best and the worst reward, and e a factor of mean one that is independent
of Z. What a baseline does to the gradient then follows from three moments of Z, which are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kvar.utils.checks import checked_count, require_choice
from kvar.variance import ScoreMoments
from simulations.bandit.schedules import prompts_by_step

__all__ = ["TAILS", "NormConfig", "NormStep", "rollouts_with_norms"]

TAILS = ("constant", "log-normal", "t")
_DEGREES = 3.0


@dataclass(frozen=True)
class NormConfig:
    """Prompts, rewards and norms."""

    ratio: float  # W1 / W0
    # The factor e: ``constant``, ``log-normal`` with sigma 1, or ``t``, the square of a t with 3 degrees of freedom.
    tails: str = "constant"
    group_size: int = 1  # G, rollouts per prompt
    drift: float = 1.2  # Change of the logit of every value over the run
    # Rewards have the beta distribution of concentration c, with variance ``v (1 - v) / (1 + c)``; 0 for binary ones.
    concentration: float = 0.0
    ratio_spread: float = 0.0  # Standard deviation of log(W1 / W0) over prompts
    n_prompts: int = 128  # n_prompts, batch_size, visits: Prompts, prompts per step, and visits of each prompt
    batch_size: int = 64
    visits: int = 100

    def __post_init__(self):
        require_choice("tails", self.tails, TAILS)
        for name in ("group_size", "n_prompts", "batch_size", "visits"):
            checked_count(getattr(self, name), name)


@dataclass(frozen=True)
class NormStep:
    """Rollouts of one step in every repetition."""

    number: int  # From 1
    prompts: np.ndarray  # shape (R, B): Prompts of the step
    values: np.ndarray  # shape (R, B): Exact values
    rewards: np.ndarray  # rewards, squares: shape (R, B, G): Rewards and squared norms
    squares: np.ndarray
    # Exact moments, arrays of shape (R, B, 1). The signal is zero: scores of rollouts are taken to be orthogonal.
    moments: ScoreMoments

    def second_moment(self, baseline: np.ndarray) -> np.ndarray:
        """``E[n (Z - b)^2]`` given the values, its mean over the rollouts, shape (R,)."""
        part = self.moments.baseline_part(baseline - self.values[..., None])
        return (self.moments.reward_part + part).mean(axis=(1, 2))


def rollouts_with_norms(config: NormConfig, repetitions: int, rng: np.random.Generator) -> Iterator[NormStep]:
    """Steps of a run in which every prompt is visited equally often."""
    shape = (repetitions, config.n_prompts)
    logits = rng.normal(-0.5, 1.3, shape)
    scales = np.exp(rng.normal(0.0, 0.5, shape))
    ratios = config.ratio * np.exp(rng.normal(0.0, config.ratio_spread, shape))
    order, sampling = rng.spawn(2)
    steps = config.visits * (config.n_prompts // config.batch_size)
    schedule = prompts_by_step("epochs", config.n_prompts, config.batch_size, repetitions, order)
    for number, prompts in zip(range(1, steps + 1), schedule, strict=False):
        at, scale, ratio = (np.take_along_axis(of_all, prompts, axis=1) for of_all in (logits, scales, ratios))
        values = 1.0 / (1.0 + np.exp(-(at + config.drift * number / steps)))
        size = (*prompts.shape, config.group_size)
        rewards = _rewards(np.broadcast_to(values[..., None], size), config.concentration, sampling)
        squares = scale[..., None] * (1.0 + (ratio[..., None] - 1.0) * rewards) * _factor(config.tails, size, sampling)
        moments = _moments(scale, ratio, values, config.concentration)
        yield NormStep(number, prompts, values, rewards, squares, moments)


def _rewards(values, concentration, rng):
    if concentration == 0.0:
        return (rng.random(values.shape) < values) * 1.0
    return rng.beta(concentration * values, concentration * (1.0 - values))


def _factor(tails, size, rng):
    if tails == "constant":
        return np.ones(size)
    if tails == "log-normal":
        return np.exp(rng.normal(-0.5, 1.0, size))
    return np.square(rng.standard_t(_DEGREES, size)) * ((_DEGREES - 2.0) / _DEGREES)


def _moments(scale, ratio, values, concentration) -> ScoreMoments:
    """Moments of the score, by the second and third central moment of a beta distribution; W0 is the scale."""
    spread = values * (1.0 - values)
    variance = spread / (1.0 + concentration)
    third = 2.0 * variance * (1.0 - 2.0 * values) / (2.0 + concentration)
    level = scale * (1.0 + (ratio - 1.0) * values)
    slope = scale * (ratio - 1.0)
    found = {"square": level, "cross": slope * variance, "noise": level * variance + slope * third}
    return ScoreMoments(**{name: m[..., None] for name, m in found.items()}, signal=np.zeros((*values.shape, 1)))
