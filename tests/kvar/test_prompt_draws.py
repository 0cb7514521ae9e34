"""Orders of prompts drawn by what the history says: which prompts, their weights, and equations of the theory page."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from scipy.stats import norm

import kvar
from kvar.prompt_draws import DRAWS, Outlook, arc_scores, inclusion_probabilities, variance_weights

VALUES, ERRORS = np.array([0.5, 0.9, 1.0, 0.0, 0.3]), np.array([0.1, 0.05, 0.0, 0.4, 0.1])
MOMENTS = np.array([0.25, 0.09, 0.0, 4.0, 0.2])
OUTLOOK = Outlook(VALUES, ERRORS, np.array([4.0, 9.0, 20.0, 0.0, 2.0]), MOMENTS, group_size=4)


def draws_of(order, size, repetitions):
    generator = np.random.default_rng(0)
    return [DRAWS[order](OUTLOOK, size, generator) for _ in range(repetitions)]


@pytest.mark.parametrize("order", DRAWS)
def test_a_batch_has_different_prompts(order):
    for drawn in draws_of(order, 3, 50):
        assert len({*drawn.prompts}) == len(drawn.weights) == 3


def test_prompts_are_drawn_by_the_variance_of_their_reward():
    np.testing.assert_allclose(variance_weights(VALUES, ERRORS)[:4], [1, 4 * 0.85 * 0.15, 0.05, 4 * 0.4 * 0.6])
    found = np.bincount([drawn.prompts[0] for drawn in draws_of("variance", 1, 4000)], minlength=5) / 4000
    wanted = variance_weights(VALUES, ERRORS) / variance_weights(VALUES, ERRORS).sum()
    assert (np.abs(found - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / 4000)).all()


@given(arrays(float, st.integers(1, 30), elements=st.floats(0, 1e6)), st.data())
def test_inclusion_probabilities_go_with_the_root_of_the_moment(moments, data):
    size = data.draw(st.integers(1, len(moments)))
    found = inclusion_probabilities(moments, size)
    assert found.sum() == pytest.approx(size)
    assert (found <= 1).all()
    assert (found >= 0.1 * size / len(moments) * (1 - 1e-9)).all()
    order = np.argsort(moments)
    assert (np.diff(found[order]) >= -1e-12).all()


@pytest.mark.parametrize("moments", [[266.0] * 14, [1.0, 1e6, 1.0, 1.0]])
def test_a_batch_of_all_prompts_has_each_for_certain(moments):
    np.testing.assert_allclose(inclusion_probabilities(np.array(moments), len(moments)), 1.0, rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_weighted_means_over_an_importance_batch_are_unbiased(size, rng):
    drawn = draws_of("importance", size, 8000)
    chosen = np.zeros((len(drawn), 5))
    weighted = np.zeros((len(drawn), 5))
    for k, one in enumerate(drawn):
        chosen[k, list(one.prompts)] = 1.0
        weighted[k, list(one.prompts)] = one.weights
    wanted = inclusion_probabilities(MOMENTS, size)
    assert (np.abs(chosen.mean(axis=0) - wanted) <= 4 * np.sqrt(wanted * (1 - wanted) / len(drawn)) + 1e-12).all()
    gradients = rng.normal(size=(5, 3))
    means = weighted @ gradients / size
    error = means.std(axis=0) / np.sqrt(len(drawn))
    assert (np.abs(means.mean(axis=0) - gradients.mean(axis=0)) <= 4 * error + 1e-12).all()
    assert weighted.max() <= 10 * (1 + 1e-9)


def test_arc_scores_are_overlaps_of_beliefs_with_the_target():
    target, width = np.pi / 4, 0.5
    for value, size, score in zip(VALUES, OUTLOOK.effective_sample_sizes, arc_scores(OUTLOOK, False), strict=True):
        belief = norm(np.arcsin(np.sqrt(value)), np.sqrt(1 / (4 * size + 2)))
        overlap = quad(lambda a, b=belief: b.pdf(a) * norm.pdf(a, target, width), -6, 6, limit=200)[0]
        assert score == pytest.approx(overlap * width * np.sqrt(2 * np.pi), rel=1e-6)
    with_zone = arc_scores(OUTLOOK, True)
    assert (with_zone < arc_scores(OUTLOOK, False)).all()
    assert with_zone.argmax() == 0


@pytest.mark.parametrize("name", ["adaptive", "variance-optimal"])
def test_moments_are_those_of_rewards_of_two_values(name, rng):
    """Against means over many rollouts of known prompts, whose norms depend on the reward."""
    baseline, prompts = kvar.make_baseline(name), np.arange(4)
    values, norms = np.array([0.1, 0.4, 0.6, 0.9]), {1.0: 0.5, 0.0: 2.0}
    for step in range(400):
        rewards = (rng.random((4, 8)) < values[:, None]).astype(float)
        columns = {"score_norm": np.where(rewards == 1, norms[1.0], norms[0.0])}
        batch = baseline._batch(prompts, rewards, step, columns)
        found = baseline.second_moments(batch).reshape(4, 8).mean(axis=1)
        baseline.remember(batch)
    n1, n0 = (norms[1.0] ** 2, norms[0.0] ** 2) if name == "variance-optimal" else (1.0, 1.0)
    best = values * n1 / (values * n1 + (1 - values) * n0)
    wanted = values * n1 * (1 - best) ** 2 + (1 - values) * n0 * best**2
    np.testing.assert_allclose(found / found.sum(), wanted / wanted.sum(), atol=0.03)
    np.testing.assert_allclose(baseline.assess_values(batch).values.reshape(4, 8).mean(axis=1), values, atol=0.05)


# One test for each of the equations 7 to 9 of the theory page.


@pytest.fixture
def prompts(rng):
    """Gradients of four prompts, second moments that allow them, and probabilities of batches of two."""
    gradients = rng.normal(size=(4, 3))
    return gradients, (gradients**2).sum(axis=1) + rng.lognormal(size=4), np.array([0.2, 0.5, 0.4, 0.9])


def batches(inclusion):
    """Every set of prompts that are drawn independently, with its probability."""
    for chosen in itertools.product((False, True), repeat=len(inclusion)):
        yield np.where(chosen, inclusion, 1 - inclusion).prod(), np.array(chosen)


def test_equation_7_weights_keep_the_objective(prompts):
    gradients, _, inclusion = prompts
    mean = sum(p * (gradients / inclusion[:, None])[chosen].sum(axis=0) / 4 for p, chosen in batches(inclusion))
    np.testing.assert_allclose(mean, gradients.mean(axis=0))


def test_equation_8_the_error_of_independent_draws(prompts):
    gradients, moments, inclusion = prompts
    squares = (gradients**2).sum(axis=1)
    mse = 0.0
    for p, chosen in batches(inclusion):
        off = (gradients / inclusion[:, None])[chosen].sum(axis=0) / 4 - gradients.mean(axis=0)
        mse += p * (off @ off + ((moments - squares) / inclusion**2)[chosen].sum() / 16)
    assert mse == pytest.approx((moments / inclusion - squares).sum() / 16)


def test_equation_9_the_least_error(rng):
    moments = rng.lognormal(sigma=0.3, size=6)
    roots = np.sqrt(moments)
    best = 3 * roots / roots.sum()
    least = (moments / best).sum()
    assert least == pytest.approx((moments / 0.5).sum() / (1 + (roots.std() / roots.mean()) ** 2))
    for direction in rng.normal(size=(100, 6)):
        other = best + 0.01 * (direction - direction.mean())
        assert (moments / other).sum() > least
    np.testing.assert_allclose(inclusion_probabilities(moments, 3), 0.9 * best + 0.1 * 0.5)
