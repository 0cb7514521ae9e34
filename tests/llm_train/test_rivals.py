"""Baselines that only comparisons have, by hand."""

import numpy as np
import pytest

from kvar import make_baseline
from llm_train.studies import rivals  # noqa: F401  (registers them)

NAN = np.nan


def test_gpg_scales_the_distance_from_the_group_mean():
    rewards = np.array([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, NAN, 0.0], [0.0, 0.0, 0.0, 0.0]])
    found = make_baseline("gpg").advantages(["a", "b", "c"], rewards, 0)
    scale = 11 / 3  # scored rewards over those that are not 0
    distances = np.array([[3 / 4, -1 / 4, -1 / 4, -1 / 4], [1 / 3, 1 / 3, 0, -2 / 3], [0, 0, 0, 0]])
    assert found == pytest.approx(scale * distances)
    assert make_baseline("gpg").advantages(["a"], np.zeros((1, 4)), 0) == pytest.approx(np.zeros((1, 4)))


def test_a_fraction_of_the_mean_leaves_the_own_reward_out():
    found = make_baseline("fraction-of-mean", fraction=0.25).estimate(["a", "b", "c"], [1.0, 0.0, NAN], 0)
    assert found[:2] == pytest.approx([0.0, 0.25])


def test_a_weighted_mean_goes_on_from_its_state():
    first, second = make_baseline("weighted-mean"), make_baseline("weighted-mean")
    first.update(["a", "b"], [1.0, 0.0], 0, score_norm=[2.0, 1.0])
    second.load_state_dict(first.state_dict())
    assert second.estimate(["a"], [0.0], 1, score_norm=[1.0]) == pytest.approx([0.8])
