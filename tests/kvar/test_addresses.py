"""Logs at addresses are read as on disk, and of Parquet files no more is moved than the columns that are needed."""

import json
from pathlib import PurePosixPath

import numpy as np
import polars as pl
import pytest

import kvar
from kvar.readers import read_log
from kvar.readers.addresses import local_copy
from tests.kvar.test_readers import ROWS, csv, jsonl, parquet, same

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


@pytest.fixture(scope="module")
def s3():
    """A server of S3 on this machine, with an empty bucket."""
    server_module = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("FSSPEC_S3_ENDPOINT_URL", f"http://{host}:{port}")
        fsspec.config.set_conf_env(fsspec.config.conf)
        system = fsspec.filesystem("s3")
        system.mkdir("bucket")
        yield system
        fsspec.config.conf.pop("s3", None)
    server.stop()


def put(system, folder, address):
    system.put(str(folder) + "/", address + "/", recursive=True)


def by_step(folder, write, ending):
    folder.mkdir(parents=True, exist_ok=True)
    for step in range(3):
        write(folder / f"part_{step}{ending}", [row for row in ROWS if row["step"] == step])


@pytest.mark.parametrize(
    ("write", "ending"), [(jsonl, ".jsonl"), (jsonl, ".jsonl.gz"), (csv, ".csv"), (parquet, ".parquet")]
)
def test_a_folder_a_file_and_a_pattern(memory, tmp_path, write, ending):
    by_step(tmp_path / "run", write, ending)
    put(memory, tmp_path, "/logs")
    same(read_log("memory://logs/run").trace)
    same(read_log(f"memory://logs/**/part_*{ending}").trace)
    same(kvar.read_trace(f"memory://logs/run/part_1{ending}"), [row for row in ROWS if row["step"] == 1])


def test_s3(s3, tmp_path):
    by_step(tmp_path / "text", jsonl, ".jsonl")
    by_step(tmp_path / "parquet", parquet, ".parquet")
    (tmp_path / "text" / "model.bin").write_bytes(bytes(100_000))
    put(s3, tmp_path, "bucket/run")
    same(read_log("s3://bucket/run/text").trace)
    same(read_log("s3://bucket/run/parquet").trace)
    same(read_log("s3://bucket/run/parquet/*.parquet").trace)
    with pytest.raises(FileNotFoundError, match="bucket/nix"):
        read_log("s3://bucket/nix")
    with pytest.raises((OSError, ValueError), match="no-such-bucket"):
        read_log("s3://no-such-bucket/run")


def test_only_the_columns_that_are_needed_are_moved(memory, tmp_path, monkeypatch, rng):
    rows = [{**ROWS[k % 24], "step": k // 4, "completion": rng.bytes(3000).hex()} for k in range(600)]
    pl.DataFrame(rows).write_parquet(tmp_path / "log.parquet", row_group_size=200)
    memory.put(str(tmp_path / "log.parquet"), "/log.parquet")
    moved = []
    cat = type(memory).cat_file

    def counted(self, path, start=None, end=None, **options):
        part = cat(self, path, start=start, end=end, **options)
        moved.append(len(part))
        return part

    monkeypatch.setattr(type(memory), "cat_file", counted)
    trace = kvar.read_trace("memory://log.parquet")
    np.testing.assert_array_equal(trace.reward, [row["reward"] for row in rows])
    # With the head and the footer.
    assert sum(moved) < 0.15 * memory.size("/log.parquet")


def test_columns_with_lists_are_brought_too(memory, tmp_path):
    rows = [
        {"step": k, "prompt": "q", "responses": ["a", "b"], "rewards": [1.0, 0.0], "logprobs": [[-1.0], [-2.0, -0.5]]}
        for k in range(50)
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "log.parquet", row_group_size=20)
    memory.put(str(tmp_path / "log.parquet"), "/log.parquet")
    here, there = kvar.read_trace(tmp_path / "log.parquet"), kvar.read_trace("memory://log.parquet")
    assert len(there) == 100
    for name, column in here.columns.items():
        np.testing.assert_array_equal(column, there.columns[name])


def test_names_never_lead_out_of_the_copy(memory, tmp_path):
    by_step(tmp_path, jsonl, ".jsonl")
    put(memory, tmp_path, "/logs")
    memory.store["/logs/../../escaped.jsonl"] = memory.store["/logs/part_0.jsonl"]
    same(read_log("memory://logs").trace)


def test_the_step_may_stand_in_a_folder_of_the_address(memory, tmp_path):
    jsonl(tmp_path / "x.jsonl")
    memory.put(str(tmp_path / "x.jsonl"), "/runs/step_7/x.jsonl")
    with local_copy("memory://runs/step_7/x.jsonl") as copy:
        assert PurePosixPath(copy.path).parts[-3:] == ("runs", "step_7", "x.jsonl")


def test_addresses_that_cannot_be_read_are_named(memory):
    with pytest.raises(ValueError, match="nosuch://a"):
        read_log("nosuch://a/b")
    with pytest.raises(FileNotFoundError, match="memory://nix"):
        read_log("memory://nix")
    memory.pipe("/torch/0.pt", b"PK\x03\x04" + bytes(300))
    with pytest.raises(ValueError, match=r"memory://torch.*PyTorch"):
        read_log("memory://torch")
    memory.pipe("/notes/readme.json", json.dumps({"a": 1}).encode())
    with pytest.raises(ValueError, match="prompt"):
        read_log("memory://notes")
