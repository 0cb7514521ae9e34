"""Gradients from drawn and weighted prompts: theory against enumeration, and what is measured against both."""

from itertools import combinations

import numpy as np

from kvar.prompt_draws import Drawn
from simulations.bandit.bandits import BanditConfig, PolicyBandit
from simulations.bandit.policies import Policy
from simulations.bandit.prompt_draws import PromptMoments

CONFIG = BanditConfig(n_prompts=5, n_completions=6, n_features=3, individual=1.5)


def bandit_and_policy(rng, repetitions):
    bandit = PolicyBandit(CONFIG, repetitions, rng)
    policy = bandit.initial_policy()
    return bandit, Policy(rng.normal(size=policy.own.shape), rng.normal(size=policy.shared.shape))


def test_theory_is_exact_for_equal_probabilities(rng):
    bandit, policy = bandit_and_policy(rng, 3)
    exact, moments = bandit.gradient(policy), PromptMoments(bandit, policy, rng)
    wanted = np.zeros(3)
    for chosen in combinations(range(5), 2):
        rollouts = bandit.sample(policy, np.tile(chosen, (3, 1)), 1, rng)
        prompts = bandit.batch_gradient(policy, rollouts).squared_distance(exact)
        rest = moments.second_moments[:, chosen] - rollouts.moments.signal[..., 0]
        wanted += (prompts + rest.sum(axis=1) / 4) / 10
    np.testing.assert_allclose(moments.theory(np.full((3, 5), 0.4)), wanted)


def test_batches_of_one_weighted_prompt(rng):
    """Against the exact error, which is equation 8 of the theory page but for the square of the mean."""
    bandit, policy = bandit_and_policy(rng, 200)
    bandit.features[:], bandit.reference[:] = bandit.features[:1], bandit.reference[:1]
    policy = Policy(np.repeat(policy.own[:1], 200, axis=0), np.repeat(policy.shared[:1], 200, axis=0))
    moments = PromptMoments(bandit, policy, rng)
    inclusion = np.array([0.05, 0.4, 0.1, 0.05, 0.4])
    prompts = rng.choice(5, size=(200, 60), p=inclusion)
    wanted = (moments.second_moments[0] / inclusion).sum() / 25 - moments.exact_square[0]
    for weights, unbiased in ((1 / (5 * inclusion), True), (np.ones(5), False)):
        found = moments.measured([[Drawn((x,), (weights[x],)) for x in row] for row in prompts])
        bias = found.squared_bias.mean() / (found.squared_bias.std() / np.sqrt(200))
        assert (abs(bias) < 4) == unbiased
        if unbiased:
            assert abs(found.mse.mean() - wanted) < 4 * found.mse.std() / np.sqrt(200)
