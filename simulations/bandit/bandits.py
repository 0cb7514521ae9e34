"""Contextual softmax bandits with exactly known values, gradients and score norms.

A prompt x has A completions with features ``phi(x, a)`` in R^F, and the policy is

    pi(a | x)  proportional to  exp(reference(x, a) + phi(x, a)' (individual theta_x + w))

with parameters theta_x for each prompt and w shared by all prompts, so that an update for one prompt moves the others.
A completion earns the mean reward ``quality(x, a)``, 1 for a right one; right completions lie toward a direction that
is partly common to all prompts. With ``psi = phi(x, a) - E_pi phi(x, .)`` the score is (individual psi, psi).

Everything is an array over repetitions, each of which is a separate bandit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.variance import ScoreMoments
from simulations.bandit.policies import Policy
from simulations.bandit.rewards import BinaryRewards, RewardLaw

__all__ = ["BanditConfig", "PolicyBandit", "Rollouts"]


@dataclass(frozen=True)
class BanditConfig:
    """Distribution that bandits are drawn from."""

    n_prompts: int = 32  # M, number of prompts
    n_completions: int = 32  # A, completions per prompt: an even number, half of them right
    n_features: int = 8  # F, features of a completion
    pass_rate: float = 0.4  # Mean of the values under the initial policy
    # Spread of the difficulty: the initial values have a beta distribution with concentration ``1 / spread``.
    spread: float = 0.3
    # Fraction of the variance of the direction of right completions that is common to all prompts, from 0 to 1.
    common: float = 0.5
    individual: float = 1.0  # Weight of the parameters of a prompt in its logits; the shared ones have weight 1
    ridge: float = 0.0  # Weight of the quadratic penalty on the parameters, see `PolicyBandit.objective`


@dataclass(frozen=True)
class Rollouts:
    """Rollouts of one step in every repetition."""

    prompts: np.ndarray  # shape (R, B): Prompts of the step
    rewards: np.ndarray  # shape (R, B, G): Rewards
    scores: np.ndarray  # shape (R, B, G, F): psi of each completion
    values: np.ndarray  # shape (R, B): Exact values
    gradients: np.ndarray  # shape (R, B, F): ``E[Z psi | x]``, exact
    # Moments of each prompt: arrays of shape (R, B, 1), which broadcast against arrays over rollouts.
    moments: ScoreMoments


class PolicyBandit:
    """Bandits drawn from a config, one for each repetition.

    Parameters
    ----------
    config : BanditConfig
        Distribution of the bandits.
    repetitions : int
        R.
    rng : numpy.random.Generator
        Source of randomness.
    law : RewardLaw, optional
        Distribution of the reward of a completion around its mean, which is 1 for a right completion and 0 for a wrong
        one. By default binary, so that the reward of a completion is certain, as with a verifier.
    """

    def __init__(self, config: BanditConfig, repetitions: int, rng: np.random.Generator, law: RewardLaw | None = None):
        if config.n_completions % 2:
            raise ValueError(f"n_completions must be even, because half of them are right; got {config.n_completions}")
        self.config = config
        self.law = law or BinaryRewards()
        shape = (repetitions, config.n_prompts, config.n_completions)
        features = rng.standard_normal((*shape, config.n_features)) / np.sqrt(config.n_features)
        direction = np.sqrt(config.common) * rng.standard_normal((repetitions, 1, config.n_features))
        direction = direction + np.sqrt(1 - config.common) * rng.standard_normal((*shape[:2], config.n_features))
        # Completions in order of merit: with common random numbers two policies then get similar rewards.
        order = np.argsort(np.einsum("rmaf,rmf->rma", features, direction), axis=2)
        self.features = np.take_along_axis(features, order[..., None], axis=2)
        right = np.arange(config.n_completions) >= config.n_completions // 2
        self.quality = np.broadcast_to(right.astype(np.float64), shape)
        initial = rng.beta(config.pass_rate / config.spread, (1 - config.pass_rate) / config.spread, size=shape[:2])
        initial = np.clip(initial, 0.02, 0.98)
        self.reference = np.where(right, np.log(initial / (1 - initial))[..., None], 0.0)

    def repeated(self, number: int) -> PolicyBandit:
        """The same bandits, each so many times in a row."""
        copy = object.__new__(PolicyBandit)
        vars(copy).update(vars(self))
        for name in ("features", "quality", "reference"):
            setattr(copy, name, np.repeat(getattr(self, name), number, axis=0))
        return copy

    @property
    def repetitions(self) -> int:
        """R, the number of bandits."""
        return len(self.features)

    def initial_policy(self) -> Policy:
        """The policy before training."""
        n, m, _, f = self.features.shape
        return Policy(np.zeros((n, m, f)), np.zeros((n, f)))

    def _probabilities(self, policy: Policy, rows, prompts) -> tuple[np.ndarray, np.ndarray]:
        """Features and probabilities of the completions of some prompts, (R, B, A, F) and (R, B, A)."""
        features = self.features[rows, prompts]
        weights = self.config.individual * policy.own[rows, prompts] + policy.shared[:, None, :]
        logits = self.reference[rows, prompts] + np.einsum("rbaf,rbf->rba", features, weights)
        odds = np.exp(logits - logits.max(axis=2, keepdims=True))
        return features, odds / odds.sum(axis=2, keepdims=True)

    def _all(self):
        return np.arange(self.repetitions)[:, None], np.arange(self.config.n_prompts)[None, :]

    def values(self, policy: Policy) -> np.ndarray:
        """Exact values of all prompts, shape (R, M)."""
        _, probabilities = self._probabilities(policy, *self._all())
        return np.einsum("rma,rma->rm", probabilities, self.quality)

    def objective(self, policy: Policy) -> np.ndarray:
        """Objective of training, shape (R,): the mean value minus a quadratic penalty."""
        penalty = (policy.own**2).sum(axis=(1, 2)) + (policy.shared**2).sum(axis=1)
        return self.values(policy).mean(axis=1) - 0.5 * self.config.ridge * penalty

    def gradient(self, policy: Policy) -> Policy:
        """Exact gradient of the objective."""
        by_prompt = self._value_gradients(policy)
        own = self.config.individual * by_prompt / self.config.n_prompts
        ridge = self.config.ridge
        return Policy(own - ridge * policy.own, by_prompt.mean(axis=1) - ridge * policy.shared)

    def _value_gradients(self, policy: Policy) -> np.ndarray:
        """``E[Z psi | x]`` of all prompts, (R, M, F)."""
        features, probabilities = self._probabilities(policy, *self._all())
        weights = probabilities * self.quality
        centre = np.einsum("rma,rmaf->rmf", probabilities, features)
        return np.einsum("rma,rmaf->rmf", weights, features) - weights.sum(axis=2)[..., None] * centre

    def prompt_variance(self, policy: Policy) -> np.ndarray:
        """Mean squared distance of the gradients of single prompts from their mean, shape (R,): the prompt part P."""
        by_prompt = self._value_gradients(policy)
        own, shared = (by_prompt**2).sum(axis=2), (by_prompt.mean(axis=1) ** 2).sum(axis=1)
        scale = self.config.individual**2
        # In the block of a prompt the mean has 1/M of its own gradient, and a single prompt all of it or nothing.
        return (1.0 + scale - scale / self.config.n_prompts) * own.mean(axis=1) - shared

    def sample(self, policy: Policy, prompts: np.ndarray, group_size: int, rng: np.random.Generator) -> Rollouts:
        """Draw the rollouts of a step."""
        rows = np.arange(self.repetitions)[:, None]
        features, probabilities = self._probabilities(policy, rows, prompts)
        quality = self.quality[rows, prompts]
        centre = np.einsum("rba,rbaf->rbf", probabilities, features)
        scores = features - centre[:, :, None, :]
        uniform = rng.random((*prompts.shape, group_size))
        # The first completion whose cumulated probability exceeds the number drawn; rounding may leave the last short.
        cumulated = probabilities.cumsum(axis=2)
        actions = (uniform[..., None] >= cumulated[:, :, None, :-1]).sum(axis=3)
        chosen = np.take_along_axis(quality[:, :, None, :], actions[..., None], axis=3)[..., 0]
        values = np.einsum("rba,rba->rb", probabilities, quality)
        gradients = np.einsum("rba,rba,rbaf->rbf", probabilities, quality, scores)
        return Rollouts(
            prompts=prompts,
            rewards=self.law.sample(chosen, rng),
            scores=np.take_along_axis(scores, actions[..., None], axis=2),
            values=values,
            gradients=gradients,
            moments=self._moments(probabilities, quality, scores, values, gradients),
        )

    def _moments(self, probabilities, quality, scores, values, gradients) -> ScoreMoments:
        scale = 1.0 + self.config.individual**2
        norms = scale * (scores**2).sum(axis=3)
        above = quality - values[..., None]

        def mean(of_completion):
            return (probabilities * of_completion).sum(axis=2, keepdims=True)

        return ScoreMoments(
            square=mean(norms),
            cross=mean(norms * above),
            noise=mean(norms * (above**2 + self.law.variance(quality))),
            signal=scale * (gradients**2).sum(axis=2, keepdims=True),
        )

    def columns(self, rollouts: Rollouts) -> dict[str, np.ndarray]:
        """Columns that baselines may use, besides the rewards."""
        squares = (1.0 + self.config.individual**2) * (rollouts.scores**2).sum(axis=3)
        return {"true_value": rollouts.values, "score_norm": np.sqrt(squares)}

    def estimate(self, policy: Policy, rollouts: Rollouts, advantages: np.ndarray) -> Policy:
        """Estimated policy gradient of a step."""
        by_prompt = np.einsum("rbg,rbgf->rbf", advantages, rollouts.scores) / advantages.shape[2]
        return self._assembled(policy, rollouts.prompts, by_prompt)

    def batch_gradient(self, policy: Policy, rollouts: Rollouts) -> Policy:
        """Limit of the estimate from the prompts of a step as rollouts per prompt go to infinity."""
        return self._assembled(policy, rollouts.prompts, rollouts.gradients)

    def _assembled(self, policy, prompts, by_prompt) -> Policy:
        ridge = self.config.ridge
        own, batch_size = -ridge * policy.own, prompts.shape[1]
        # A batch has each prompt once, so that nothing is added twice.
        own[np.arange(len(prompts))[:, None], prompts] += self.config.individual * by_prompt / batch_size
        return Policy(own, by_prompt.mean(axis=1) - ridge * policy.shared)
