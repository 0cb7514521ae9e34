"""A baseline's state is plain data; a wrong or damaged state is refused and changes nothing."""

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvar
from tests.kvar import state_mutations
from tests.kvar.registered import SETTINGS, columns_of, experienced, features_of

IDS = [f"{name}-{parameters}" for name, parameters in SETTINGS]
STATES = [experienced(name, parameters).state_dict() for name, parameters in SETTINGS]


def leaves(value, path=()):
    """Every place in nested dictionaries and lists, containers included."""
    yield path, value
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from leaves(entry, (*path, key))
    elif isinstance(value, list):
        for k, entry in enumerate(value):
            yield from leaves(entry, (*path, k))


def put(state, path, value):
    """A copy with another value in one place."""
    if not path:
        return value
    changed = copy.deepcopy(state)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


def values_of(baseline):
    ids, rewards = ["a", 0, "new"], np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    return baseline.estimate(ids, rewards, 1e100, **columns_of(rewards.shape), **features_of(ids))


@pytest.mark.parametrize("state", STATES, ids=IDS)
def test_it_is_plain_data_with_a_version(state):
    assert type(state["version"]) is int
    assert state["name"] in kvar.baseline_names()
    for path, value in leaves(state):
        if type(value) is np.ndarray:
            assert value.dtype in (np.float64, np.int64), path
        else:
            assert type(value) in (dict, list, str, int, float, bool), (path, type(value))
        assert all(type(key) is str for key in value) if type(value) is dict else True


@pytest.mark.parametrize(("name", "parameters"), SETTINGS, ids=IDS)
@pytest.mark.parametrize("n_steps", [0, 5])
def test_it_goes_through_json_to_the_last_bit(name, parameters, n_steps):
    baseline, other = experienced(name, parameters, n_steps), kvar.make_baseline(name, **parameters)
    other.load_state_dict(json.loads(json.dumps(baseline.state_dict(), default=np.ndarray.tolist)))
    np.testing.assert_equal(other.state_dict(), baseline.state_dict())


def test_parameters_of_numpy_become_plain():
    baseline = kvar.make_baseline("kernel", bandwidth=np.float32(3), degree=np.int64(1))
    assert {type(value) for value in baseline.state_dict()["parameters"].values()} <= {float, str, int, bool}
    kvar.make_baseline("kernel", bandwidth=3, degree=1).load_state_dict(baseline.state_dict())


@pytest.mark.parametrize("state", STATES, ids=IDS)
def test_the_state_of_another_is_refused(state):
    for name, parameters in SETTINGS:
        baseline = kvar.make_baseline(name, **parameters)
        if (name, baseline.parameters) != (state["name"], state["parameters"]):
            with pytest.raises(ValueError, match=r"this state is of (name|parameters) .* but the baseline is of"):
                baseline.load_state_dict(state)


@pytest.mark.parametrize("version", [0, 2, "1", 1.0, True, None])
def test_another_version_is_refused_by_its_number(version):
    baseline = experienced("kernel", {})
    with pytest.raises(ValueError, match=rf"this state is of version {version!r}, but the baseline is of version 1"):
        baseline.load_state_dict({**baseline.state_dict(), "version": version})


WRONG = [None, "x", b"x", True, -1, 1.5, math.nan, math.inf, -math.inf, 1e300, 10**400, [], {}, [[1.0], [2.0, 3.0]]]
WRONG += [{"a": 1}, ["a", "a"], [1, True], [None], np.zeros(0), np.zeros((2, 2)), np.array(["x"]), np.array([None])]
WRONG += [np.array(math.nan), np.array([1j])]
CELLS = [math.nan, math.inf, -math.inf, -1, 0, 0.5, 7, 1e-320, 2.0**53, 1e30, 1e99, 1e150, 1e308, -1e99, -1e308]


@st.composite
def mutations(draw):
    """A state of some baseline with one place in it changed."""
    k = draw(st.integers(0, len(STATES) - 1))
    state = STATES[k]
    path, value = draw(st.sampled_from(list(leaves(state))))
    ways = ["replace", "transplant"]
    if isinstance(value, (dict, list)):
        ways += ["drop", "more"]
    if isinstance(value, np.ndarray):
        ways += ["cell", "shape", "dtype", "shuffle"] if value.size else ["shape"]
    way = draw(st.sampled_from(ways))
    if way == "replace":
        value = draw(st.sampled_from(WRONG))
    elif way == "transplant":
        other = STATES[draw(st.integers(0, len(STATES) - 1))]
        value = draw(st.sampled_from(list(leaves(other))))[1]
    elif way == "drop" and value:
        value = copy.copy(value)
        value.pop(draw(st.sampled_from(sorted(value))) if isinstance(value, dict) else 0)
    elif way == "more":
        value = {**value, "more": 1} if isinstance(value, dict) else [*value, *value[:1], "more"]
    elif way == "cell":
        value = value.astype(np.float64)
        value.flat[draw(st.integers(0, value.size - 1))] = draw(st.sampled_from(CELLS))
    elif way == "shape":
        value = draw(st.sampled_from([value[..., None], value[:-1], value.T[:-1].T, value.ravel(), value[None]]))
    elif way == "dtype":
        value = value.astype(draw(st.sampled_from([str, object, complex, np.float16, bool])))
    elif way == "shuffle":
        value = value[::-1].copy()
    return k, put(state, path, value)


@given(mutations())
def test_a_damaged_state_is_refused_or_harmless(mutation):
    k, state = mutation
    name, parameters = SETTINGS[k]
    baseline = experienced(name, parameters, n_steps=2)
    before = baseline.state_dict()
    refusal = None
    try:
        baseline.load_state_dict(state)
    except ValueError as error:
        refusal = str(error)
    if refusal is not None:
        assert len(refusal.split()) > 3
        np.testing.assert_equal(baseline.state_dict(), before)
    # A state that is accepted is one that some run might have: it is kept as it is, and the baseline works with it.
    assert np.isfinite(values_of(baseline)).all()
    continued = baseline.state_dict()
    baseline.update(["a"], [[1.0]], 1e100, **columns_of((1, 1)), **features_of(["a"]))
    assert np.isfinite(values_of(baseline)).all()
    kvar.make_baseline(name, **parameters).load_state_dict(continued)


def test_states_damaged_in_several_places_are_refused_or_harmless():
    assert {state_mutations.trial(seed) for seed in range(150)} == {"loaded", "refused"}


@pytest.mark.parametrize("k", range(len(STATES)), ids=IDS)
def test_nothing_that_is_not_a_number_gets_in(k):
    name, parameters = SETTINGS[k]
    baseline = kvar.make_baseline(name, **parameters)
    before = baseline.state_dict()
    for path, value in leaves(STATES[k]):
        # Empty places in the windows of a buffer are NaN.
        if type(value) is float or (isinstance(value, np.ndarray) and value.size and path[-1] != "rewards"):
            damaged = math.nan if type(value) is float else np.where(np.arange(value.size) < 1, math.nan, value.ravel())
            with pytest.raises(ValueError, match=r"must be|is of parameters"):
                baseline.load_state_dict(put(STATES[k], path, np.reshape(damaged, np.shape(value))))
    np.testing.assert_equal(baseline.state_dict(), before)
