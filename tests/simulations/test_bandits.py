"""The bandits against finite differences, enumeration and Monte Carlo; laws of rewards, paths and schedules."""

import numpy as np
import pytest
from scipy import stats

from simulations.bandit.bandits import BanditConfig, PolicyBandit
from simulations.bandit.policies import Policy
from simulations.bandit.rewards import BinaryRewards, HeavyTailedRewards
from simulations.bandit.schedules import SCHEDULES, prompts_by_step
from simulations.bandit.score_norms import TAILS, NormConfig, rollouts_with_norms
from simulations.bandit.training import BaselineEach, TrainingConfig, optimum, train
from simulations.bandit.value_paths import Parabola, Zigzag

CONFIG = BanditConfig(n_prompts=4, n_completions=6, n_features=3, individual=1.5, ridge=0.2)


def bandit_and_policy(rng, repetitions=2, config=CONFIG, law=None):
    bandit = PolicyBandit(config, repetitions, rng, law)
    policy = bandit.initial_policy()
    return bandit, Policy(rng.normal(size=policy.own.shape), rng.normal(size=policy.shared.shape))


def test_the_gradient_is_that_of_the_objective(rng):
    bandit, policy = bandit_and_policy(rng)
    gradient = bandit.gradient(policy)
    step = 1e-6
    for part in ("own", "shared"):
        for place in np.ndindex(getattr(policy, part).shape[1:]):
            ends = []
            for sign in (1, -1):
                moved = Policy(policy.own.copy(), policy.shared.copy())
                getattr(moved, part)[(slice(None), *place)] += sign * step
                ends.append(bandit.objective(moved))
            expected = (ends[0] - ends[1]) / (2 * step)
            np.testing.assert_allclose(getattr(gradient, part)[(slice(None), *place)], expected, atol=1e-8)


def test_sampling_agrees_with_exact_values_gradients_and_moments(rng):
    law = HeavyTailedRewards(0.3, 10.0)
    bandit, policy = bandit_and_policy(rng, law=law)
    prompts = np.array([[0, 2], [3, 1]])
    n = 200_000
    rollouts = bandit.sample(policy, prompts, n, rng)
    np.testing.assert_allclose(rollouts.values, np.take_along_axis(bandit.values(policy), prompts, axis=1))
    norms = bandit.columns(rollouts)["score_norm"] ** 2
    above = rollouts.rewards - rollouts.values[..., None]
    moments = rollouts.moments
    for draws, exact in (
        (rollouts.rewards, rollouts.values),
        (norms, moments.square[..., 0]),
        (norms * above, moments.cross[..., 0]),
        (norms * above**2, moments.noise[..., 0]),
        (np.moveaxis(rollouts.rewards[..., None] * rollouts.scores, 3, 2), rollouts.gradients),
    ):
        error = draws.std(axis=-1) / np.sqrt(n)
        assert (np.abs(draws.mean(axis=-1) - exact) < 4.5 * error).all()
    np.testing.assert_allclose(moments.signal[..., 0], (1 + 1.5**2) * (rollouts.gradients**2).sum(axis=2))


def test_an_estimate_from_all_prompts_and_endless_rollouts_is_the_gradient(rng):
    bandit, policy = bandit_and_policy(rng)
    prompts = np.broadcast_to(np.arange(4), (2, 4))
    rollouts = bandit.sample(policy, prompts, 1, rng)
    assert bandit.batch_gradient(policy, rollouts).squared_distance(bandit.gradient(policy)).max() < 1e-24


def test_estimates_are_unbiased(rng):
    config = BanditConfig(n_prompts=3, n_completions=4, n_features=2)
    bandit, policy = bandit_and_policy(rng, 4000, config)
    # One bandit many times over, so that the mean over repetitions is an expectation.
    bandit.features[:] = bandit.features[:1]
    bandit.reference[:] = bandit.reference[:1]
    policy = Policy(np.repeat(policy.own[:1], 4000, axis=0), np.repeat(policy.shared[:1], 4000, axis=0))
    prompts = rng.permuted(np.broadcast_to(np.arange(3), (4000, 3)), axis=1)[:, :2]
    rollouts = bandit.sample(policy, prompts, 2, rng)
    found = bandit.estimate(policy, rollouts, rollouts.rewards - 0.3)
    exact = bandit.gradient(policy)
    for mine, theirs in ((found.own, exact.own), (found.shared, exact.shared)):
        error = mine.std(axis=0) / np.sqrt(4000)
        assert (np.abs(mine.mean(axis=0) - theirs[0]) <= 4.5 * error).all()


def test_the_prompt_part_is_the_mean_squared_distance_of_single_prompts(rng):
    bandit, policy = bandit_and_policy(rng, config=BanditConfig(n_prompts=4, n_completions=6, individual=2.0))
    exact = bandit.gradient(policy)
    distances = []
    for prompt in range(4):
        rollouts = bandit.sample(policy, np.full((2, 1), prompt), 1, rng)
        distances.append(bandit.batch_gradient(policy, rollouts).squared_distance(exact))
    np.testing.assert_allclose(bandit.prompt_variance(policy), np.mean(distances, axis=0))


def test_the_initial_values_are_as_asked(rng):
    bandit = PolicyBandit(BanditConfig(n_prompts=50, pass_rate=0.3), 40, rng)
    values = bandit.values(bandit.initial_policy())
    assert abs(values.mean() - 0.3) < 4 * values.std() / np.sqrt(values.size)
    assert values.std() > 0.1


def test_the_best_policy_has_no_gradient_and_nothing_is_better(rng):
    bandit, _ = bandit_and_policy(rng)
    best = optimum(bandit)
    assert bandit.gradient(best).squared_distance(bandit.initial_policy()).max() < 1e-17
    for _ in range(20):
        nearby = Policy(
            best.own + 0.1 * rng.normal(size=best.own.shape), best.shared + 0.1 * rng.normal(size=best.shared.shape)
        )
        assert (bandit.objective(nearby) < bandit.objective(best)).all()


def test_a_bandit_without_penalty_has_no_best_policy(rng):
    with pytest.raises(ValueError, match="ridge is 0"):
        optimum(PolicyBandit(BanditConfig(n_prompts=2), 1, rng))


def test_completions_come_in_halves(rng):
    with pytest.raises(ValueError, match="even"):
        PolicyBandit(BanditConfig(n_completions=5), 1, rng)


def test_training_climbs_and_its_steps_shrink_as_asked(rng):
    bandit = PolicyBandit(BanditConfig(n_prompts=8), 3, rng)
    config = TrainingConfig(steps=60, batch_size=4, group_size=2, learning_rate=1.0)
    steps = list(train(bandit, config, rng, BaselineEach("oracle", 3)))
    assert [step.number for step in steps] == list(range(1, 61))
    assert (bandit.values(steps[-1].policy).mean(axis=1) > bandit.values(steps[0].policy).mean(axis=1) + 0.05).all()
    assert TrainingConfig(10, 1, 1, 6.0, delay=2.0).step_size(1) == 2.0
    assert config.step_size(7) == 1.0
    with pytest.raises(ValueError, match=r"group_size must be a whole number from 1 on, got 2\.5"):
        TrainingConfig(10, 1, 2.5, 6.0)


def test_two_baselines_meet_the_same_prompts_and_chances(rng):
    bandit = PolicyBandit(BanditConfig(n_prompts=8), 3, rng)
    config = TrainingConfig(steps=5, batch_size=4, group_size=2, learning_rate=0.0)
    runs = [
        list(train(bandit, config, np.random.default_rng(3), BaselineEach(name, 3))) for name in ("oracle", "adaptive")
    ]
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one.rollouts.prompts, other.rollouts.prompts)
        np.testing.assert_array_equal(one.rollouts.rewards, other.rollouts.rewards)


@pytest.mark.parametrize("law", [BinaryRewards(), HeavyTailedRewards(0.5, 6.0)], ids=repr)
def test_rewards_have_the_mean_and_variance_that_is_said(law, rng):
    mean = np.array([0.1, 0.5, 0.8])
    draws = law.sample(np.broadcast_to(mean, (100_000, 3)), rng)
    assert (np.abs(draws.mean(axis=0) - mean) < 4.5 * draws.std(axis=0) / np.sqrt(len(draws))).all()
    squares = (draws - mean) ** 2
    error = squares.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(squares.mean(axis=0) - law.variance(mean)) < 4.5 * error + 1e-12).all()


@pytest.mark.parametrize("path", [Zigzag(), Parabola()], ids=repr)
def test_paths_end_at_one_half_and_stay_inside(path):
    time = np.linspace(0.0, 1.0, 1001)
    values = path(time)
    assert values[-1] == pytest.approx(0.5)
    assert ((values > 0.05) & (values < 0.95)).all()


def test_paths_have_the_derivatives_that_are_said():
    time = np.linspace(0.0, 1.0, 4001)
    slopes = np.diff(Zigzag(slope=0.5, ramp=0.4)(time)) / np.diff(time)
    assert np.abs(slopes).max() == pytest.approx(0.5)
    assert slopes[time[1:] > 0.61] == pytest.approx(0.5)
    late = Parabola(slope=1.0, curvature=4.0)(np.array([0.998, 0.999, 1.0]))
    assert (late[2] - late[0]) / 0.002 == pytest.approx(1.0, abs=0.005)
    assert (late[2] - 2 * late[1] + late[0]) / 0.001**2 == pytest.approx(4.0, rel=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_step_has_distinct_prompts_and_all_come_equally_often(schedule, rng):
    batches = prompts_by_step(schedule, 12, 4, 3, rng, block_reuse=2)
    steps = [prompts for prompts, _ in zip(batches, range(12), strict=False)]
    assert len(steps) == (3 if schedule == "once" else 12)
    for prompts in steps:
        assert all(len(set(row)) == 4 for row in prompts.tolist())
    if schedule != "independent":
        counts = np.bincount(np.stack(steps)[:, 0].ravel(), minlength=12)
        assert (counts == counts[0]).all()
    if schedule == "blocks":
        np.testing.assert_array_equal(steps[0], steps[1])


def test_a_schedule_refuses_what_it_cannot_do(rng):
    with pytest.raises(ValueError, match="unknown schedule 'daily'"):
        next(prompts_by_step("daily", 4, 2, 1, rng))
    with pytest.raises(ValueError, match="got 5"):
        next(prompts_by_step("epochs", 4, 5, 1, rng))


@pytest.mark.parametrize("tails", TAILS[:2])
@pytest.mark.parametrize("concentration", [0.0, 2.0])
def test_second_moments_of_rollouts_with_norms_agree_with_their_draws(tails, concentration, rng):
    n = 200_000
    config = NormConfig(
        6.0, tails, n, concentration=concentration, ratio_spread=0.5, n_prompts=2, batch_size=2, visits=1
    )
    (step,) = rollouts_with_norms(config, 1, rng)
    assert np.abs(step.rewards.mean(axis=2) - step.values).max() < 4.5 * 0.5 / np.sqrt(n)
    for b in (0.0, 0.6, step.values[..., None], step.values[..., None] + step.moments.optimal_shift):
        draws = step.squares * (step.rewards - b) ** 2
        error = np.sqrt((draws.var(axis=2) / n).sum()) / 2
        assert np.abs(draws.mean() - step.second_moment(b + np.zeros(step.rewards.shape))) < 4.5 * error


def test_squared_norms_with_heavy_tails_have_the_quartiles_of_a_squared_t(rng):
    n = 100_000
    (step,) = rollouts_with_norms(NormConfig(1.0, "t", n, n_prompts=1, batch_size=1, visits=1), 1, rng)
    factor = step.squares / step.moments.square
    for p in (0.25, 0.5, 0.75, 0.99):
        below = (factor < stats.t.ppf((1 + p) / 2, 3) ** 2 / 3).mean()
        assert abs(below - p) < 4.5 * np.sqrt(p * (1 - p) / n)


def test_prompts_with_norms_come_equally_often_and_their_values_drift(rng):
    config = NormConfig(1.0, n_prompts=6, batch_size=3, visits=10, drift=2.0)
    steps = list(rollouts_with_norms(config, 2, rng))
    assert [step.number for step in steps] == list(range(1, 21))
    counts = np.stack([np.bincount(prompts, minlength=6) for step in steps for prompts in step.prompts])
    np.testing.assert_array_equal(counts.sum(axis=0), 20)
    logits = {}
    for step in steps:
        for prompt, value in zip(step.prompts[0], step.values[0], strict=True):
            logits.setdefault(prompt, []).append(np.log(value / (1 - value)) - 2.0 * step.number / 20)
    assert max(np.ptp(path) for path in logits.values()) < 1e-9
