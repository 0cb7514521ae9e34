"""Training of a policy bandit with a baseline."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from kvar import make_baseline
from kvar.utils.checks import checked_count
from simulations.bandit.bandits import PolicyBandit, Rollouts
from simulations.bandit.policies import Policy
from simulations.bandit.schedules import prompts_by_step

__all__ = ["BaselineEach", "GroupBaselineOfAll", "Step", "TrainingConfig", "optimum", "train"]


class BaselineEach:
    """A baseline for every repetition, each with a history of its own.

    Parameters
    ----------
    kind : str or type
        A registered name, or a subclass of `kvar.Baseline`.
    repetitions : int
        R.
    **parameters
        Parameters of the baseline.
    """

    def __init__(self, kind: str | type, repetitions: int, **parameters):
        make = kind if isinstance(kind, type) else partial(make_baseline, kind)
        self._each = [make(**parameters) for _ in range(repetitions)]

    def advantages(self, prompts: np.ndarray, rewards: np.ndarray, step: float, **columns) -> np.ndarray:
        """Advantages of a step, shape (R, B, G); the baselines then remember its rewards."""
        with warnings.catch_warnings():
            # Studies compare leave-one-out with others at one rollout too, where it is no baseline.
            warnings.simplefilter("ignore", UserWarning)
            return np.stack(
                [
                    baseline.advantages(prompts[r], rewards[r], step, **{name: c[r] for name, c in columns.items()})
                    for r, baseline in enumerate(self._each)
                ]
            )


class GroupBaselineOfAll:
    """A baseline that looks at one group only, for all repetitions at once; `kind` is a registered name."""

    def __init__(self, kind: str):
        self._baseline = make_baseline(kind)

    def advantages(self, prompts: np.ndarray, rewards: np.ndarray, step: float, **columns) -> np.ndarray:
        """Advantages of a step, shape (R, B, G)."""
        groups = rewards.reshape(-1, rewards.shape[-1])
        return self._baseline.advantages(np.arange(len(groups)), groups, step).reshape(rewards.shape)


@dataclass(frozen=True)
class TrainingConfig:
    """How a policy is trained."""

    steps: int  # Number of steps
    batch_size: int  # B, prompts per step
    group_size: int  # G, rollouts per prompt
    learning_rate: float  # Step size; with a delay, beta in the formula below
    delay: float = 0.0  # The step size at step i is ``learning_rate / (i + delay)``; 0 for a constant one
    schedule: str = "epochs"  # See `simulations.bandit.schedules`

    def __post_init__(self):
        for name in ("steps", "batch_size", "group_size"):
            checked_count(getattr(self, name), name)

    def step_size(self, step: int) -> float:
        """Step size at a step."""
        return self.learning_rate / (step + self.delay) if self.delay else self.learning_rate


@dataclass(frozen=True)
class Step:
    """One step of training, before its update."""

    number: int  # From 1
    policy: Policy  # The policy that sampled
    rollouts: Rollouts  # Its rollouts
    advantages: np.ndarray  # shape (R, B, G): Advantages by the baseline that trains


def train(
    bandit: PolicyBandit, config: TrainingConfig, rng: np.random.Generator, baseline: BaselineEach | GroupBaselineOfAll
) -> Iterator[Step]:
    """Train by stochastic gradient ascent with a baseline."""
    policy = bandit.initial_policy()
    # Separate streams, so that the prompts do not depend on the policy.
    order, sampling = rng.spawn(2)
    schedule = prompts_by_step(config.schedule, bandit.config.n_prompts, config.batch_size, bandit.repetitions, order)
    for number, prompts in zip(range(1, config.steps + 1), schedule, strict=False):
        rollouts = bandit.sample(policy, prompts, config.group_size, sampling)
        advantages = baseline.advantages(prompts, rollouts.rewards, number, **bandit.columns(rollouts))
        yield Step(number, policy, rollouts, advantages)
        policy = policy.moved(bandit.estimate(policy, rollouts, advantages), config.step_size(number))


def optimum(bandit: PolicyBandit, tolerance: float = 1e-9, most_steps: int = 20_000) -> Policy:
    """Best policy of a bandit with a penalty, by ascent along the exact gradient."""
    ridge = bandit.config.ridge
    if ridge <= 0:
        raise ValueError(f"only a bandit with a penalty has a best policy; ridge is {ridge:g}, set it above 0")
    policy = start = bandit.initial_policy()
    for _ in range(most_steps):
        gradient = bandit.gradient(policy)
        if gradient.squared_distance(start).max() <= tolerance**2:
            return policy
        policy = policy.moved(gradient, 1.0)
    raise RuntimeError(f"no optimum after {most_steps} steps of exact ascent; use a larger ridge than {ridge:g}")
