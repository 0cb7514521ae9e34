"""The command ``bandwidth`` from file to table and picture."""

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from kvar.commands.bandwidth import bandwidth_command, read_columns


@pytest.fixture
def run():
    app = typer.Typer()
    app.command("bandwidth")(bandwidth_command)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    step = np.arange(200.0)
    reward = (rng.random(200) < 0.2 + 0.6 * step / 200.0).astype(float)
    return pl.DataFrame({"step": step, "reward": reward, "prompt": [f"p{i % 5}" for i in range(200)]})


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_table_and_picture(run, table, tmp_path, suffix):
    path = tmp_path / f"rewards.{suffix}"
    {"csv": table.write_csv, "parquet": table.write_parquet, "jsonl": table.write_ndjson}[suffix](path)
    result = run(path, "--x", "step", "--y", "reward")
    assert result.exit_code == 0, result.output
    for method in ("rule-of-thumb", "plug-in", "loo-cv", "gcv", "aicc", "one-step-ahead", "lepski"):
        assert method in result.output
    assert (tmp_path / "rewards-bandwidth.png").read_bytes().startswith(b"\x89PNG")


def test_many_series_looking_back(run, table, tmp_path):
    path, picture = tmp_path / "rewards.csv", tmp_path / "picture.svg"
    table.write_csv(path)
    result = run(path, "--x", "step", "--y", "reward", "--group", "prompt", "--sided", "past", "--kernel", "triangular",
                 "--out", picture)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert picture.read_text().startswith("<?xml")


def test_rows_without_a_number_are_left_out_and_counted(run, table, tmp_path):
    path = tmp_path / "gaps.csv"
    path.write_text("x,y\n1,2\n,3\n4,\n5,NaN\n6,7\n")
    complete, n_dropped = read_columns(path, ["x", "y"])
    assert complete.rows() == [(1, 2.0), (6, 7.0)]
    assert n_dropped == 3
    with_gap = table.with_columns(pl.when(pl.col("step") == 7).then(None).otherwise(pl.col("reward")).alias("reward"))
    with_gap.write_csv(path)
    assert "1 rows without a finite step or reward are left out" in run(path, "--x", "step", "--y", "reward").output


def test_a_cell_that_is_no_number_is_left_out_and_counted(run, table, tmp_path):
    path = tmp_path / "words.csv"
    path.write_text("x,y\n1,2\n2,abc\n3, 4\n")
    complete, n_dropped = read_columns(path, ["x", "y"])
    assert complete.rows() == [(1, 2.0), (3, 4.0)]
    assert n_dropped == 1
    # Late ones too, where the rows before look like numbers.
    table.write_csv(path)
    with path.open("a") as file:
        file.write("200,abc,p0\n201,,p0\n")
    result = run(path, "--x", "step", "--y", "reward", "--group", "prompt")
    assert result.exit_code == 0, result.output
    assert "2 rows without a finite step or reward are left out" in result.output


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("words.csv", "x,y\n1,abc\n2,\n", "words.csv: none of its 2 rows has a number in x and in y"),
        ("empty.csv", "", "empty.csv cannot be read as a table of numbers: empty CSV"),
        ("broken.parquet", "PAR1", "broken.parquet cannot be read as a table of numbers: "),
        ("lists.jsonl", '{"x": 1, "y": {"a": 1}}\n', "lists.jsonl cannot be read as a table of numbers: "),
    ],
)
def test_a_table_without_numbers_is_named(run, tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    result = run(tmp_path / name)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--x", "time"], "no column time"),
        (["--x", "step", "--y", "reward", "--kernel", "gauss"], "unknown kernel"),
        (["--x", "step", "--y", "reward", "--draw", "magic"], "unknown method"),
    ],
)
def test_mistakes_are_named(run, table, tmp_path, words, message):
    path = tmp_path / "rewards.csv"
    table.write_csv(path)
    result = run(path, *words)
    assert result.exit_code == 2
    assert message in result.output


def test_another_kind_of_file_is_named(run, tmp_path):
    (tmp_path / "rewards.txt").write_text("")
    result = run(tmp_path / "rewards.txt")
    assert result.exit_code == 2
    assert "expected one of .csv" in result.output


@pytest.mark.parametrize("unit", ["ms", "us", "ns", "date", "duration"])
def test_dates_of_parquet_count_in_seconds(run, table, tmp_path, unit):
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 7, 18), eager=True)
    dates = days if unit == "date" else days.cast(pl.Datetime("us" if unit == "duration" else unit))
    path = tmp_path / "dates.parquet"
    table.with_columns(step=dates - dates[0] if unit == "duration" else dates).write_parquet(path)
    complete, n_dropped = read_columns(path, ["step", "reward"])
    np.testing.assert_array_equal(complete["step"] - complete["step"][0], 86_400.0 * np.arange(200))
    assert n_dropped == 0
    if unit == "ns":
        assert "bandwidths are in seconds" in run(path, "--x", "step", "--y", "reward").output
    result = run(path, "--x", "reward", "--y", "step")
    assert result.exit_code == 2
    assert "step holds dates" in result.output


def test_rows_without_a_group_are_counted_as_such(run, table, tmp_path):
    path = tmp_path / "gaps.csv"
    table.with_columns(pl.when(pl.col("step") < 3).then(None).otherwise(pl.col("prompt")).alias("prompt")).write_csv(
        path
    )
    result = run(path, "--x", "step", "--y", "reward", "--group", "prompt")
    assert "3 rows without a prompt are left out" in result.output
    assert "finite" not in result.output
    table.with_columns(prompt=pl.lit(None, pl.String)).write_csv(path)
    assert "none of its rows has a prompt" in run(path, "--x", "step", "--y", "reward", "--group", "prompt").output


def test_bounds_of_the_limits_drawn(run, table, tmp_path):
    path = tmp_path / "rewards.csv"
    table.with_columns(reward=0.5 * pl.col("reward")).write_csv(path)
    drawn = run(path, "--x", "step", "--y", "reward", "--bounds", "0", "1")
    assert drawn.exit_code == 0, drawn.output
    refused = run(path, "--x", "step", "--y", "reward", "--bounds", "0", "0.4")
    assert refused.exit_code == 2
    assert "0.5, lies outside the bounds 0 to 0.4" in refused.output
