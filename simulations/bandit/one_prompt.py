"""One prompt on a given value path, a thousand repetitions at a time.

Repetition r is prompt r of one large batch. This is exact for baselines that keep a history for each prompt and pool
nothing over prompts: those in `SEPARABLE`, with two rollouts or more per prompt, where `kernel` does not fall back to
the mean of its batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from kvar import Batch, make_baseline
from kvar.utils.checks import checked_count
from simulations.bandit.rewards import RewardLaw
from simulations.bandit.value_paths import ValuePath

__all__ = ["SEPARABLE", "course", "kernel_value"]

SEPARABLE = ("none", "group-mean", "leave-one-out", "discounted-beta", "kernel", "oracle")


def kernel_value(
    path: ValuePath,
    law: RewardLaw,
    steps: int,
    window: float,
    group_size: int,
    repetitions: int,
    rng: np.random.Generator,
    degree: int = 0,
) -> np.ndarray:
    """Kernel estimate of the value at the end of a run, shape (R,); the window is a fraction of the run."""
    baseline = make_baseline("kernel", bandwidth=window * steps, degree=degree)
    ids = np.arange(repetitions)
    for step in range(max(1, math.floor(steps - window * steps)), steps + 1):
        mean = np.full((repetitions, group_size), float(path(step / steps)))
        rewards = law.sample(mean, rng)
        if step < steps:
            baseline.update(ids, rewards, step)
    return baseline.estimate(ids, rewards, steps)[:, 0]


def course(
    path: ValuePath,
    law: RewardLaw,
    steps: int,
    group_size: int,
    baselines: Mapping[str, tuple[str, dict]],
    repetitions: int,
    rng: np.random.Generator,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Squared value error of several baselines at every step of a run: its mean over repetitions and standard error."""
    pooling = [name for name, _ in baselines.values() if name not in SEPARABLE]
    if pooling:
        raise ValueError(
            f"{pooling[0]} pools over prompts, so that repetitions cannot replace prompts; use {', '.join(SEPARABLE)}"
        )
    # With a group of one a baseline would use the other prompts, but these are repetitions.
    checked_count(group_size, "group_size", low=2)
    made = {label: make_baseline(name, **parameters) for label, (name, parameters) in baselines.items()}
    errors = {label: (np.empty(steps), np.empty(steps)) for label in made}
    ids = np.arange(repetitions)
    for step in range(1, steps + 1):
        value = float(path(step / steps))
        rewards = law.sample(np.full((repetitions, group_size), value), rng)
        # One batch for all baselines.
        batch = Batch.from_rows(ids, rewards, step, {"true_value": np.full(repetitions, value)})
        for label, baseline in made.items():
            squared = batch.sums((baseline.values(batch) - value) ** 2) / group_size
            baseline.remember(batch)
            errors[label][0][step - 1] = squared.mean()
            errors[label][1][step - 1] = squared.std(ddof=1) / math.sqrt(repetitions)
    return errors
