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
    for name, advantage in [("group-mean", 0.0), ("leave-one-out", 0.7), ("batch-mean", 0.0), ("none", 0.7)]:
        assert kvar.make_baseline(name).advantages(["a"], [0.7], 0)[0] == pytest.approx(advantage)


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
        with pytest.raises(ValueError, match="step 4 is earlier than step 5"):
            call(["a"], [[1.0]], 4)
