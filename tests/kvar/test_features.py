"""The regression on prompt features, against a least-squares fit of all rewards and within the adaptive baseline."""

import numpy as np
import pytest

import kvar
from kvar.online.feature_prior import FeaturePrior, feature_columns
from kvar.online.reward_scale import RewardScale
from kvar.rollouts.batch import Batch


def named(features):
    return {f"feature_{k}": column for k, column in enumerate(np.asarray(features, dtype=float).T)}


def run(rng, seen_as, n_steps=60, group=2, **parameters):
    """Mean squared error of values over the second half of a run in which every prompt is new."""
    baseline, errors = kvar.make_baseline("adaptive", **parameters), []
    slopes = np.array([0.2, -0.1, 0.0])
    for step in range(n_steps):
        points = rng.normal(size=(16, 3))
        true_values = np.clip(0.5 + points @ slopes, 0, 1)
        rewards = (rng.random((16, group)) < true_values[:, None]).astype(float)
        ids = range(16 * step, 16 * (step + 1))
        columns = named(seen_as(points)) if seen_as else {}
        values = baseline.estimate(ids, rewards, step, **columns)
        baseline.update(ids, rewards, step, **columns)
        if step >= n_steps // 2:
            errors.append((values - true_values[:, None]) ** 2)
    return np.mean(errors), np.std(errors) / np.sqrt(np.size(errors) / group)


def test_columns_are_ordered_by_their_numbers():
    assert feature_columns(["feature_10", "x", "feature_2", "true_value"]) == ["feature_2", "feature_10"]


def test_the_regressions_are_discounted_least_squares_of_all_past_rewards(rng):
    prior, scale = FeaturePrior(), RewardScale()
    past = []  # (weight, features, reward above the prior)
    for step in range(12):
        features = rng.normal(3.0, 2.0, (10, 3))
        if step % 4 == 3:
            features[2, 1] = np.nan
        rewards = np.where(rng.random((10, 8)) < 0.1, np.nan, rng.normal(size=(10, 8)))
        batch = Batch.from_rows(range(10), rewards, step, named(features))
        level = rng.normal(size=rewards.shape)
        predictions = prior.predictions(batch, level.ravel(), scale)
        whole = np.isfinite(features).all(axis=1)
        if past:
            weight, points, above = (np.array(column) for column in zip(*past, strict=True))
            mean = np.average(points, axis=0, weights=weight)
            centred = points - mean
            variance = np.average((centred**2).sum(axis=1), weights=weight)
            for flat, strength in zip(predictions[1:], (3.0, 30.0), strict=True):
                actual = flat.reshape(rewards.shape)
                # Ridge as least squares with rows of zeros added.
                design = np.vstack([np.sqrt(weight)[:, None] * centred, np.sqrt(strength * variance) * np.eye(3)])
                slopes = np.linalg.lstsq(
                    design, np.concatenate([np.sqrt(weight) * (above - np.average(above, weights=weight)), np.zeros(3)])
                )[0]
                constant = (weight * above).sum() / (weight.sum() + 1)
                expected = level + np.where(whole, (features - mean) @ slopes + constant, 0.0)[:, None]
                expected = np.where(whole[:, None], np.clip(expected, scale._lowest, scale._highest), expected)
                np.testing.assert_allclose(actual[whole], expected[whole], rtol=1e-9, atol=1e-11)
                np.testing.assert_allclose(actual[~whole], scale.clipped(level)[~whole])
        prior.learn(batch, predictions)
        scale.learn(batch)
        discount = 0.99 ** min(1.0, batch.counts.sum() / 64)
        past = [(discount * w, z, a) for w, z, a in past]
        past += [
            (1.0, features[p], rewards[p, g] - level[p, g])
            for p in range(10)
            for g in range(8)
            if whole[p] and not np.isnan(rewards[p, g])
        ]


def test_informative_features_help_prompts_without_history(rng):
    without, error = run(np.random.default_rng(1), None)
    with_them, _ = run(np.random.default_rng(1), lambda z: z)
    assert with_them < 0.6 * without
    switched_off, _ = run(np.random.default_rng(1), lambda z: z, features=False)
    assert switched_off == without
    useless, _ = run(np.random.default_rng(1), lambda z: rng.normal(size=z.shape))
    assert useless < without + 3 * error


def test_values_do_not_depend_on_shift_rotation_and_scale_of_the_features():
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    plain, _ = run(np.random.default_rng(1), lambda z: z, n_steps=20)
    changed, _ = run(np.random.default_rng(1), lambda z: 1e3 * z @ turn + 50, n_steps=20)
    assert changed == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("features", [np.zeros((4, 2)), np.full((4, 2), np.nan), np.full((4, 2), 1e9)])
def test_features_without_information_change_nothing(features, rng):
    plain, given = kvar.make_baseline("adaptive"), kvar.make_baseline("adaptive")
    for step in range(6):
        rewards = rng.random((4, 2))
        expected = plain.estimate(range(4), rewards, step)
        np.testing.assert_allclose(given.estimate(range(4), rewards, step, **named(features)), expected, atol=0.05)
        plain.update(range(4), rewards, step)
        given.update(range(4), rewards, step, **named(features))


def test_other_features_than_before_are_refused(rng):
    baseline = kvar.make_baseline("adaptive")
    baseline.update(["a"], [[1.0]], 0, **named([[1.0, 2.0]]))
    with pytest.raises(ValueError, match=r"same features .* feature_0, feature_1 so far, now none"):
        baseline.update(["a"], [[1.0]], 1)
    with pytest.raises(ValueError, match=r"moments of features must have the shape \(3, 3\)"):
        FeaturePrior().load_state_dict({**baseline.state_dict()["state"]["features"], "moments": np.zeros((2, 2))})
