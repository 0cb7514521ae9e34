"""Laws of every registered baseline."""

import math

import numpy as np
import pytest
import torch

import kvar
from kvar.baselines import baseline_class
from kvar.replaying import replay_baseline
from tests.kvar.registered import NAMES, columns_of

NAN = math.nan


# The value is not linear in the own reward, so that only a small change follows the derivative.
LOCALLY_LINEAR = {"empirical-bayes"}
# The value depends on the order of the rollouts of a group.
ORDERED = {"krpo"}


def sample(rng, name, n_prompts=5, group=3, missing=0.0):
    """Prompt ids, rewards and columns of one step."""
    ids = rng.permutation(20)[:n_prompts]
    low, high = baseline_class(name).reward_range
    shape = (n_prompts, group)
    # Within a bounded range, each reward can change by a fifth of the range.
    rewards = low + (high - low) * rng.uniform(0.2, 0.8, size=shape) if np.isfinite(low) else rng.normal(size=shape)
    rewards[rng.random(rewards.shape) < missing] = np.nan
    columns = {
        "true_value": rng.normal(size=n_prompts),
        "offline_value": rng.uniform(0.1, 0.9, size=n_prompts),
        "completion_length": rng.integers(1, 100, size=n_prompts),
        "score_norm": rng.uniform(0.5, 2.0, size=n_prompts),
        "feature_0": rng.normal(size=n_prompts),
        "feature_1": rng.normal(size=n_prompts),
    }
    return ids, rewards, columns


def experienced(name, rng, n_steps=6):
    """A baseline with a history of some steps."""
    baseline = kvar.make_baseline(name)
    for step in range(n_steps):
        ids, rewards, columns = sample(rng, name)
        baseline.update(ids, rewards, step, **columns)
    return baseline


@pytest.mark.parametrize("name", NAMES)
def test_repr_and_equality_depend_on_the_parameters_alone(name, rng):
    fresh, past = kvar.make_baseline(name), experienced(name, rng)
    parameters = ", ".join(f"{key}={value!r}" for key, value in fresh.parameters.items())
    assert repr(past) == f"{type(past).__name__}({parameters})"
    assert past == fresh


@pytest.mark.parametrize("name", NAMES)
def test_a_value_for_every_rollout(name, rng):
    ids, rewards, columns = sample(rng, name)
    values = experienced(name, rng).estimate(ids, rewards, 6, **columns)
    assert values.shape == rewards.shape
    assert np.isfinite(values).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_value_depends_on_its_group_alone_where_the_class_says_so(name, rng):
    ids, rewards, columns = sample(rng, name)
    expected = experienced(name, rng).estimate(ids, rewards, 6, **columns)
    one_by_one = [
        kvar.make_baseline(name).estimate(ids[[k]], rewards[[k]], 0, **{n: c[[k]] for n, c in columns.items()})
        for k in range(len(ids))
    ]
    assert np.array_equal(np.concatenate(one_by_one), expected) == baseline_class(name).group_only


def test_values_in_place_of_others_may_depend_on_the_batch():
    class Centred(baseline_class("group-mean")):
        def values(self, batch):
            return super().values(batch) - batch.rewards.mean()

    trace = kvar.Trace.from_columns({"step": [0, 0, 1, 1], "prompt_id": [0, 1, 0, 1], "reward": [0.0, 1.0, 2.0, 4.0]})
    assert replay_baseline(trace, Centred()).values.tolist() == [-0.5, 0.5, -1.0, 1.0]


@pytest.mark.parametrize("name", NAMES)
def test_return_info_does_not_change_the_values(name, rng):
    baseline = experienced(name, rng)
    ids, rewards, columns = sample(rng, name)
    actual = baseline.estimate(ids, rewards, 6, return_info=True, **columns)
    np.testing.assert_array_equal(actual.values, baseline.estimate(ids, rewards, 6, **columns))
    stated = {np.isfinite(actual.standard_error).all(), np.isfinite(actual.effective_sample_size).all()}
    assert stated == {name in {"kernel", "adaptive", "variance-optimal"}}


@pytest.mark.parametrize("name", NAMES)
def test_estimate_remembers_nothing(name, rng):
    baseline = experienced(name, rng)
    ids, rewards, columns = sample(rng, name)
    first = baseline.estimate(ids, rewards, 6, **columns)
    baseline.estimate(ids, rewards[::-1], 6, **columns)
    np.testing.assert_array_equal(first, baseline.estimate(ids, rewards, 6, **columns))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_can_be_used_again_before_and_after_it_is_remembered(name, rng):
    ids, rewards, columns = sample(rng, name)
    baseline, other = experienced(name, np.random.default_rng(3)), experienced(name, np.random.default_rng(3))
    batch = kvar.Batch.from_rows(ids, rewards, 6, columns)
    for _ in range(3):
        fresh = kvar.Batch.from_rows(ids, rewards, 6, columns)
        np.testing.assert_array_equal(baseline.values(batch), other.values(fresh))
        np.testing.assert_array_equal(baseline.own_weight(batch), other.own_weight(fresh))
        baseline.remember(batch)
        other.remember(kvar.Batch.from_rows(ids, rewards, 6, columns))


@pytest.mark.parametrize("name", NAMES)
def test_own_weight_is_the_derivative_by_the_own_reward(name, rng):
    baseline = experienced(name, rng)
    ids, rewards, columns = sample(rng, name, missing=0.2)
    batch = kvar.Batch.from_rows(ids, rewards, 6, columns)
    weight = batch.to_rows(baseline.own_weight(batch))
    np.testing.assert_array_equal(weight[np.isnan(rewards)], 0.0)
    # A change of 1e-4 leaves 1e-12 of rounding and 1e-8 of curvature in the difference quotient.
    change, tolerance = (1e-4, 1e-7) if name in LOCALLY_LINEAR else (0.2, 1e-12)
    for row, column in np.argwhere(~np.isnan(rewards)):
        up, down = rewards.copy(), rewards.copy()
        up[row, column] += change
        down[row, column] -= change
        gap = baseline.estimate(ids, up, 6, **columns) - baseline.estimate(ids, down, 6, **columns)
        assert gap[row, column] / (2 * change) == pytest.approx(weight[row, column], abs=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_prompt_order_and_names_change_nothing(name, rng):
    ids, rewards, columns = sample(rng, name)
    past = [sample(rng, name) for _ in range(4)]
    order = rng.permutation(len(ids))
    plain, shuffled, renamed = (kvar.make_baseline(name) for _ in range(3))
    for step, (past_ids, past_rewards, known) in enumerate(past):
        plain.update(past_ids, past_rewards, step, **known)
        shuffled.update(past_ids[::-1], past_rewards[::-1], step, **{k: c[::-1] for k, c in known.items()})
        renamed.update([f"prompt {i}" for i in past_ids], past_rewards, step, **known)
    values = plain.estimate(ids, rewards, 4, **columns)
    other = shuffled.estimate(ids[order], rewards[order], 4, **{k: c[order] for k, c in columns.items()})
    np.testing.assert_allclose(other, values[order], atol=1e-14)
    names = renamed.estimate([f"prompt {i}" for i in ids], rewards, 4, **columns)
    np.testing.assert_array_equal(names, values)


@pytest.mark.parametrize("name", NAMES)
def test_advantages_with_info_are_those_without_and_the_estimate(name, rng):
    ids, rewards, columns = sample(rng, name, missing=0.2)
    one, two = experienced(name, np.random.default_rng(1)), experienced(name, np.random.default_rng(1))
    advantages, info = one.advantages(ids, rewards, 6, return_info=True, **columns)
    expected = two.estimate(ids, rewards, 6, return_info=True, **columns)
    np.testing.assert_array_equal(advantages, two.advantages(ids, rewards, 6, **columns))
    np.testing.assert_equal(vars(info), vars(expected))
    np.testing.assert_equal(one.state_dict(), two.state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_flat_rollouts_equal_groups(name, rng):
    ids, rewards, columns = sample(rng, name, group=4, missing=0.2)
    grouped, flat = experienced(name, np.random.default_rng(1)), experienced(name, np.random.default_rng(1))
    expected = grouped.advantages(ids, rewards, 6, **columns)
    repeated = {key: np.repeat(column, 4) for key, column in columns.items()}
    shuffle = rng.permutation(rewards.size)
    if name in ORDERED:
        shuffle = shuffle[np.argsort(shuffle % 4, kind="stable")]
    actual = flat.advantages(
        np.repeat(ids, 4)[shuffle], rewards.ravel()[shuffle], 6, **{k: c[shuffle] for k, c in repeated.items()}
    )
    np.testing.assert_allclose(actual, expected.ravel()[shuffle], atol=1e-14)
    np.testing.assert_allclose(
        flat.estimate(ids, rewards, 7, **columns), grouped.estimate(ids, rewards, 7, **columns), atol=1e-14
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_unscored_rollout_has_no_effect(name, rng):
    ids, rewards, columns = sample(rng, name)
    wider = np.concatenate([rewards, np.full((len(ids), 1), np.nan)], axis=1)
    plain, padded = experienced(name, np.random.default_rng(1)), experienced(name, np.random.default_rng(1))
    expected = plain.advantages(ids, rewards, 6, **columns)
    actual = padded.advantages(ids, wider, 6, **columns)
    np.testing.assert_allclose(actual[:, :-1], expected, atol=1e-14)
    np.testing.assert_array_equal(actual[:, -1], 0.0)
    np.testing.assert_allclose(
        padded.estimate(ids, rewards, 7, **columns), plain.estimate(ids, rewards, 7, **columns), atol=1e-14
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_step_without_rewards_changes_nothing(name, rng):
    ids, rewards, columns = sample(rng, name)
    baseline, other = experienced(name, np.random.default_rng(1)), experienced(name, np.random.default_rng(1))
    nothing = baseline.advantages(ids, np.full(rewards.shape, np.nan), 6, **columns)
    np.testing.assert_array_equal(nothing, 0.0)
    np.testing.assert_array_equal(
        baseline.estimate(ids, rewards, 7, **columns), other.estimate(ids, rewards, 7, **columns)
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_tensors_give_tensors_with_the_same_numbers(name, dtype, rng):
    ids, rewards, columns = sample(rng, name)
    reward_tensor = torch.tensor(rewards, dtype=dtype, requires_grad=True)
    seen = reward_tensor.detach().double().numpy()
    actual = experienced(name, np.random.default_rng(1)).advantages(
        torch.tensor(ids), reward_tensor, 6, **{key: torch.tensor(column) for key, column in columns.items()}
    )
    assert actual.dtype == dtype
    assert actual.device == reward_tensor.device
    expected = experienced(name, np.random.default_rng(1)).advantages(ids, seen, 6, **columns)
    np.testing.assert_array_equal(actual.double().numpy(), torch.tensor(expected).to(dtype).double().numpy())


@pytest.mark.parametrize("name", NAMES)
def test_results_are_copies(name, rng):
    ids, rewards, columns = sample(rng, name)
    columns = {key: np.repeat(column[:, None], 3, axis=1) for key, column in columns.items()}
    before = {key: column.copy() for key, column in columns.items()}
    values = experienced(name, rng).estimate(ids, rewards, 6, **columns)
    values += 1.0
    np.testing.assert_equal(columns, before)
    tensors = {key: torch.tensor(column) for key, column in columns.items()}
    experienced(name, rng).estimate(torch.tensor(ids), torch.tensor(rewards), 6, **tensors).add_(1.0)


def test_rewards_of_the_same_step_are_not_history():
    baseline = kvar.make_baseline("kernel")
    baseline.update(["a"], [[1.0, 0.0]], 3)
    np.testing.assert_array_equal(baseline.estimate(["a"], [[1.0, 0.0]], 3), [[0.0, 1.0]])


def test_a_kernel_object_is_kept_by_its_name():
    assert kvar.make_baseline("kernel", kernel=kvar.get_kernel("uniform")).parameters["kernel"] == "uniform"


@pytest.mark.parametrize("name", NAMES)
def test_empty_batches_equal_rewards_and_groups_without_rewards_pass(name):
    baseline, columns = kvar.make_baseline(name), columns_of((2, 2))
    for ids, shape in (([], (0, 4)), (["a", "a"], (2, 0))):
        assert baseline.advantages(ids, np.zeros(shape), 0, **columns_of(shape)).shape == shape
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        for reward in (0.0, 1.0, 0.1):
            rewards = np.full((2, 2), reward)
            assert np.isfinite(kvar.make_baseline(name).advantages(["a", "b"], rewards, 0, **columns)).all()
        advantages = baseline.advantages(["a", "b"], [[NAN, NAN], [NAN, 1.0]], 1, **columns)
    np.testing.assert_array_equal(advantages[0], 0.0)
    assert np.isfinite(advantages[1]).all()


@pytest.mark.parametrize("name", NAMES)
def test_numpy_keeps_its_dtype_and_its_input(name, rng):
    ids, rewards, columns = sample(rng, name)
    rewards = rewards.astype(np.float32)
    rewards.flags.writeable = False
    assert experienced(name, rng).advantages(ids, rewards, 6, **columns).dtype == np.float32
    assert kvar.make_baseline(name).advantages(ids, rewards > 0, 6, **columns).dtype == np.float64
    assert kvar.make_baseline(name).advantages(ids.tolist(), rewards.tolist(), 6, **columns).dtype == np.float64


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_baseline_continues_to_the_last_bit(name, rng):
    baseline = experienced(name, rng)
    restored = kvar.make_baseline(name)
    restored.load_state_dict(baseline.state_dict())
    for step in range(6, 30):
        ids, rewards, columns = sample(rng, name, missing=0.1)
        np.testing.assert_array_equal(
            restored.advantages(ids, rewards, step, **columns), baseline.advantages(ids, rewards, step, **columns)
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_state_is_refused(name, rng):
    baseline = experienced(name, rng)
    state = baseline.state_dict()
    for wrong in ({**state, "version": 99}, {**state, "name": "other"}, {**state, "state": {"x": 1}}, {}):
        with pytest.raises(ValueError, match=r"state|history|keys"):
            baseline.load_state_dict(wrong)
    np.testing.assert_equal(baseline.state_dict(), state)


def test_names_in_the_registry_are_those_of_the_classes():
    assert [baseline_class(name).name for name in NAMES] == NAMES
