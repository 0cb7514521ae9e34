"""Traces on disk and back, runs that are interrupted and resumed, and errors that name what is wrong."""

import numpy as np
import polars as pl
import pytest

import kvar
from kvar.utils.atomic_files import TEMPORARY_SUFFIX, atomic_write


def columns(n=6, prompts=("a", "b")):
    return {
        "step": np.repeat(np.arange(n // 2), 2),
        "prompt_id": [prompts[k % 2] for k in range(n)],
        "reward": np.linspace(0, 1, n),
        "true_value": np.linspace(1, 2, n),
        "note": [f"n{k}" for k in range(n)],
    }


@pytest.mark.parametrize("prompts", [("a", "ü😀"), (3, -(2**63))])
def test_there_and_back(tmp_path, prompts):
    trace = kvar.Trace.from_columns(columns(prompts=prompts))
    back = kvar.read_trace(kvar.write_trace(trace, tmp_path / "deep" / "trace.parquet"))
    for name, column in trace.columns.items():
        assert back.columns[name].tolist() == column.tolist()


def test_rollouts_are_numbered_in_row_order():
    trace = kvar.Trace.from_columns(
        {"step": [0, 0, 0, 1, 0], "prompt_id": ["a", "b", "a", "a", "a"], "reward": [0.0] * 5}
    )
    assert trace.rollout.tolist() == [0, 0, 1, 0, 2]


def test_steps_of_any_integer_type_run_backwards_too():
    columns = {"step": np.array([3, 1, 2], dtype=np.uint32), "prompt_id": ["a", "b", "a"], "reward": [0.0, 1.0, 1.0]}
    trace = kvar.Trace.from_columns(columns)
    assert trace.step.dtype == np.int64
    np.testing.assert_array_equal(kvar.replay(trace, "running-mean")[0], 1.0)


def test_a_missing_reward_is_nan(tmp_path):
    pl.DataFrame({"step": [0, 0], "prompt_id": [1, 1], "reward": [None, 1.0]}).write_parquet(tmp_path / "t.parquet")
    assert np.isnan(kvar.read_trace(tmp_path / "t.parquet").reward).tolist() == [True, False]


def test_a_run_is_readable_step_by_step(tmp_path):
    writer = kvar.TraceWriter(tmp_path)
    for step in (1, 2, 10):
        writer.write(step, {"prompt_id": ["a", "a"], "reward": [0.0, float(step)]})
        assert kvar.read_trace(tmp_path).step.max() == step
    assert kvar.read_trace(tmp_path).reward.tolist() == [0.0, 1.0, 0.0, 2.0, 0.0, 10.0]
    assert not [path for path in tmp_path.iterdir() if path.suffix == TEMPORARY_SUFFIX]


def test_a_run_is_resumed_after_a_saved_step(tmp_path):
    writer = kvar.TraceWriter(tmp_path)
    for step in range(1, 6):
        writer.write(step, {"prompt_id": [0], "reward": [0.0]})
    with pytest.raises(FileExistsError, match=r"already holds 5 steps .*choose another trace_dir, delete"):
        kvar.TraceWriter(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"cannot resume after step 8.*choose another folder"):
        kvar.TraceWriter(tmp_path, resume_from=8)
    kvar.TraceWriter(tmp_path, resume_from=3).write(4, {"prompt_id": [0], "reward": [1.0]})
    trace = kvar.read_trace(tmp_path)
    assert trace.step.tolist() == [1, 2, 3, 4]
    assert trace.reward.tolist() == [0.0, 0.0, 0.0, 1.0]
    kvar.TraceWriter(tmp_path, resume_from=1)
    with pytest.raises(FileExistsError, match=r"already holds 1 step of .*resume the run from its checkpoint"):
        kvar.TraceWriter(tmp_path)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    def interrupted():
        with atomic_write(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert target.read_text() == "old"


@pytest.mark.parametrize(
    ("column", "wrong", "message"),
    [
        ("reward", [0.0], "one-dimensional and of one length"),
        ("reward", ["x"] * 6, "'reward' must hold real numbers"),
        ("reward", [0, 0, -1e120, 0, 0, 0], r"row 2 has the reward -1e\+120; .*NaN"),
        ("reward", [0, np.inf, 0, 0, 0, 0], "row 1 has an infinite reward; .*NaN"),
        ("step", [np.nan] * 6, "'step' must hold finite numbers .*nan"),
        ("step", [1e120] * 6, r"'step' must hold finite numbers .*1e\+120"),
        ("step", np.array([np.inf] * 6, dtype=np.float32), "'step' must hold finite numbers .*inf"),
        ("step", ["1"] * 6, "'step' must hold finite numbers .*<U1"),
        (
            "step",
            np.array([2**63] * 6, dtype=np.uint64),
            "'step' must hold integers of 64 bits, got 9223372036854775808",
        ),
        ("prompt_id", [0.5] * 6, "'prompt_id' must hold integers or strings, got float64"),
        ("prompt_id", ["a", None] * 3, "'prompt_id' must hold integers or strings, got None"),
        ("prompt_id", [1, "1"] * 3, "integers or strings, not both; convert"),
        ("prompt_id", (1, "1") * 3, "integers or strings, not both; convert"),
        ("prompt_id", np.array([1, "1"] * 3, dtype=object), "integers or strings, not both; convert"),
        ("rollout", [0.5] * 6, "'rollout' must hold integers .*float64"),
    ],
)
def test_a_wrong_column_is_named(column, wrong, message):
    with pytest.raises(ValueError, match=message):
        kvar.Trace.from_columns({**columns(), column: wrong})


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="missing reward among step, prompt_id"):
        kvar.Trace.from_columns({"step": [0], "prompt_id": [0]})


def test_a_path_or_a_file_that_is_no_trace_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="No file or folder"):
        kvar.read_trace(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="No rollout log"):
        kvar.read_trace(tmp_path)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ValueError, match="not a readable Parquet file"):
        kvar.read_trace(tmp_path / "broken.parquet")
    with pytest.raises(ValueError, match="unknown trace format 'pickle'"):
        kvar.read_trace(tmp_path, format="pickle")
