"""One prompt on a given value path, a thousand repetitions at a time.

A baseline that keeps a history for each prompt and pools nothing takes repetitions for prompts: repetition r is prompt
r of one large batch. That holds for the baselines in `SEPARABLE`, at two rollouts a prompt or more, where `kernel` need
not fall back to the mean of its batch.
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
    share: float,
    group_size: int,
    repetitions: int,
    rng: np.random.Generator,
    *,
    kernel: str = "triangular",
    degree: int = 0,
) -> np.ndarray:
    """Kernel estimate of a rollout's value at the end of a run, with a window that is a share of the run."""
    baseline = make_baseline("kernel", bandwidth=share * steps, kernel=kernel, degree=degree)
    ids = np.arange(repetitions)
    for step in range(max(1, math.floor(steps - share * steps)), steps + 1):
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
    """Squared value error of several baselines at every step of a run."""
    pooling = [name for name, _ in baselines.values() if name not in SEPARABLE]
    if pooling:
        raise ValueError(
            f"{pooling[0]} pools over prompts; repetitions can stand for prompts of {', '.join(SEPARABLE)}"
        )
    # A group of one would turn to the other prompts, which these repetitions are not.
    checked_count(group_size, "group_size", low=2)
    made = {label: make_baseline(name, **parameters) for label, (name, parameters) in baselines.items()}
    errors = {label: (np.empty(steps), np.empty(steps)) for label in made}
    ids = np.arange(repetitions)
    for step in range(1, steps + 1):
        value = float(path(step / steps))
        rewards = law.sample(np.full((repetitions, group_size), value), rng)
        # Laid out once for all baselines.
        batch = Batch.from_rows(ids, rewards, step, {"true_value": np.full(repetitions, value)})
        for label, baseline in made.items():
            of_each = ((baseline.values(batch) - value) ** 2).mean(axis=1)
            baseline.remember(batch)
            errors[label][0][step - 1] = of_each.mean()
            errors[label][1][step - 1] = of_each.std(ddof=1) / math.sqrt(repetitions)
    return errors
