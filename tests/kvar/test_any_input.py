"""A baseline accepts an input or refuses it by name, and does not remember a refused one."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import kvar
from kvar.baselines import baseline_class
from tests.kvar.registered import NAMES, SETTINGS, bounded, columns_of

IDS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from(
        [-(2**63), 2**63 - 1, 2**63, 2**64, -(2**63) - 1, -(2**200), 0, -1, "0", "-1", "", "x" * 1_000_000]
    ),
    st.text(max_size=4),
)
BAD_IDS = [None, 1.0, math.nan, True, b"a", ("a",), np.float64(1), np.bool_(True)]
SIZES = st.sampled_from([1e-320, 1e-12, 1e-6, 1.0, 1e6, 1e12, 1e99])
BAD_REWARDS = [math.inf, -math.inf, 1e101, -1e308, 1j, "1", "good", [1.0], 10**400]
STEPS = st.one_of(
    st.just(0),
    st.integers(0, 3),
    st.integers(0, 2**62),
    st.floats(0, 1e12),
    st.sampled_from([1e-300, 1e-12, 1e15, 1e99]),
)
DTYPES = [np.float16, np.float32, np.int8, np.int64, np.uint8, np.bool_]
DTYPES += [torch.float16, torch.bfloat16, torch.float32, torch.int64, torch.bool]
BAD_STEPS = [math.nan, math.inf, -math.inf, 1e101, 10**400, None, "3", [3], 1j, True, np.bool_(False)]
# Values that some parameter may take, and values that none may.
PARAMETERS = [1e-320, 1e-12, 0.5, 1, 2, 16, 2.5, 1e12, 1e300, 2**70, 0, -1, True, np.bool_(True)]
PARAMETERS += [np.float32(3), np.int64(2), np.int8(1)]
NO_PARAMETERS = [None, "wrong", "1", math.nan, math.inf, 10**400, 1j, [], {}, Fraction(1, 2)]
NO_PARAMETERS += [np.array(1.0), np.array([1.0, 2.0]), np.array("auto")]


@st.composite
def runs(draw):
    """A baseline and the batches of a run: ids, rewards, step, and whether something in it is bad."""
    name, parameters = draw(st.sampled_from(SETTINGS))
    pool = draw(st.lists(IDS, min_size=1, max_size=6))
    size, step, batches = draw(SIZES), draw(st.sampled_from([0, 0.0, -5, -(2**60), -1e99])), []
    if bounded(name):
        size = min(size, 1.0)
    reward = st.one_of(st.floats(0, 1), st.sampled_from([0, 1, False, True, 0.0, 1.0, math.nan, None]))
    if not bounded(name):
        reward |= st.floats(-1, 1)
    for _ in range(draw(st.integers(1, 6))):
        step += draw(STEPS)
        ids = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=5))
        group = draw(st.integers(1 if kvar.make_baseline(name).one_rollout == "works" else 2, 3))
        rows = draw(st.lists(st.lists(reward, min_size=group, max_size=group), min_size=len(ids), max_size=len(ids)))
        rewards = [[r if r is None or isinstance(r, (bool, int)) else r * size for r in row] for row in rows]
        bad = draw(st.sampled_from([None] * 6 + ["id", "reward", "step", "back"]))
        when = step
        if bad == "id":
            ids[draw(st.integers(0, len(ids) - 1))] = draw(st.sampled_from(BAD_IDS))
        elif bad == "reward":
            rewards[draw(st.integers(0, len(ids) - 1))][0] = draw(st.sampled_from(BAD_REWARDS))
        elif bad == "step":
            when = draw(st.sampled_from(BAD_STEPS))
        elif bad == "back":
            when = step - draw(st.sampled_from([1, 0.5, 1e99]))
        batches.append((ids, rewards, when, bad))
    return name, parameters, batches


def refusal(call, *arguments, **columns):
    """Message of the error that the call raises, or None."""
    try:
        call(*arguments, **columns)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


@given(runs())
def test_it_works_or_is_refused_by_name(run):
    name, parameters, batches = run
    baseline = kvar.make_baseline(name, **parameters)
    for ids, rewards, step, bad in batches:
        columns = columns_of((len(ids), len(rewards[0])))
        before = baseline.state_dict()
        if bad is not None:
            messages = [refusal(call, ids, rewards, step, **columns) for call in (baseline.update, baseline.advantages)]
            # An earlier step is refused only by baselines that keep steps, and at 1e99 it may round to the same step.
            assert bad == "back" or all(messages), (bad, ids, rewards, step)
            for message in filter(None, messages):
                assert 10 < len(message) < 400
            if all(messages):
                np.testing.assert_equal(baseline.state_dict(), before)
            continue
        values = baseline.estimate(ids, rewards, step, **columns)
        np.testing.assert_equal(baseline.state_dict(), before)
        scored = np.array([[r is not None and not math.isnan(r) for r in row] for row in rewards])
        assert np.isfinite(values[scored]).all()
        advantages = baseline.advantages(ids, rewards, step, **columns)
        assert np.isfinite(advantages).all()
        np.testing.assert_array_equal(advantages[~scored], 0.0)
        kvar.make_baseline(name, **parameters).load_state_dict(baseline.state_dict())


@given(
    setting=st.sampled_from(SETTINGS),
    dtype=st.sampled_from(DTYPES),
    ones=st.lists(st.lists(st.booleans(), min_size=2, max_size=2), min_size=1, max_size=4),
)
def test_every_dtype_gives_the_same_numbers(setting, dtype, ones):
    name, parameters = setting
    ids, plain = list(range(len(ones))), np.array(ones, dtype=np.float64)
    rewards = torch.tensor(ones).to(dtype) if isinstance(dtype, torch.dtype) else plain.astype(dtype)
    columns = columns_of(plain.shape)
    input_columns = {key: torch.tensor(c) for key, c in columns.items()} if isinstance(dtype, torch.dtype) else columns
    exact, other = kvar.make_baseline(name, **parameters), kvar.make_baseline(name, **parameters)
    for step in range(3):
        wanted = exact.advantages(ids, plain, step, **columns)
        actual = other.advantages(ids, rewards, step, **input_columns)
        assert type(actual) is type(rewards)
        floating = dtype.is_floating_point if isinstance(dtype, torch.dtype) else np.issubdtype(dtype, np.floating)
        assert str(actual.dtype).endswith(str(rewards.dtype) if floating else "float64")
        actual = actual.double().numpy() if isinstance(actual, torch.Tensor) else actual.astype(np.float64)
        # The shortest format has 8 bits.
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=2**-8)
    np.testing.assert_equal(other.state_dict(), exact.state_dict())


@given(setting=st.sampled_from(SETTINGS), size=st.sampled_from([-20, -6, 6, 20]), seed=st.integers(0, 99))
def test_values_scale_with_the_rewards(setting, size, seed):
    name, parameters = setting
    # These have a fixed scale: success rates, or a prior at 1/2.
    if bounded(name) or name in {"discounted-beta", "adaptive"}:
        return
    rng, scale = np.random.default_rng(seed), 2.0**size
    plain, scaled = kvar.make_baseline(name, **parameters), kvar.make_baseline(name, **parameters)
    columns = {**columns_of((3, 2)), "true_value": np.zeros(3)}
    for step in range(6):
        rewards = rng.normal(size=(3, 2))
        expected = plain.estimate([0, 1, 2], rewards, step, **columns) * scale
        actual = scaled.estimate([0, 1, 2], rewards * scale, step, **columns)
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12 * scale)
        plain.update([0, 1, 2], rewards, step, **columns)
        scaled.update([0, 1, 2], rewards * scale, step, **columns)


def test_a_moment_and_an_age_between_visits():
    baseline = kvar.make_baseline("kalman")
    for step in (0, 1e-300, 1e-90, 1.0, 1e100):
        baseline.update([0], [[1.0, 0.0]], step)
        assert 0 <= baseline.estimate([0], [[1.0, 0.0]], step)[0, 0] <= 1


def test_a_refusal_is_short_whatever_the_name():
    baseline = kvar.make_baseline("kernel")
    for bad in ("x" * 1_000_000, 10**4000):
        with pytest.raises(ValueError, match="has an infinite reward at step 0") as error:
            baseline.update([bad], [math.inf], 0)
        assert len(str(error.value)) < 300


@pytest.mark.parametrize(("name", "parameter"), [(n, p) for n in NAMES for p in baseline_class(n).parameter_names()])
def test_a_parameter_works_or_is_refused_by_name(name, parameter, rng):
    for value in PARAMETERS + NO_PARAMETERS:
        message = refusal(lambda value=value: kvar.make_baseline(name, **{parameter: value}))
        if message is not None:
            assert parameter in message
            assert (str if isinstance(value, np.generic) else repr)(value)[:40] in message
            assert len(message) < 300
            continue
        assert not any(value is bad for bad in NO_PARAMETERS)
        baseline = kvar.make_baseline(name, **{parameter: value})
        columns = columns_of((3, 2))
        for step in (0, 1, 2, 1e9):
            rewards = rng.integers(0, 2, size=(3, 2))
            assert np.isfinite(baseline.estimate([0, 1, 2], rewards, step, **columns)).all()
            baseline.update([0, 1, 2], rewards, step, **columns)
        state = baseline.state_dict()
        assert type(state["parameters"][parameter]) in (int, float, str, bool)
        kvar.make_baseline(name, **{parameter: value}).load_state_dict(state)


@pytest.mark.parametrize(
    "ids", ["ab", {0, 1}, {0: 1, 1: 2}, 0, np.array(0), iter([0, 1])], ids=lambda ids: type(ids).__name__
)
def test_prompt_ids_come_one_a_row(ids):
    for baseline in map(kvar.make_baseline, ("kernel", "group-mean")):
        with pytest.raises(TypeError, match=r"prompt ids must be a list or an array .*, got"):
            baseline.update(ids, np.zeros((2, 2)), 0)
