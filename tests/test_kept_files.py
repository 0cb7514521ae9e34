"""What earlier versions wrote still loads: states of baselines, and traces."""

import json
from pathlib import Path

import numpy as np
import pytest

import kvar
from tests.kvar.registered import columns_of, features_of

KEPT = Path(__file__).parent / "kept"
STATES = json.loads((KEPT / "states.json").read_text())


@pytest.mark.parametrize("entry", STATES, ids=lambda entry: f"{entry['state']['name']}-{entry['state']['parameters']}")
def test_a_kept_state_gives_the_values_that_it_gave(entry):
    state = entry["state"]
    baseline = kvar.make_baseline(state["name"], **state["parameters"])
    baseline.load_state_dict(state)
    ids, rewards = ["a", 0, "new"], np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    columns = {**columns_of(rewards.shape), "score_norm": np.array([[1.0, 2.0], [3.0, 0.5], [1.0, 1.0]])}
    values = baseline.estimate(ids, rewards, 7, **columns, **features_of(ids))
    np.testing.assert_allclose(values, entry["values"], rtol=1e-12, atol=1e-12)
    np.testing.assert_equal(json.loads(json.dumps(baseline.state_dict(), default=np.ndarray.tolist)), state)


def test_a_kept_trace_reads():
    trace = kvar.read_trace(KEPT / "trace")
    assert len(trace) == 24
    assert trace.prompt_id.dtype == np.int64
    assert np.unique(trace.prompt_id).size == 12
    assert set(trace.extras) == {"true_value"}
    assert set(trace.reward.tolist()) == {0.0, 1.0}
