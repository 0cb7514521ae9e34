"""Squared error of the policy gradient of a step: as measured, and its exact parts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simulations.bandit.bandits import PolicyBandit
from simulations.bandit.training import BaselineEach, Step

__all__ = ["PairedBaselines", "gradient_errors"]


class PairedBaselines:
    """Baselines that see the same rollouts as the baseline that trains, without influence on the training.

    The prompts and completions are common to all, so that their noise cancels in comparisons.

    Parameters
    ----------
    bandit : PolicyBandit
        The bandit that is trained.
    baselines : mapping of str to (str or type, dict)
        Label to name or class and parameters.
    """

    def __init__(self, bandit: PolicyBandit, baselines: Mapping[str, tuple[str | type, dict]]):
        self._bandit = bandit
        self._each = {
            label: BaselineEach(kind, bandit.repetitions, **parameters)
            for label, (kind, parameters) in baselines.items()
        }

    def advantages(self, step: Step) -> dict[str, np.ndarray]:
        """Advantages by each baseline; those of ``batch-mean``, which includes the own reward, are made unbiased."""
        rollouts = step.rollouts
        columns = self._bandit.columns(rollouts)
        found = {
            label: each.advantages(rollouts.prompts, rollouts.rewards, step.number, **columns)
            for label, each in self._each.items()
        }
        if "batch-mean" in found:
            size = step.rollouts.rewards[0].size
            found["batch-mean"] = found["batch-mean"] * (size / (size - 1))
        return found


def gradient_errors(bandit: PolicyBandit, step: Step, advantages: np.ndarray) -> dict[str, np.ndarray]:
    """Squared error of the gradient with one baseline at a step, and its parts by theory, each of shape (R,)."""
    rollouts, moments = step.rollouts, step.rollouts.moments
    exact = bandit.gradient(step.policy)
    n_prompts, group_size = advantages.shape[1:]
    error = rollouts.rewards - advantages - rollouts.values[..., None]
    estimate = bandit.estimate(step.policy, rollouts, advantages)
    return {
        "total": estimate.squared_distance(exact),
        "prompt_part": bandit.batch_gradient(step.policy, rollouts).squared_distance(exact),
        "reward_part": moments.reward_part.mean(axis=(1, 2)) / (n_prompts * group_size),
        "baseline_part": moments.baseline_part(error).mean(axis=(1, 2)) / (n_prompts * group_size),
        "value_mse": (error**2).mean(axis=(1, 2)),
    }
