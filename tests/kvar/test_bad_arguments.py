"""Arguments of the other public functions are accepted, or refused by name."""

import math

import numpy as np
import pytest
import torch

import kvar
from kvar.variance import ScoreMoments, gradient_variance

X = np.linspace(0, 1, 20)
COLUMNS = {"step": [0, 0, 1, 1], "prompt_id": [3, 3, 3, 3], "reward": [0.0, 1.0, 1.0, 0.0]}
NO_COUNTS = [0, -1, 2.5, 2.0, True, math.nan, "2", None, np.array(2)]


def regress(**parameters):
    return kvar.KernelRegressor(**parameters).fit(X, X**2)


def select(**parameters):
    return kvar.select_bandwidth(X, X**2, method="loo-cv", **parameters)


@pytest.mark.parametrize(
    ("call", "name", "wrong"),
    [
        (regress, "bandwidth", [0, -1.0, True, "ten", None, math.nan, math.inf, 10**400, np.array([1.0, 2.0])]),
        (regress, "degree", [3, True, 1.5, "1", None, np.array([0, 1])]),
        (regress, "sided", ["left", None, True, np.array(["two"])]),
        (regress, "kernel", ["box", None, 3, ["triangular"]]),
        (select, "grid", [0.0, "ten", [], [0.1, -0.1], [math.nan], [10**400], [True], 0.1]),
        (select, "degree", [3, True, None]),
    ],
)
def test_a_parameter_of_regression_is_refused_by_name(call, name, wrong):
    for value in wrong:
        with pytest.raises(ValueError, match=name) as refused:
            call(**{name: value})
        assert len(str(refused.value)) < 300


@pytest.mark.parametrize("bad", [["a"] * 20, [10**400] * 20, [math.inf] * 20, [None] * 20, X + 1j, X[:, None, None]])
def test_data_of_regression_are_refused_by_name(bad):
    for name, data in (("x", (bad, X)), ("y", (X, bad))):
        with pytest.raises(ValueError, match=rf"\b{name}\b"):
            kvar.KernelRegressor().fit(*data)


def test_a_level_lies_between_0_and_1():
    for level in (0, 1, -0.5, math.nan, True, "0.9"):
        with pytest.raises(ValueError, match="level must lie between 0 and 1, got"):
            regress().confidence_band(X, level=level)


def test_counts_are_whole_numbers():
    columns = {**COLUMNS, "score_norm": [1.0, 2.0, 1.0, 2.0], "true_value": [0.5] * 4}
    variance = gradient_variance(kvar.Trace.from_columns(columns), "none")
    moments = ScoreMoments(np.ones(2), np.zeros(2), np.zeros(2), np.zeros(2))
    assert variance.mse(np.int64(1), 2) > 0
    calls = {
        "n_prompts": lambda value: variance.mse(value, 2),
        "group_size": lambda value: variance.oracle_gap(value),
        "group_size must be a whole number from 2": lambda value: moments.leave_one_out_part(np.ones(2), value),
    }
    for name, call in calls.items():
        for value in NO_COUNTS:
            with pytest.raises(ValueError, match=name) as refused:
                call(value)
            assert repr(value) in str(refused.value)


def test_steps_of_a_recorded_run_are_whole_numbers(tmp_path):
    writer = kvar.TraceWriter(tmp_path)
    columns = {"prompt_id": [1], "reward": [0.5]}
    for step in (-1, 10**9, 2.5, 3.0, True, math.nan, "3", None):
        with pytest.raises(ValueError, match="a recorded step must be a whole number from 0 to 999,999,999, got"):
            writer.write(step, columns)
    for step in (2.5, 3.0, True, "3", -1):
        with pytest.raises(ValueError, match="resume_from must be a whole number"):
            kvar.TraceWriter(tmp_path, resume_from=step)
    with pytest.raises(ValueError, match="step 4; leave the column 'step' out"):
        writer.write(4, {**columns, "step": [5]})
    for missing in columns:
        with pytest.raises(ValueError, match=f"missing {missing}"):
            writer.write(4, {name: column for name, column in columns.items() if name != missing})
    with pytest.raises(ValueError, match="one-dimensional"):
        writer.write(4, {**columns, "reward": 0.5})
    with pytest.raises(ValueError, match="column 'note' holds objects"):
        writer.write(4, {**columns, "note": [object()]})
    writer.write(np.int64(4), columns)
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["step-000000004.parquet"]


@pytest.mark.parametrize("large", [2**63, 2**64, 2**100, -(2**63) - 1])
def test_a_trace_does_not_change_a_large_prompt_id(large, tmp_path):
    # NumPy and Parquet would convert it to another integer, or to a float.
    for ids in ([large], [large, -1], np.array([large, 5], dtype=object)):
        with pytest.raises(ValueError, match=f"integers of 64 bits or strings, got {large}; convert them to strings"):
            kvar.Trace.from_columns({"step": [0] * len(ids), "prompt_id": ids, "reward": [0.0] * len(ids)})
    ids = np.array([2**63 - 1, 7], dtype=np.uint64)
    trace = kvar.Trace.from_columns({"step": [0, 0], "prompt_id": ids, "reward": [0.0, 1.0]})
    assert kvar.read_trace(kvar.write_trace(trace, tmp_path / "t.parquet")).prompt_id.tolist() == [2**63 - 1, 7]


@pytest.mark.parametrize("bad", [["1"], [1j], [np.datetime64("2026-01-01")], [[1.0]], [{}], [10**400]])
def test_rewards_of_a_trace_are_real_numbers(bad):
    with pytest.raises(ValueError, match=r"reward|one-dimensional"):
        kvar.Trace.from_columns({"step": [0], "prompt_id": [0], "reward": bad})


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        (torch.tensor([0.5, 1.0], dtype=torch.bfloat16), [0.5, 1.0]),
        (np.ma.array([0.5, 1.0], mask=[False, True]), [0.5, math.nan]),
        ([True, None], [1.0, math.nan]),
        (np.array([1, 0], dtype=np.int8), [1.0, 0.0]),
    ],
)
def test_rewards_of_a_trace_may_come_from_anywhere(rewards, expected):
    trace = kvar.Trace.from_columns({"step": [0, 0], "prompt_id": [0, 0], "reward": rewards})
    np.testing.assert_array_equal(trace.reward, expected)


def test_an_audit_names_what_it_refuses():
    trace = kvar.Trace.from_columns(COLUMNS)
    assert [row.baseline for row in kvar.audit(trace, "none").rows] == ["none"]
    assert [row.baseline for row in kvar.audit(trace, kvar.make_baseline("none")).rows] == ["none"]
    with pytest.raises(ValueError, match="the list of baselines is empty"):
        kvar.audit(trace, [])
    for n_jobs in (0, 2.5, True, "two", math.nan):
        with pytest.raises(ValueError, match="n_jobs must be a number of processes"):
            kvar.audit(trace, "none", n_jobs=n_jobs)
    with pytest.raises(ValueError, match="baseline 'oracle' needs the column 'true_value' in this trace"):
        kvar.replay(trace, "oracle")
    with pytest.raises(TypeError, match=r"trace must be a Trace or a DataFrame, got 'run'; .*kvar.read_trace\(path\)"):
        kvar.replay("run", "none")
