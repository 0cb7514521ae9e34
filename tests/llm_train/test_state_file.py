"""States of baselines on disk."""

import numpy as np
import pytest

import kvar
from llm_train.state_file import load_state, save_state
from tests.kvar.registered import SETTINGS, experienced


@pytest.mark.parametrize(("name", "parameters"), SETTINGS)
def test_every_state_comes_back_to_the_last_bit(name, parameters, tmp_path):
    baseline, other = experienced(name, parameters), kvar.make_baseline(name, **parameters)
    other.load_state_dict(load_state(save_state(baseline.state_dict(), tmp_path / "state")))
    np.testing.assert_equal(other.state_dict(), baseline.state_dict())
