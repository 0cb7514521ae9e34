"""What a log does not define is null in JSON, NaN in a table, left out of key figures and a dash in text; never 0."""

import json

import numpy as np
import pytest

import kvar


@pytest.fixture(scope="module")
def report():
    """Prompts with one rollout each, of which none comes back."""
    reward = np.random.default_rng(0).integers(0, 2, 80).astype(float)
    trace = kvar.Trace.from_columns({"step": np.repeat(np.arange(10), 8), "prompt_id": np.arange(80), "reward": reward})
    return kvar.audit(trace, ["group-mean", "kernel", "running-mean"])


def test_json_has_null(report):
    content = report.to_dict()
    json.dumps(content, allow_nan=False)
    (row,) = (row for row in content["table"] if row["baseline"] == "group-mean")
    for score in ("one_step_error", "above_best", "estimated_value_mse", "p_value", "p_value_adjusted"):
        assert row[score] is None
    facts = content["facts"]
    for name in ("zero_variance_groups", "wasted_rollouts", "noise", "gap", "move", "trend", "jump"):
        assert facts[name] is None
    # All windows are empty, so that none is best.
    assert content["windows"] is content["group_sizes"] is content["effective_sample_size"] is None


def test_tables_have_nan_and_key_figures_nothing(report):
    row = report.table.filter(baseline="group-mean").row(0, named=True)
    assert np.isnan(row["one_step_error"])
    assert kvar.prompt_values(kvar.Trace.from_columns(_visit())).table["slope"].is_nan().all()
    assert not {"window", "value_mse", "wasted_rollouts", "group_size_advised"} & report.key_figures.keys()


def test_text_has_a_dash(report):
    line = next(line for line in repr(report).splitlines() if line.startswith("group-mean"))
    assert line.split() == ["group-mean", "-", "-", "-"]


def test_several_runs_say_it_too():
    runs = kvar.audit_runs({"one": kvar.Trace.from_columns(_visit())}, baselines=["none"], n_jobs=1)
    (record,) = runs.to_dict()["runs"]
    assert record["wasted_rollouts"] is record["window"] is record["group_size_advised"] is None
    assert repr(runs).splitlines()[2].split()[-1] == "-"


def _visit():
    return {"step": [0, 0], "prompt_id": ["a", "b"], "reward": [1.0, 0.0]}
