"""Tables and columns of pandas, polars and pyarrow go in wherever logs and data do."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import kvar
from kvar.commands.audit import demo_path

try:
    import pyarrow as pa
except ImportError:  # no part of a plain installation
    pa = None

needs_pyarrow = pytest.mark.skipif(pa is None, reason="needs pyarrow")
X = np.linspace(0.0, 1.0, 60)
Y = np.sin(6.0 * X)


def small(n_steps=12):
    """A log with the names of some trainer, as columns."""
    step = np.repeat(np.arange(n_steps), 4)
    reward = (np.random.default_rng(0).random(step.size) < 0.5).astype(float)
    return {"step": step, "prompt_id": np.tile([3, 3, 8, 8], n_steps), "score": reward}


def of_pandas(columns):
    return pd.DataFrame({name: np.asarray(column) for name, column in columns.items()})


TABLES = {
    "polars": pl.DataFrame,
    "polars, lazy": pl.LazyFrame,
    "pandas": of_pandas,
    "pandas, a column as index": lambda columns: of_pandas(columns).set_index("step"),
    "pyarrow": lambda columns: pa.table(columns),
}
KINDS = [pytest.param(make, id=name, marks=needs_pyarrow if name == "pyarrow" else ()) for name, make in TABLES.items()]


@pytest.mark.parametrize("make", KINDS)
def test_a_table_is_read_as_its_file_is(make, tmp_path):
    columns = small()
    pl.DataFrame(columns).write_parquet(tmp_path / "log.parquet")
    expected, got = kvar.read_trace(tmp_path / "log.parquet"), kvar.read_trace(make(columns))
    assert got.columns.keys() == expected.columns.keys()
    for name, column in expected.columns.items():
        np.testing.assert_array_equal(got.columns[name], column)


@pytest.mark.parametrize("make", KINDS)
def test_what_takes_a_trace_takes_a_table(make, tmp_path):
    columns = small()
    trace = kvar.Trace.from_columns({"reward": columns["score"], **columns})
    table = make({"reward": columns["score"], "step": columns["step"], "prompt_id": columns["prompt_id"]})
    np.testing.assert_array_equal(kvar.replay(table, "kernel"), kvar.replay(trace, "kernel"))
    assert kvar.prompt_values(table).table.equals(kvar.prompt_values(trace).table)
    again = kvar.read_trace(kvar.write_trace(table, tmp_path / "run.parquet"))
    np.testing.assert_array_equal(again.reward, trace.reward)
    by_table = kvar.audit(table, ["kernel", "none"])
    assert by_table.table.equals(kvar.audit(trace, ["kernel", "none"]).table)
    assert "DataFrame" in by_table.source
    runs = kvar.audit_runs({"one": table, "two": trace}, baselines=["none"], n_jobs=1)
    assert runs.comparison.differences[0].interval.mean == 0


def test_columns_of_a_table_are_chosen_as_those_of_a_file():
    frame = pl.DataFrame(small()).with_columns(other=1.0 - pl.col("score"))
    assert kvar.audit(frame, ["none"], columns={"reward": "other"}).facts.reward_mean == frame["other"].mean()


def test_a_writer_takes_the_table_of_a_step(tmp_path):
    kvar.TraceWriter(tmp_path).write(3, pl.DataFrame({"prompt_id": ["a", "b"], "reward": [1.0, None]}))
    trace = kvar.read_trace(tmp_path)
    assert trace.step.tolist() == [3, 3]
    assert np.isnan(trace.reward).tolist() == [False, True]


@pytest.mark.parametrize(
    "call", [kvar.read_trace, kvar.audit, kvar.prompt_values, lambda it: kvar.replay(it, "kernel")]
)
@pytest.mark.parametrize("wrong", [3, [1, 2], {"step": [1]}, pd.Series([1.0]), pl.Series([1.0])], ids=type)
def test_what_is_no_log_is_refused_by_its_type(call, wrong):
    with pytest.raises(TypeError, match="DataFrame, got"):
        call(wrong)


def test_bad_cells_are_named_by_column_and_row():
    columns = small()
    bad = of_pandas(columns).assign(notes=[{"a", 1}] * 48)
    with pytest.raises((ValueError, ImportError), match="column 'notes' of the DataFrame"):
        kvar.read_trace(bad)
    with pytest.raises(ValueError, match=r"rows of the DataFrame cannot be used.*DataFrame:1"):
        kvar.read_trace(pl.DataFrame(columns).with_columns(score=pl.lit("good")))


SERIES = {
    "pandas": pd.Series,
    "pandas, nullable": lambda values: pd.Series(values, dtype=pd.Series(values).convert_dtypes().dtype),
    "pandas, another index": lambda values: pd.Series(values, index=range(len(values), 0, -1)),
    "polars": pl.Series,
    "pyarrow": lambda values: pa.array(values),
    "pyarrow, in chunks": lambda values: pa.chunked_array([values[:7], values[7:]]),
}
COLUMNS = [
    pytest.param(make, id=name, marks=needs_pyarrow if name.startswith("pyarrow") else ())
    for name, make in SERIES.items()
]


@pytest.mark.parametrize("make", COLUMNS)
def test_columns_are_data_of_a_regression(make):
    groups = np.repeat([1, 2], 30)
    plain = kvar.KernelRegressor(bandwidth=0.2).fit(X, Y, groups=groups)
    model = kvar.KernelRegressor(bandwidth=0.2).fit(make(X), make(Y), make(np.ones(60)), groups=make(groups))
    np.testing.assert_array_equal(model.predict(make(X), groups=make(groups)), plain.predict(X, groups))
    chosen = kvar.select_bandwidth(make(X), make(Y), groups=make(groups), sample_weight=make(np.ones(60)))
    assert chosen.bandwidth == kvar.select_bandwidth(X, Y, groups=groups).bandwidth


@pytest.mark.parametrize("make", COLUMNS)
@pytest.mark.parametrize(
    "ids", [["a", "b", "a", "b", "c", "a", "b", "c"], [1, 2, 1, 2, 3, 1, 2, 3]], ids=["text", "int"]
)
def test_columns_are_rollouts_of_a_step(make, ids):
    rewards = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    got = kvar.make_baseline("leave-one-out").advantages(make(ids), make(rewards), 0)
    np.testing.assert_array_equal(got, kvar.make_baseline("leave-one-out").advantages(ids, rewards, 0))


@pytest.mark.parametrize("make", [pd.Series, pl.Series])
def test_missing_cells_of_a_column_are_counted(make):
    with pytest.raises(ValueError, match="y contains NaN or infinity at 1 of 2 entries; leave"):
        kvar.KernelRegressor(bandwidth=1.0).fit([0.0, 1.0], make([1.0, None]))


def test_tables_come_out_as_polars_and_convert():
    table = kvar.prompt_values(demo_path()).table
    assert isinstance(table, pl.DataFrame)
    if pa is not None:
        assert isinstance(table.to_pandas(), pd.DataFrame)
