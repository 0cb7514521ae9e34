"""Files that lie in wait: nothing is counted twice or misread, one bad file stops no folder, and work is bounded."""

import gzip
import json
import os
import re
import socket

import numpy as np
import polars as pl
import pytest
import zstandard
from typer.testing import CliRunner

import kvar
from kvar.commands.main import _app
from kvar.readers import csv_file, json_lines_file, lines, parquet_file, read_log
from kvar.rollouts.prompt_ids import prompt_key
from tests.kvar.test_readers import ROWS, csv, jsonl, parquet, same

IDS = [2**60 + k for k in range(16)]


def table(ids, **columns):
    return pl.DataFrame({"step": [k // len(IDS) for k in range(len(ids))], "prompt_id": ids, "reward": 0.5, **columns})


# --- ids stay exact -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [{}, {"prompt_id": "prompt"}], ids=["kvar", "table"])
@pytest.mark.parametrize("gap", [None, 0, 300])
def test_a_null_among_integers_changes_no_other_id(tmp_path, gap, names, monkeypatch):
    monkeypatch.setattr(parquet_file, "_FIRST_SLICE", 7)
    ids = IDS * 20
    frame = table([None if k == gap else i for k, i in enumerate(ids)])
    frame.rename(names).write_parquet(tmp_path / "log.parquet")
    log = read_log(tmp_path / "log.parquet")
    assert log.trace.prompt_id.dtype == np.int64
    assert log.trace.prompt_id.tolist() == [i for k, i in enumerate(ids) if k != gap]
    assert log.notes.n_bad == (gap is not None)


@pytest.mark.parametrize("kind", [getattr(pl, name) for name in ("UInt64", "Int128") if hasattr(pl, name)])
def test_integers_beyond_64_bits_keep_one_id_in_every_piece(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(parquet_file, "_FIRST_SLICE", 5)
    ids = [*IDS, 2**63 + 1, 2**63 + 2] * 3
    ids[20] = None
    frame = table(pl.Series(ids, dtype=kind))
    frame.rename({"prompt_id": "prompt"}).write_parquet(tmp_path / "log.parquet")
    found = read_log(tmp_path / "log.parquet").trace.prompt_id.tolist()
    assert found == [i if i < 2**63 else prompt_key(str(i)) for i in ids if i is not None]


@pytest.mark.parametrize(("kind", "first"), [(pl.Float64, 2.0**53), (pl.Float32, 2.0**24)])
def test_floats_that_stand_for_several_integers_are_no_ids(tmp_path, kind, first):
    ids = [first - 1, first, first + 2, -first, 5.0]
    for name, frame in {"prompt_id": table(ids), "prompt": table(ids).rename({"prompt_id": "prompt"})}.items():
        frame.with_columns(pl.col(name).cast(kind)).write_parquet(tmp_path / "log.parquet")
        log = read_log(tmp_path / "log.parquet", max_bad=1.0)
        assert log.trace.prompt_id.tolist() == [int(first) - 1, 5]
        assert "stands for several integers" in " ".join(log.notes.rejections())
        with pytest.raises(ValueError, match="3 of 5 rows"):
            read_log(tmp_path / "log.parquet")


# --- a file is read once ------------------------------------------------------------------------------------------


def test_links_to_a_file_do_not_count_its_rows_again(tmp_path):
    file = jsonl(tmp_path / "run-1.jsonl")
    (tmp_path / "latest.jsonl").symlink_to("run-1.jsonl")
    os.link(file, tmp_path / "same-9.jsonl")
    for place in (tmp_path, str(tmp_path / "*.jsonl")):
        log = read_log(place)
        same(log.trace)
        assert log.notes.used == [file]
        assert "2 further names of the same files (first latest.jsonl)" in " ".join(log.notes.sentences())
    # A link alone is a name like any other.
    assert len(read_log(tmp_path / "latest.jsonl").trace) == len(ROWS)


def test_a_folder_inside_itself_is_read_once(tmp_path):
    (tmp_path / "c").mkdir()
    file = jsonl(tmp_path / "c" / "run.jsonl")
    (tmp_path / "c" / "loop").symlink_to("..")
    for place in (tmp_path, str(tmp_path / "**/*.jsonl")):
        log = read_log(place)
        same(log.trace)
        assert log.notes.used == [file]


# --- one bad file -------------------------------------------------------------------------------------------------


def test_a_folder_with_every_kind_of_bad_file(tmp_path):
    jsonl(tmp_path / "run.jsonl")
    (tmp_path / "long.txt").write_bytes(b"a" * (2**22 + 1))
    (tmp_path / "mac.csv").write_bytes(b"step,prompt,reward\r1,p,1\r2,p,0\r")
    (tmp_path / "nul.csv").write_bytes(b"step,prompt,reward\n1,\0,1\n1,p,2\n")
    (tmp_path / "hollow.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(b""))
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "nowhere.jsonl").symlink_to("missing")
    (tmp_path / "itself.jsonl").symlink_to("itself.jsonl")
    pl.DataFrame({"x": [1, 2]}).write_parquet(tmp_path / "other.parquet")
    log = read_log(tmp_path, max_bad=0.5)
    refused = " ".join(log.notes.omissions())
    for words in (
        "long.txt is left out",
        "mac.csv is left out: its lines end with a carriage return",
        "other.parquet is",
    ):
        assert words in refused
    assert {file.name for file in log.notes.used} == {"nul.csv", "run.jsonl"}
    assert len(log.trace) == len(ROWS) + 2


@pytest.mark.parametrize("write", [jsonl, csv, parquet])
def test_a_file_that_vanishes_leaves_the_others(tmp_path, write, monkeypatch):
    rows = [[{**row, "step": row["step"] + 3 * k} for row in ROWS] for k in range(3)]
    files = [write(tmp_path / f"log-{k}.{write.__name__}", rows[k]) for k in range(3)]
    opened = json_lines_file.JsonLinesFile if write is jsonl else csv_file.CsvFile
    opened = parquet_file.ParquetFile if write is parquet else opened
    begin = opened.tables

    def vanish(self, *arguments):
        files[1].unlink(missing_ok=True)
        return begin(self, *arguments)

    monkeypatch.setattr(opened, "tables", vanish)
    log = read_log(tmp_path)
    assert len(log.trace) == 2 * len(ROWS)
    assert list(log.notes.refused) == [files[1]]


@pytest.mark.parametrize("write", [jsonl, csv, parquet])
@pytest.mark.parametrize("name", ["seed=[1]", "a*b?", "{x}", "~", "caf\udce9", "x\x1b[2J", "é ü"])
def test_names_are_only_names(tmp_path, name, write):
    folder = tmp_path / name
    folder.mkdir()
    # polars cannot write under a name that is not UTF-8.
    file = write(tmp_path / f"log.{write.__name__}").rename(folder / f"log{name}.{write.__name__}")
    same(read_log(folder).trace)
    same(read_log(file).trace)


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "socket"))
    for place in (tmp_path / "pipe.jsonl", tmp_path / "socket", "/dev/null", "/dev/zero"):
        with pytest.raises(ValueError, match=f"{re.escape(str(place))} is not a regular file.* save the log"):
            read_log(place)
    for place in ("", "  "):
        with pytest.raises(ValueError, match="give a file, a folder or a pattern"):
            read_log(place)
    with pytest.raises(FileNotFoundError):
        read_log(str(tmp_path / "*.jsonl"))


@pytest.mark.parametrize(
    "kind", [pl.Date, pl.Datetime("ns", "UTC"), pl.Duration, pl.Time, pl.Decimal(20, 2), pl.Binary]
)
def test_prompts_of_every_type_of_parquet_are_read_or_refused(tmp_path, kind):
    days = pl.Series([1, 2, 1, 2]).cast(pl.String if kind == pl.Binary else pl.Int64).cast(kind)
    pl.DataFrame({"step": [1, 1, 2, 2], "prompt": days, "reward": [0.0, 1.0, 1.0, 0.0]}).write_parquet(
        tmp_path / "a.parquet"
    )
    ids = read_log(tmp_path / "a.parquet").trace.prompt_id
    assert ids[0] == ids[2] != ids[1] == ids[3]


def test_dates_that_python_does_not_know_are_told_apart(tmp_path):
    days = pl.Series([10**9, 1, 10**9 + 1]).cast(pl.Date)
    pl.DataFrame({"step": [1] * 3, "prompt": days, "reward": [1.0] * 3}).write_parquet(tmp_path / "log.parquet")
    assert len(set(read_log(tmp_path / "log.parquet").trace.prompt_id.tolist())) == 3


# --- bounds -------------------------------------------------------------------------------------------------------


def test_stray_quotes_have_one_reason_and_are_given_up_for_single_lines(tmp_path, monkeypatch):
    good, more = ("".join(f'{k},"a\nb",{k % 2}\n' for k in range(n, n + 20)) for n in (0, 20))
    bad = "".join(f'1,"a",2"b,"c{"," * (k % 7)}\n' for k in range(400))
    path = tmp_path / "log.csv"
    path.write_text(f"step,prompt,reward\n{good}{bad}{more}")
    few = read_log(path, max_bad=1.0)
    assert few.trace.reward.tolist() == [float(k % 2) for k in range(20)] * 2
    assert len(few.notes.bad_rows) <= 3
    assert len(" ".join(few.notes.omissions())) < 1000
    # After too many, a row is one line, and what goes over two is counted as bad.
    monkeypatch.setattr(csv_file, "_MOST_REREAD", 1000)
    many = read_log(path, max_bad=1.0)
    assert many.trace.reward.tolist() == [float(k % 2) for k in range(20)]
    assert many.notes.n_bad + many.notes.n_rows + many.notes.n_joined == 40 + 400 + 40


def test_a_line_that_is_not_utf_8_does_not_vanish_from_a_field(tmp_path):
    (tmp_path / "log.csv").write_bytes(b'step,prompt,reward\n1,"a\n\xff\nb",1\n1,c,0\n')
    log = read_log(tmp_path / "log.csv", max_bad=1.0)
    assert log.trace.prompt_id.tolist() == [prompt_key("c")]
    assert log.notes.n_bad == 3


@pytest.mark.parametrize("write", [jsonl, csv])
def test_a_line_beyond_the_limit_is_one_bad_row(tmp_path, write, monkeypatch):
    path = write(tmp_path / f"log.{write.__name__}")
    content = path.read_bytes().splitlines(keepends=True)
    # What follows the limit must not be taken for a row.
    row = content[2]
    monkeypatch.setattr(lines, "LONGEST", 1000)
    for end in (b"\n", b""):
        path.write_bytes(b"".join(content) + b" " * 2000 + row.strip().rjust(1000) + end)
        log = read_log(path, max_bad=0.5)
        same(log.trace)
        assert log.notes.bad_rows == {"longer than 64 MiB": 1}


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress], ids=["gz", "zst"])
def test_what_unpacks_to_more_than_the_limit_is_used_up_to_there(tmp_path, pack):
    path = tmp_path / "log.jsonl.gz"
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    path.write_bytes(pack((text + " " * 2**25).encode()))
    log = read_log(path, max_unpacked=2**-6)
    same(log.trace)
    assert "more than 0.015625 GiB (max_unpacked, --max-unpacked) (after 24 rows" in log.notes.refused[path]
    assert read_log(path).notes.omissions() == []


def test_a_parquet_file_that_unpacks_to_more_than_the_limit(tmp_path):
    same_text = pl.Series(["x" * 2**20]).new_from_index(0, 200)
    frame = pl.DataFrame({"step": [1] * 200, "prompt": same_text, "reward": [1.0] * 200})
    frame.write_parquet(tmp_path / "log.parquet")
    with pytest.raises(ValueError, match=r"more than 0\.1 GiB"):
        read_log(tmp_path / "log.parquet", max_unpacked=0.1)
    assert len(read_log(tmp_path / "log.parquet").trace) == 200


def test_empty_lines_end_a_file_before_they_cost_time(tmp_path):
    path = tmp_path / "log.jsonl.zst"
    text = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    path.write_bytes(zstandard.ZstdCompressor().compress(text + b"\n" * 2**21 + text))
    log = read_log(path)
    same(log.trace)
    assert "1,048,576 empty lines" in log.notes.refused[path]


@pytest.mark.parametrize("write", [jsonl, csv, parquet])
def test_pieces_are_cut_by_bytes(tmp_path, write, monkeypatch):
    rows = [{**row, "prompt": row["prompt"] + "x" * 5000} for row in ROWS]
    path = write(tmp_path / f"log.{write.__name__}", rows)
    for module in (json_lines_file, csv_file, parquet_file):
        monkeypatch.setattr(module, "PIECE_BYTES", 20_000)
    monkeypatch.setattr(lines, "_AT_ONCE", 6_000)
    sizes = []
    log = read_log(path, advance=sizes.append)
    assert len(sizes) >= 5
    assert sum(sizes) == len(rows)
    same(log.trace, rows)


def test_a_batch_that_trl_logs_again_is_recognised_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_file, "PIECE_BYTES", 2_000)
    for step in range(1, 7):
        rows = [
            {
                "step": step,
                "prompt": f"p{k // 2}",
                "completion": f"{(step - 1) // 2}-{k}" * 200,
                "r": k % 3,
                "advantage": 0.0,
            }
            for k in range(8)
        ]
        parquet(tmp_path / f"completions_{step:05d}.parquet", rows)
    log = read_log(tmp_path)
    assert log.trace.step.tolist() == np.repeat([1, 3, 5], 8).tolist()
    assert "3 batches that were logged again" in " ".join(log.notes.remarks)


def test_the_rows_before_a_read_error_are_used(tmp_path, monkeypatch):
    path = jsonl(tmp_path / "log.jsonl")

    def broken(*arguments):
        yield path.read_bytes().splitlines()[:7]
        raise lines.UnreadableError("it cannot be read: Input/output error")

    monkeypatch.setattr(json_lines_file, "line_blocks", broken)
    log = read_log(path)
    assert log.trace.reward.tolist() == [row["reward"] for row in ROWS[:7]]
    assert len(log.trace) == 7
    assert "(after 7 rows, which are used)" in log.notes.refused[path]


def test_kvar_reads_what_it_wrote_with_ids_of_both_signs(tmp_path):
    ids = np.array([-(2**63), 2**63 - 1, 0, -1])
    trace = kvar.Trace.from_columns({"step": [0] * 4, "prompt_id": ids, "reward": [0.0] * 4})
    assert kvar.read_trace(kvar.write_trace(trace, tmp_path / "t.parquet")).prompt_id.tolist() == ids.tolist()


def test_an_audit_reads_no_completions(tmp_path, monkeypatch):
    asked = []

    class Recorded(parquet_file.ParquetFile):
        def _tables(self, names, *arguments):
            asked.append(names)
            return super()._tables(names, *arguments)

    monkeypatch.setattr("kvar.readers.file_types.ParquetFile", Recorded)
    for name in "ab":
        table(IDS * 4, completion="x" * 50).write_parquet(tmp_path / f"{name}.parquet")
    kvar.audit(tmp_path / "a.parquet", "kernel")
    kvar.audit_runs({name: tmp_path / f"{name}.parquet" for name in "ab"}, baselines="kernel", n_jobs=1)
    kvar.prompt_values(tmp_path / "a.parquet")
    CliRunner().invoke(_app(), ["audit", str(tmp_path / "a.parquet"), "--baseline", "kernel"])
    assert len(asked) >= 5
    assert all(set(names) == {"prompt_id", "reward", "step"} for names in asked)
