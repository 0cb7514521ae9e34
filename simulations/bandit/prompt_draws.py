"""Gradients of a bandit from drawn and weighted prompts: their exact error by theory, and drawn many times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kvar.prompt_draws import Drawn, weighted_gradient_mse
from simulations.bandit.bandits import PolicyBandit
from simulations.bandit.policies import Policy

__all__ = ["DrawErrors", "PromptMoments"]


@dataclass(frozen=True)
class DrawErrors:
    """Errors of the gradient over D batches of prompts, each an array of shape (R,)."""

    mse: np.ndarray  # Mean squared distance from the exact gradient
    squared_bias: np.ndarray  # Of the mean, unbiased: the mean inner product of the errors of two batches


class PromptMoments:
    """Exact gradients and second moments of all prompts of a bandit, with one rollout a prompt.

    The baseline is the optimum of each prompt, so that prompts and their weights are all that orders differ in.

    Parameters
    ----------
    bandit : PolicyBandit
        The bandit, without penalty.
    policy : Policy
        Its policy.
    rng : numpy.random.Generator
        Source of randomness.
    """

    def __init__(self, bandit: PolicyBandit, policy: Policy, rng: np.random.Generator):
        n, m = bandit.repetitions, bandit.config.n_prompts
        self._bandit, self._policy, self._rng = bandit, policy, rng
        rollouts = bandit.sample(policy, np.broadcast_to(np.arange(m), (n, m)), 1, rng)
        self._gradients, moments = rollouts.gradients, rollouts.moments
        self._baseline = rollouts.values + moments.optimal_shift[..., 0]
        # E[n (Z - b)^2 | x] at the best baseline, shape (R, M)
        self.second_moments = (moments.noise + moments.baseline_part(moments.optimal_shift))[..., 0]
        # Squared norm of the exact gradient, shape (R,)
        self.exact_square = bandit.gradient(policy).squared_distance(bandit.initial_policy())

    def theory(self, inclusion: np.ndarray) -> np.ndarray:
        """Gradient MSE by `kvar.prompt_draws.weighted_gradient_mse`, shape (R,), for probabilities of shape (R, M)."""
        # In the block of a prompt the gradients of all others are zero.
        products = np.einsum("rmf,rkf->rmk", self._gradients, self._gradients)
        products += self._bandit.config.individual**2 * products * np.eye(inclusion.shape[1])
        return np.array(list(map(weighted_gradient_mse, inclusion, self.second_moments, products)))

    def measured(self, drawn: Sequence[Sequence[Drawn]]) -> DrawErrors:
        """Errors over D batches of prompts for every repetition, given as R sequences of D batches."""
        bandit, rows = self._bandit, np.arange(len(drawn))[:, None]
        prompts = np.array([[batch.prompts for batch in batches] for batches in drawn])
        weights = np.array([[batch.weights for batch in batches] for batches in drawn])
        n, draws, size = prompts.shape
        flat = prompts.reshape(n, -1)
        rollouts = bandit.sample(self._policy, flat, 1, self._rng)
        advantages = (rollouts.rewards[..., 0] - self._baseline[rows, flat]) * weights.reshape(n, -1)
        by_prompt = (advantages[..., None] * rollouts.scores[:, :, 0]).reshape(n, draws, size, -1) / size
        exact = bandit.gradient(self._policy)
        own = np.repeat(-exact.own[:, None], draws, axis=1)
        # A batch has each prompt once, so that nothing is added twice.
        own[rows[..., None], np.arange(draws)[:, None], prompts] += bandit.config.individual * by_prompt
        shared = by_prompt.sum(axis=2) - exact.shared[:, None]
        errors = np.concatenate([own.reshape(n, draws, -1), shared], axis=2)
        mse = (errors**2).sum(axis=2).mean(axis=1)
        of_mean = (errors.mean(axis=1) ** 2).sum(axis=1)
        return DrawErrors(mse, (draws * of_mean - mse) / (draws - 1))
