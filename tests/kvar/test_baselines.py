"""Means by hand, and bad input."""

import math

import numpy as np
import pytest
import torch

import kvar

NAN = math.nan

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


def test_a_group_of_one():
    for name, advantage in [("batch-mean", 0.0), ("none", 0.7)]:
        assert kvar.make_baseline(name).advantages(["a"], [0.7], 0)[0] == pytest.approx(advantage)
    with pytest.warns(UserWarning, match=r"leave-one-out.* 1 rollout .*adaptive"):
        assert kvar.make_baseline("leave-one-out").advantages(["a"], [0.7], 0)[0] == pytest.approx(0.7)
    for name, columns in [("group-mean", {}), ("krpo", {}), ("opo", {"completion_length": [3.0]})]:
        with pytest.raises(ValueError, match=rf"{name}.* 1 rollout .*adaptive"):
            kvar.make_baseline(name).advantages(["a"], [0.7], 0, **columns)


@pytest.mark.parametrize(
    ("alias", "name"), [("GRPO", "group-mean"), ("rloo", "leave-one-out"), ("reinforce++", "batch-mean")]
)
def test_a_method_stands_for_its_baseline(alias, name):
    baseline = kvar.make_baseline(alias)
    assert baseline.state_dict()["name"] == name
    kvar.make_baseline(name).load_state_dict(baseline.state_dict())


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("kernle", {}, "unknown baseline 'kernle'; choose one of .* did you mean 'kernel'"),
        ("kernel", {"window": 3}, "takes bandwidth, kernel, degree, clock, drift; got 'window'"),
        ("none", {"window": 3}, "takes no parameters; got 'window'"),
        *[("kernel", {"bandwidth": wrong}, rf"bandwidth must be .* got {wrong}") for wrong in (0, -1, True)],
        ("kernel", {"degree": 2}, "degree must be one of .* got 2"),
        ("kernel", {"clock": "hours"}, "clock must be one of .* got 'hours'"),
        ("kernel", {"degree": 1, "drift": True}, "drift=True .*degree=1"),
        ("kernel", {"kernel": "box"}, "kernel"),
    ],
)
def test_a_wrong_name_or_parameter_is_named(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        kvar.make_baseline(name, **parameters)


@pytest.mark.parametrize(
    ("ids", "rewards", "step", "error", "message"),
    [
        (["a", "b"], [[1.0]], 0, ValueError, r"rewards must have shape \(2, G\)"),
        (["a", "b"], [[1.0], [math.inf]], 3, ValueError, "prompt 'b' has an infinite reward at step 3; .*NaN"),
        ([1.5], [[1.0]], 0, TypeError, "integers or strings, got 1.5"),
        ([True], [[1.0]], 0, TypeError, "integers or strings, got True"),
        (["a"], [["good"]], 0, TypeError, "rewards must hold real numbers"),
        (np.arange(2), torch.zeros(2, 1), 0, TypeError, "prompt_ids from numpy, rewards from torch"),
        (["a"], [[1.0]], NAN, ValueError, "step must be a finite number .* got nan"),
        (["a"], [[1.0]], 4, ValueError, "step 4 is earlier than step 5"),
    ],
)
def test_wrong_input_is_named(ids, rewards, step, error, message):
    baseline = kvar.make_baseline("kernel")
    baseline.update(["a"], [[1.0]], 5)
    for call in (baseline.estimate, baseline.update):
        with pytest.raises(error, match=message):
            call(ids, rewards, step)


def test_a_missing_or_wrong_column_is_named():
    oracle = kvar.make_baseline("oracle")
    with pytest.raises(ValueError, match="needs true_value"):
        oracle.estimate(["a"], [[1.0]], 0)
    with pytest.raises(ValueError, match="column 'true_value' must have shape"):
        oracle.estimate(["a"], [[1.0]], 0, true_value=[1.0, 2.0])
