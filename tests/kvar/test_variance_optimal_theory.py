"""One test for each numbered equation of the theory page: the baseline of least gradient variance."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import kvar
from kvar.online.norm_shift import NormShift
from kvar.online.reward_scale import RewardScale
from kvar.variance import ScoreMoments

N_OUTCOMES = 7


@pytest.fixture
def outcomes(rng):
    """Probabilities, squared norms and rewards in [0, 1] of the completions of one prompt."""
    return rng.dirichlet(np.ones(N_OUTCOMES)), rng.lognormal(size=N_OUTCOMES), rng.random(N_OUTCOMES)


def second_moment(outcomes, b):
    p, n, z = outcomes
    return p @ (n * (z - b) ** 2)


def optimum(outcomes):
    p, n, z = outcomes
    return p @ (n * z) / (p @ n)


def logit(p):
    return np.log(p / (1 - p))


def test_equation_1_the_price_of_another_baseline(outcomes):
    p, n, z = outcomes
    value = p @ z
    moments = ScoreMoments(p @ n, p @ (n * (z - value)), p @ (n * (z - value) ** 2), np.zeros(()))
    for b in (-0.5, 0.0, 0.3, value, 1.0):
        price = (b - optimum(outcomes)) ** 2 * (p @ n)
        assert second_moment(outcomes, b) == pytest.approx(
            second_moment(outcomes, optimum(outcomes)) + price, rel=1e-12
        )
        assert moments.reward_part + moments.baseline_part(b - value) == pytest.approx(second_moment(outcomes, b))


def test_equation_2_the_minimiser(outcomes):
    p, n, z = outcomes
    found = minimize_scalar(lambda b: second_moment(outcomes, b), bracket=(0.0, 1.0)).x
    value = p @ z
    covariance = p @ (n * z) - (p @ n) * value
    assert optimum(outcomes) == pytest.approx(found, abs=1e-7)
    assert value + covariance / (p @ n) == pytest.approx(optimum(outcomes), rel=1e-12)


def test_equation_3_odds(outcomes):
    p, n, z = outcomes
    w1, w0 = p @ (n * z) / (p @ z), p @ (n * (1 - z)) / (p @ (1 - z))
    assert logit(optimum(outcomes)) == pytest.approx(logit(p @ z) + np.log(w1 / w0), rel=1e-10)


@pytest.mark.parametrize("ratio", [0.15, 6.0])
def test_equation_3_is_what_the_estimator_learns(ratio):
    # The start counts as one rollout at the overall mean, five at each node, of some thousand.
    rng, shift, scale = np.random.default_rng(0), NormShift(), RewardScale()
    values = np.linspace(0.1, 0.9, 100)
    for step in range(100):
        rewards = (rng.random(values.shape) < values) * 1.0
        batch = kvar.Batch.from_rows(range(100), rewards, step)
        scale.learn(batch)
        shift.learn(batch, values, np.sqrt(np.where(rewards > 0, ratio, 1.0)), scale)
    v = np.arange(8, 57, 8) / 64
    np.testing.assert_allclose(logit(v + shift.shift(scale).of(v)), logit(v) + np.log(ratio), atol=0.02)


@pytest.mark.parametrize("value", [0.05, 0.4, 0.9])
def test_equation_4_where_no_baseline_beats_the_value(value):
    threshold = (1 - value) / (2 - value)
    for ratio in (0.9 * threshold, 1.1 * threshold):
        of_none, of_value = (ratio * value * (1 - b) ** 2 + (1 - value) * b**2 for b in (0.0, value))
        assert (of_none < of_value) == (ratio < threshold)


@pytest.mark.parametrize("spread", [0.0, 0.2])
@pytest.mark.parametrize("group", [1, 3])
def test_equation_5_the_error_of_the_gradient(spread, group):
    rng = np.random.default_rng(1)
    n_prompts, repetitions = 3, 40_000
    scores = rng.normal(size=(5, N_OUTCOMES, 2)) * rng.lognormal(size=(5, N_OUTCOMES, 1))
    p, rewards = rng.dirichlet(np.ones(N_OUTCOMES), 5), rng.random((5, N_OUTCOMES))
    scores -= np.einsum("xa,xaf->xf", p, scores)[:, None]
    norms = (scores**2).sum(axis=2)
    best = (p * norms * rewards).sum(axis=1) / (p * norms).sum(axis=1)
    of_prompt = np.einsum("xa,xa,xaf->xf", p, rewards, scores)
    gradient = of_prompt.mean(axis=0)
    prompt_part = ((of_prompt - gradient) ** 2).sum(axis=1).mean()
    reward_part = ((p * norms * (rewards - best[:, None]) ** 2).sum(axis=1) - (of_prompt**2).sum(axis=1)).mean()
    excess = spread**2 * (p * norms).sum(axis=1).mean()
    expected = prompt_part / n_prompts + (reward_part + excess) / (n_prompts * group)
    # Estimates of b* that do not depend on the rollout: one of variance spread^2 for each.
    x = rng.integers(0, 5, (repetitions, n_prompts))
    a = (rng.random((repetitions, n_prompts, group, 1)) > p.cumsum(axis=1)[x][:, :, None, :-1]).sum(axis=3)
    b = best[x][..., None] + spread * rng.standard_normal(a.shape)
    drawn = (scores[x[..., None], a] * (rewards[x[..., None], a] - b)[..., None]).mean(axis=(1, 2))
    errors = ((drawn - gradient) ** 2).sum(axis=1)
    assert errors.mean() == pytest.approx(expected, abs=4 * errors.std() / np.sqrt(repetitions))


@pytest.mark.parametrize("discount", [1.0, 0.97])
@pytest.mark.parametrize(("n_rollouts", "cap"), [(1, 1.0), (1, 5.0), (4, 5.0)])
@pytest.mark.parametrize("greedy", [False, True])
def test_equation_6_regret(discount, n_rollouts, cap, greedy, rng):
    n_candidates, steps = 8, 400
    eta = discount / (2 * n_rollouts * cap)
    losses, of_mixture = np.zeros(n_candidates), 0.0
    for _ in range(steps):
        candidates = rng.random((n_candidates, n_rollouts))
        weights = np.exp(-eta * (losses - losses.min()))
        average = weights @ candidates / weights.sum()
        # The adversary pays the mixture most, beside what the best candidate so far pays.
        lead = candidates[losses.argmin()]
        rewards = (np.abs(1 - average) ** 2 - (1 - lead) ** 2 > average**2 - lead**2) * 1.0
        norms = np.full(n_rollouts, cap)
        if not greedy:
            rewards, norms = rng.random(n_rollouts), cap * rng.random(n_rollouts)
        losses = discount * losses + ((candidates - rewards) ** 2 @ norms)
        of_mixture = discount * of_mixture + norms @ (average - rewards) ** 2
        regret, bound = of_mixture - losses.min(), discount * np.log(n_candidates) / eta
        assert regret <= bound
