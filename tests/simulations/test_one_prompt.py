"""Repetitions taken for prompts, held against a baseline for each and against weights written out."""

import math

import numpy as np
import pytest

import kvar
from kvar.kernels import get_kernel
from simulations.bandit.one_prompt import SEPARABLE, course, kernel_value
from simulations.bandit.rewards import RewardLaw
from simulations.bandit.value_paths import Zigzag


class Recorded(RewardLaw):
    """Binary rewards that are kept."""

    def __init__(self):
        self.drawn = []

    def sample(self, mean, rng):
        self.drawn.append((rng.random(mean.shape) < mean).astype(float))
        return self.drawn[-1]

    def variance(self, mean):
        return mean * (1 - mean)


@pytest.mark.parametrize("degree", [0, 1])
def test_the_kernel_value_is_a_weighted_sum(degree, rng):
    steps, window, law = 40, 0.3, Recorded()
    found = kernel_value(Zigzag(), law, steps, window, 2, 5, rng, degree=degree)
    rewards = np.stack(law.drawn)
    lags = np.arange(len(rewards) - 1, -1, -1)
    # At its own step the estimate of the first rollout sees the second one only.
    weights = get_kernel("triangular")(lags / (steps * window))
    counts = np.where(lags > 0, 2.0, 1.0)
    totals = np.where(lags[:, None] > 0, rewards.sum(axis=2), rewards[..., 1])
    for r in range(5):
        if degree == 0:
            expected = (weights * totals[:, r]).sum() / (weights * counts).sum()
        else:
            mean = totals[:, r] / counts
            expected = np.polyfit(lags, mean, 1, w=np.sqrt(weights * counts))[1]
        assert found[r] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", SEPARABLE)
def test_repetitions_may_stand_for_prompts(name, rng):
    law, n_steps, path = Recorded(), 12, Zigzag()
    mean, error = course(path, law, n_steps, 2, {"it": (name, {})}, 6, rng)["it"]
    each = [kvar.make_baseline(name) for _ in range(6)]
    for step in range(1, n_steps + 1):
        value = float(path(step / n_steps))
        errors = []
        for baseline, rewards in zip(each, law.drawn[step - 1], strict=True):
            values = rewards - baseline.advantages([0], rewards[None], step, true_value=[value])
            errors.append(np.mean((values - value) ** 2))
        assert mean[step - 1] == pytest.approx(np.mean(errors), abs=1e-14)
        assert error[step - 1] == pytest.approx(np.std(errors, ddof=1) / math.sqrt(6), abs=1e-14)


def test_what_pools_over_prompts_is_refused(rng):
    with pytest.raises(ValueError, match="adaptive pools"):
        course(Zigzag(), Recorded(), 2, 2, {"it": ("adaptive", {})}, 2, rng)
    with pytest.raises(ValueError, match="group_size must be a whole number from 2 on, got 1"):
        course(Zigzag(), Recorded(), 2, 1, {"it": ("kernel", {})}, 2, rng)
