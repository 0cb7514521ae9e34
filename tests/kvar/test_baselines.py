"""Laws of every registered baseline, hand-computed cases, and the kernel estimate against a double loop."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import kvar
from kvar.baselines import baseline_class
from tests.kvar import reference

NAMES = kvar.baseline_names()
NAN = math.nan
KERNELS = kvar.kernel_names()


# Their value is not linear in the own reward, so that only a small change follows the derivative.
LOCALLY_LINEAR = {"empirical-bayes"}
# They read the rollouts of a group one after the other.
ORDERED = {"krpo"}


def sample(rng, name, n_prompts=5, group=3, missing=0.0):
    """Prompt ids, rewards and columns of one step."""
    ids = rng.permutation(20)[:n_prompts]
    low, high = baseline_class(name).reward_range
    shape = (n_prompts, group)
    # Inside of a bounded range, with room to change a reward by a fifth of it.
    rewards = low + (high - low) * rng.uniform(0.2, 0.8, size=shape) if np.isfinite(low) else rng.normal(size=shape)
    rewards[rng.random(rewards.shape) < missing] = np.nan
    columns = {
        "true_value": rng.normal(size=n_prompts),
        "offline_value": rng.uniform(0.1, 0.9, size=n_prompts),
        "completion_length": rng.integers(1, 100, size=n_prompts),
    }
    return ids, rewards, columns


def experienced(name, rng, n_steps=6):
    baseline = kvar.make_baseline(name)
    for step in range(n_steps):
        ids, rewards, _ = sample(rng, name)
        baseline.update(ids, rewards, step)
    return baseline


# --- laws ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_baseline_is_told_by_its_parameters_whatever_it_has_seen(name, rng):
    fresh, past = kvar.make_baseline(name), experienced(name, rng)
    told = ", ".join(f"{key}={value!r}" for key, value in fresh.parameters.items())
    assert repr(past) == f"{type(past).__name__}({told})"
    assert past == fresh


@pytest.mark.parametrize("name", NAMES)
def test_a_value_for_every_rollout(name, rng):
    ids, rewards, columns = sample(rng, name)
    values = experienced(name, rng).estimate(ids, rewards, 6, **columns)
    assert values.shape == rewards.shape
    assert np.isfinite(values).all()


@pytest.mark.parametrize("name", NAMES)
def test_uncertainty_comes_with_the_same_values(name, rng):
    baseline = experienced(name, rng)
    ids, rewards, columns = sample(rng, name)
    found = baseline.estimate(ids, rewards, 6, return_info=True, **columns)
    np.testing.assert_array_equal(found.values, baseline.estimate(ids, rewards, 6, **columns))
    stated = {np.isfinite(found.standard_error).all(), np.isfinite(found.effective_sample_size).all()}
    assert stated == {name in {"kernel", "adaptive"}}


@pytest.mark.parametrize("name", NAMES)
def test_estimate_remembers_nothing(name, rng):
    baseline = experienced(name, rng)
    ids, rewards, columns = sample(rng, name)
    first = baseline.estimate(ids, rewards, 6, **columns)
    baseline.estimate(ids, rewards[::-1], 6, **columns)
    np.testing.assert_array_equal(first, baseline.estimate(ids, rewards, 6, **columns))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_may_be_looked_at_again_before_and_after_it_is_remembered(name, rng):
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
def test_own_reward_enters_as_much_as_is_said(name, rng):
    baseline = experienced(name, rng)
    ids, rewards, columns = sample(rng, name, missing=0.2)
    batch = kvar.Batch.from_rows(ids, rewards, 6, columns)
    weight = baseline.own_weight(batch)
    np.testing.assert_array_equal(weight[~batch.scored], 0.0)
    # A change of 1e-4 leaves 1e-12 of rounding and 1e-8 of curvature in the difference quotient.
    change, tolerance = (1e-4, 1e-7) if name in LOCALLY_LINEAR else (0.2, 1e-12)
    for row, column in np.argwhere(batch.scored):
        up, down = rewards.copy(), rewards.copy()
        up[row, column] += change
        down[row, column] -= change
        gap = baseline.estimate(ids, up, 6, **columns) - baseline.estimate(ids, down, 6, **columns)
        assert gap[row, column] / (2 * change) == pytest.approx(weight[row, column], abs=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_prompt_order_and_names_change_nothing(name, rng):
    ids, rewards, columns = sample(rng, name)
    past = [sample(rng, name)[:2] for _ in range(4)]
    order = rng.permutation(len(ids))
    plain, shuffled, renamed = (kvar.make_baseline(name) for _ in range(3))
    for step, (past_ids, past_rewards) in enumerate(past):
        plain.update(past_ids, past_rewards, step)
        shuffled.update(past_ids[::-1], past_rewards[::-1], step)
        renamed.update([f"prompt {i}" for i in past_ids], past_rewards, step)
    values = plain.estimate(ids, rewards, 4, **columns)
    other = shuffled.estimate(ids[order], rewards[order], 4, **{k: c[order] for k, c in columns.items()})
    np.testing.assert_allclose(other, values[order], atol=1e-14)
    names = renamed.estimate([f"prompt {i}" for i in ids], rewards, 4, **columns)
    np.testing.assert_array_equal(names, values)


@pytest.mark.parametrize("name", NAMES)
def test_flat_rollouts_equal_groups(name, rng):
    ids, rewards, columns = sample(rng, name, group=4, missing=0.2)
    grouped, flat = experienced(name, np.random.default_rng(1)), experienced(name, np.random.default_rng(1))
    expected = grouped.advantages(ids, rewards, 6, **columns)
    repeated = {key: np.repeat(column, 4) for key, column in columns.items()}
    shuffle = rng.permutation(rewards.size)
    if name in ORDERED:
        shuffle = shuffle[np.argsort(shuffle % 4, kind="stable")]
    found = flat.advantages(
        np.repeat(ids, 4)[shuffle], rewards.ravel()[shuffle], 6, **{k: c[shuffle] for k, c in repeated.items()}
    )
    np.testing.assert_allclose(found, expected.ravel()[shuffle], atol=1e-14)
    np.testing.assert_allclose(
        flat.estimate(ids, rewards, 7, **columns), grouped.estimate(ids, rewards, 7, **columns), atol=1e-14
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_unscored_rollout_is_as_if_absent(name, rng):
    ids, rewards, columns = sample(rng, name)
    wider = np.concatenate([rewards, np.full((len(ids), 1), np.nan)], axis=1)
    plain, padded = experienced(name, np.random.default_rng(1)), experienced(name, np.random.default_rng(1))
    expected = plain.advantages(ids, rewards, 6, **columns)
    found = padded.advantages(ids, wider, 6, **columns)
    np.testing.assert_allclose(found[:, :-1], expected, atol=1e-14)
    np.testing.assert_array_equal(found[:, -1], 0.0)
    np.testing.assert_allclose(
        padded.estimate(ids, rewards, 7, **columns), plain.estimate(ids, rewards, 7, **columns), atol=1e-14
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_step_without_any_reward_teaches_nothing(name, rng):
    ids, rewards, columns = sample(rng, name)
    baseline, other = experienced(name, np.random.default_rng(1)), experienced(name, np.random.default_rng(1))
    nothing = baseline.advantages(ids, np.full(rewards.shape, np.nan), 6, **columns)
    np.testing.assert_array_equal(nothing, 0.0)
    np.testing.assert_array_equal(
        baseline.estimate(ids, rewards, 7, **columns), other.estimate(ids, rewards, 7, **columns)
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_torch_gets_torch_and_the_same_numbers(name, dtype, rng):
    ids, rewards, columns = sample(rng, name)
    reward_tensor = torch.tensor(rewards, dtype=dtype, requires_grad=True)
    seen = reward_tensor.detach().double().numpy()
    found = experienced(name, np.random.default_rng(1)).advantages(
        torch.tensor(ids), reward_tensor, 6, **{key: torch.tensor(column) for key, column in columns.items()}
    )
    assert found.dtype == dtype
    assert found.device == reward_tensor.device
    expected = experienced(name, np.random.default_rng(1)).advantages(ids, seen, 6, **columns)
    np.testing.assert_array_equal(found.double().numpy(), torch.tensor(expected).to(dtype).double().numpy())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_handed_out_is_the_callers_own(name, rng):
    ids, rewards, columns = sample(rng, name)
    columns = {key: np.repeat(column[:, None], 3, axis=1) for key, column in columns.items()}
    before = {key: column.copy() for key, column in columns.items()}
    values = experienced(name, rng).estimate(ids, rewards, 6, **columns)
    values += 1.0
    np.testing.assert_equal(columns, before)
    tensors = {key: torch.tensor(column) for key, column in columns.items()}
    experienced(name, rng).estimate(torch.tensor(ids), torch.tensor(rewards), 6, **tensors).add_(1.0)


def test_what_was_seen_at_this_very_step_is_not_the_past():
    baseline = kvar.make_baseline("kernel")
    baseline.update(["a"], [[1.0, 0.0]], 3)
    np.testing.assert_array_equal(baseline.estimate(["a"], [[1.0, 0.0]], 3), [[0.0, 1.0]])


def test_a_kernel_object_is_kept_by_its_name():
    assert kvar.make_baseline("kernel", kernel=kvar.get_kernel("uniform")).parameters["kernel"] == "uniform"


def test_an_empty_batch_passes():
    baseline = kvar.make_baseline("kernel")
    assert baseline.advantages([], np.zeros((0, 4)), 0).shape == (0, 4)
    assert baseline.advantages(["a", "a"], np.zeros((2, 0)), 0).shape == (2, 0)


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


# --- hand-computed cases ------------------------------------------------------------------------------------------

REWARDS = [[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, NAN, 0.0]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", [[0.0] * 4, [0.0] * 4]),
        ("group-mean", [[0.5] * 4, [2 / 3] * 4]),
        ("leave-one-out", [[1 / 3, 2 / 3, 2 / 3, 1 / 3], [1 / 2, 1 / 2, 2 / 3, 1.0]]),
        ("batch-mean", [[4 / 7] * 4, [4 / 7] * 4]),
        ("running-mean", [[0.25] * 4, [0.25] * 4]),
    ],
)
def test_by_hand(name, expected):
    baseline = kvar.make_baseline(name)
    baseline.update(["c", "d"], [[0.0, 1.0], [0.0, 0.0]], 0)
    np.testing.assert_allclose(baseline.estimate(["a", "b"], REWARDS, 1), expected, rtol=1e-15)


def test_kernel_by_hand():
    baseline = kvar.make_baseline("kernel", bandwidth=4)
    baseline.update(["a"], [[1.0, 0.0]], 1)  # weight 1 - 3/4 at step 4
    baseline.update(["a"], [[1.0, 1.0]], 2)  # weight 1 - 2/4
    value = baseline.estimate(["a"], [[0.0, 1.0]], 4)
    total, mass = 0.25 * 1 + 0.5 * 2, 0.25 * 2 + 0.5 * 2
    np.testing.assert_allclose(value, [[(total + 1) / (mass + 1), total / (mass + 1)]], rtol=1e-15)


def test_kernel_falls_back_to_the_other_prompts():
    baseline = kvar.make_baseline("kernel")
    np.testing.assert_allclose(baseline.estimate(["a", "b", "c"], [1.0, 0.0, 0.5], 0), [0.25, 0.75, 0.5])
    np.testing.assert_array_equal(baseline.estimate(["a"], [1.0], 0), [0.0])


def test_kernel_forgets_past_its_window():
    baseline = kvar.make_baseline("kernel", bandwidth=3)
    baseline.update(["a"], [1.0], 0)
    np.testing.assert_array_equal(baseline.estimate(["a"], [0.0], 2), [1.0])
    np.testing.assert_array_equal(baseline.estimate(["a"], [0.0], 3), [0.0])


def test_a_group_of_one():
    for name, advantage in [("group-mean", 0.0), ("leave-one-out", 0.7), ("batch-mean", 0.0), ("none", 0.7)]:
        assert kvar.make_baseline(name).advantages(["a"], [0.7], 0)[0] == pytest.approx(advantage)


# --- what the kernel estimate can do beside the paper's -------------------------------------------------------------


def fitted_line(lags, rewards, weights):
    """Value at lag 0 of a weighted straight line, and one over the sum of squares of its weights."""
    design = np.column_stack([np.ones(len(lags)), lags])
    hat = np.linalg.solve(design.T @ (weights[:, None] * design), design.T * weights)[0]
    return hat @ rewards, 1 / (hat**2).sum()


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("clock", ["steps", "visits"])
def test_degree_and_clock_against_weighted_least_squares(degree, clock, rng):
    baseline = kvar.make_baseline("kernel", bandwidth=9, kernel="epanechnikov", degree=degree, clock=clock)
    steps = np.cumsum(rng.integers(1, 3, size=12))
    history = []
    for visit, step in enumerate(steps):
        if visit % 3 != 1:
            rewards = rng.random(2)
            baseline.update(["a"], [rewards], step)
            history += [(step, r) for r in rewards]
        else:
            baseline.update(["b"], [[0.0, 1.0]], step)
    now, group = steps[-1] + 1, rng.random(3)
    found = baseline.estimate(["a"], [group], now, return_info=True)
    visited = [step for step, _ in history]
    order = {step: k for k, step in enumerate(sorted(set(visited), reverse=True), start=1)}
    lags = np.array([now - step if clock == "steps" else order[step] for step in visited], dtype=float)
    for g in range(3):
        all_lags = np.concatenate([lags, [0.0, 0.0]])
        rewards = np.array([r for _, r in history] + np.delete(group, g).tolist())
        weights = np.maximum(0.75 * (1 - (all_lags / 9) ** 2), 0.0)
        if degree == 0:
            value, size = weights @ rewards / weights.sum(), weights.sum() ** 2 / (weights**2).sum()
        else:
            value, size = fitted_line(all_lags, rewards, weights)
        assert found.values[0, g] == pytest.approx(value, rel=1e-10)
        assert found.effective_sample_size[0, g] == pytest.approx(size, rel=1e-10)


def test_a_line_through_one_time_is_its_mean():
    baseline = kvar.make_baseline("kernel", degree=1)
    baseline.update(["a"], [[0.0, 1.0]], 0)
    np.testing.assert_allclose(baseline.estimate(["a"], [0.7], 3), [0.5])


def test_visits_are_kept_however_old():
    baseline = kvar.make_baseline("kernel", bandwidth=3, clock="visits")
    for step, reward in enumerate([1.0, 0.0, 0.5, 0.25]):
        baseline.update(["a"], [reward], 1000 * step)
    # One, two and three visits ago weigh 2/3, 1/3 and 0.
    np.testing.assert_allclose(baseline.estimate(["a"], [0.0], 10_000), [(0.25 * 2 + 0.5) / 3])


@pytest.mark.parametrize("bandwidth", [5, "auto"])
def test_the_standard_error_covers_a_steady_value(bandwidth):
    rng, hits, n = np.random.default_rng(8), 0, 400
    truth = rng.uniform(0.1, 0.9, n)
    baseline = kvar.make_baseline("kernel", bandwidth=bandwidth)
    for step in range(20):
        rewards = (rng.random((n, 2)) < truth[:, None]).astype(float)
        found = baseline.estimate(range(n), rewards, step, return_info=True)
        baseline.update(range(n), rewards, step)
    hits = (np.abs(found.values - truth[:, None]) <= 1.96 * found.standard_error).mean()
    # Nominal 95 percent, 400 prompts: a Monte Carlo standard error of 1.1; binomial intervals of small samples vary.
    assert 0.90 < hits < 0.99


def test_the_automatic_window_follows_the_drift():
    rng = np.random.default_rng(9)
    for period, best in ((25, 4.0), (10_000, 256.0)):
        auto = kvar.make_baseline("kernel", bandwidth="auto")
        fixed = {w: kvar.make_baseline("kernel", bandwidth=w) for w in (4.0, 256.0)}
        losses = dict.fromkeys([*fixed, "auto"], 0.0)
        for step in range(300):
            truth = 0.5 + 0.45 * np.sin(2 * np.pi * (step / period + np.arange(16) / 16))
            rewards = (rng.random((16, 4)) < truth[:, None]).astype(float)
            for name, baseline in [*fixed.items(), ("auto", auto)]:
                values = baseline.estimate(range(16), rewards, step)
                baseline.update(range(16), rewards, step)
                losses[name] += ((values - truth[:, None]) ** 2).mean() if step >= 100 else 0.0
        # One tenth above the best window, or a thousandth of the reward's noise of 0.15 a step, which cannot be seen.
        assert losses["auto"] < 1.1 * losses[best] + 200 * 0.00015
        assert min(losses["auto"], losses[best]) == min(losses.values())


@pytest.mark.parametrize("name", ["kernel", "adaptive"])
def test_a_shared_drift_is_removed(name):
    rng = np.random.default_rng(10)
    start = rng.uniform(-3, 1, 32)
    settings = {"bandwidth": 60, "drift": True} if name == "kernel" else {}
    plain, moved = kvar.make_baseline("kernel", bandwidth=60), kvar.make_baseline(name, **settings)
    bias = {"plain": [], "moved": []}
    for step in range(200):
        truth = 1 / (1 + np.exp(-start - step / 50))
        rewards = (rng.random((32, 2)) < truth[:, None]).astype(float)
        for key, baseline in (("plain", plain), ("moved", moved)):
            values = baseline.estimate(range(32), rewards, step)
            baseline.update(range(32), rewards, step)
            if step >= 100:
                bias[key].append((values - truth[:, None]).mean())
    assert np.mean(bias["plain"]) < -0.02
    assert abs(np.mean(bias["moved"])) < 0.25 * abs(np.mean(bias["plain"]))


# --- the kernel estimate against a double loop ----------------------------------------------------------------------


@st.composite
def irregular_runs(draw):
    """Steps that jump, prompts that come and go, uneven groups, missing rewards."""
    prompts = draw(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(max_size=5)), min_size=1, unique=True))
    step, run = 0, []
    for _ in range(draw(st.integers(1, 12))):
        step += draw(st.integers(1, 6))
        present = draw(st.lists(st.sampled_from(prompts), min_size=1, unique=True))
        size = draw(st.integers(1, 4))
        reward = st.one_of(st.floats(-3, 3), st.just(NAN), st.sampled_from([0.0, 1.0]))
        run.append((step, [(p, draw(st.lists(reward, min_size=size, max_size=size))) for p in present]))
    return run


@given(run=irregular_runs(), bandwidth=st.sampled_from([0.1, 0.5, 1, 3.7, 10]), kernel=st.sampled_from(KERNELS))
@settings(max_examples=150, deadline=None)
def test_kernel_agrees_with_the_double_loop(run, bandwidth, kernel):
    expected = reference.kernel_run(run, bandwidth, kernel)
    libraries = {
        "numpy": (lambda r: np.array(r), 1e-12),
        "torch float64": (lambda r: torch.tensor(r, dtype=torch.float64), 1e-12),
        "torch float32": (lambda r: torch.tensor(r, dtype=torch.float32), None),
    }
    for make, tolerance in libraries.values():
        baseline = kvar.make_baseline("kernel", bandwidth=bandwidth, kernel=kernel)
        values = expected
        if tolerance is None:
            # The loop sees the rewards as float32 holds them; then only the last rounding differs.
            rounded = [(s, [(p, np.float32(r).tolist()) for p, r in groups]) for s, groups in run]
            values = reference.kernel_run(rounded, bandwidth, kernel)
        for (step, groups), row in zip(run, values, strict=True):
            rewards = make([r for _, r in groups])
            found = np.asarray(baseline.estimate([p for p, _ in groups], rewards, step), dtype=np.float64)
            wanted = np.array(row)
            if tolerance is None:
                np.testing.assert_allclose(found, wanted.astype(np.float32), rtol=2e-7, atol=1e-12)
            else:
                np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)
            baseline.update([p for p, _ in groups], rewards, step)


# --- bad input ------------------------------------------------------------------------------------------------------


def test_bad_input_is_named(rng):
    baseline = kvar.make_baseline("kernel")
    with pytest.raises(ValueError, match="unknown baseline 'kernle'"):
        kvar.make_baseline("kernle")
    with pytest.raises(ValueError, match=r"takes bandwidth, kernel, degree, clock, drift; got 'window'"):
        kvar.make_baseline("kernel", window=3)
    with pytest.raises(ValueError, match="takes no parameters"):
        kvar.make_baseline("none", window=3)
    for bandwidth in (0, -1, math.inf, NAN, "wide", None, [3], True):
        with pytest.raises(ValueError, match="bandwidth must be a positive number"):
            kvar.make_baseline("kernel", bandwidth=bandwidth)
    for wrong in ({"degree": 2}, {"clock": "hours"}, {"degree": 1, "drift": True}, {"kernel": "box"}):
        with pytest.raises(ValueError, match=r"degree|clock|drift|kernel"):
            kvar.make_baseline("kernel", **wrong)
    with pytest.raises(ValueError, match=r"rewards must have shape \(2, G\)"):
        baseline.estimate(["a", "b"], [[1.0]], 0)
    with pytest.raises(ValueError, match=r"prompt 'b' has an infinite reward at step 3"):
        baseline.estimate(["a", "b"], [[1.0], [math.inf]], 3)
    with pytest.raises(TypeError, match=r"integers or strings, got 1.5"):
        baseline.estimate([1.5], [[1.0]], 0)
    with pytest.raises(TypeError, match="got True"):
        baseline.estimate([True], [[1.0]], 0)
    with pytest.raises(TypeError, match="rewards must hold real numbers"):
        baseline.estimate(["a"], [["good"]], 0)
    with pytest.raises(TypeError, match="prompt_ids from numpy, rewards from torch"):
        baseline.estimate(np.arange(2), torch.zeros(2, 1), 0)
    with pytest.raises(ValueError, match="step must be a finite number"):
        baseline.estimate(["a"], [[1.0]], NAN)
    with pytest.raises(ValueError, match="needs true_value"):
        kvar.make_baseline("oracle").estimate(["a"], [[1.0]], 0)
    with pytest.raises(ValueError, match="column 'true_value' must have shape"):
        kvar.make_baseline("oracle").estimate(["a"], [[1.0]], 0, true_value=[1.0, 2.0])
    baseline.update(["a"], [[1.0]], 5)
    for call in (baseline.estimate, baseline.update):
        with pytest.raises(ValueError, match="step 4 comes after step 5"):
            call(["a"], [[1.0]], 4)


def test_every_name_says_itself():
    assert [baseline_class(name).name for name in NAMES] == NAMES


def test_the_standard_error_of_the_kernel_estimate_by_hand():
    baseline = kvar.make_baseline("kernel")
    assert baseline.parameters["bandwidth"] == 10  # the paper's
    baseline.update(["a"], [[1.0, 0.0]], 0)
    found = baseline.estimate(["a"], [[1.0, 0.0]], 5, return_info=True)
    # Two past rewards weigh 1/2 each, the other one of the group 1.
    values, size = np.array([[0.25, 0.75]]), 2.0**2 / (2 * 0.5**2 + 1.0)
    kept_off = (values * size + 4 * 0.5) / (size + 4)
    np.testing.assert_allclose(found.values, values)
    np.testing.assert_allclose(found.effective_sample_size, size)
    np.testing.assert_allclose(found.standard_error, np.sqrt(kept_off * (1 - kept_off) / size))
