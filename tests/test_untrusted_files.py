"""No file that a user hands over is run: a pickle with a payload does nothing, whatever it is called."""

import ast
import bz2
import contextlib
import gzip
import lzma
import pickle
import warnings
import zipfile

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard

import kvar
from llm_train.trainer.state_file import load_state, save_state
from tests.test_house import FILES, ROOT

EXTENSIONS = (".parquet", ".jsonl", ".json", ".csv", ".safetensors", ".pkl", ".pt", ".npy", ".npz", ".yaml", ".txt", "")
PACKED = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress, ".bz2": bz2.compress, ".xz": lzma.compress}
UNPICKLING = {"cloudpickle", "dill", "joblib.load", "marshal", "pickle", "shelve"}


class Payload:
    """Writes a file once it is unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return open, (self.target, "w")


@pytest.fixture
def planted(tmp_path):
    return tmp_path / "planted"


@pytest.fixture(params=[0, 2, pickle.HIGHEST_PROTOCOL], ids="protocol {}".format)
def payload(request, planted):
    data = pickle.dumps(Payload(planted), protocol=request.param)
    pickle.loads(data).close()
    # It is armed: from here on nothing may make this file again.
    assert planted.exists()
    planted.unlink()
    return data


def attempt(function, *arguments):
    """Call it with what it must refuse, and say how."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            function(*arguments)
        except (ValueError, FileNotFoundError) as refusal:
            return str(refusal)
    pytest.fail(f"{function.__name__} took a pickle for something")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_renamed_pickle_is_refused(extension, payload, planted, tmp_path):
    files = {tmp_path / f"file{extension}": payload}
    files |= {tmp_path / f"file{extension}{packed}": pack(payload) for packed, pack in PACKED.items()}
    folder = tmp_path / "run"
    folder.mkdir()
    files[folder / f"step-000000001{extension}"] = payload
    for path, data in files.items():
        path.write_bytes(data)
        for read in (kvar.read_trace, load_state):
            assert str(path.name) in attempt(read, path)
    attempt(kvar.read_trace, folder)
    assert not planted.exists()


def test_a_pickle_inside_of_a_good_file_is_not_run(payload, planted, tmp_path):
    text = payload.decode("latin-1")
    columns = {"step": [0, 0], "prompt_id": [text, text], "reward": [0.0, 1.0], "note": [payload, payload]}
    pl.DataFrame(columns).write_parquet(tmp_path / "binary.parquet")
    # The way in which Arrow once ran what it read (CVE-2023-47248).
    extension = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": payload,
    }
    fields = [
        pa.field("step", pa.int64()),
        pa.field("prompt_id", pa.string()),
        pa.field("reward", pa.float64(), metadata=extension),
    ]
    table = pa.table({name: columns[name] for name in ("step", "prompt_id", "reward")}, schema=pa.schema(fields))
    pa.parquet.write_table(table, tmp_path / "extension.parquet")
    assert kvar.read_trace(tmp_path / "binary.parquet").prompt_id.tolist() == [text, text]
    # Readable or not, depending on whether the payload is text.
    with contextlib.suppress(ValueError):
        kvar.read_trace(tmp_path / "extension.parquet")
    save_state({"text": text, "bytes": np.frombuffer(payload, dtype=np.uint8)}, tmp_path / "state")
    assert load_state(tmp_path / "state")["text"] == text
    assert not planted.exists()


def test_an_array_of_objects_is_refused(payload, planted, tmp_path):
    for path, save in ((tmp_path / "a.npy", np.save), (tmp_path / "a.npz", np.savez)):
        save(path, np.array([Payload(planted)], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/version", "3")
    for name in ("a.npy", "a.npz", "a.pt"):
        for read in (kvar.read_trace, load_state):
            attempt(read, tmp_path / name)
    assert not planted.exists()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_here_unpickles(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name.partition(".")[0] for alias in node.names} | {getattr(node, "module", None) or ""}
            assert not names & UNPICKLING, f"{path}:{node.lineno}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "yaml.load", "yaml.unsafe_load", *UNPICKLING}, f"{path}:{node.lineno}"
            for keyword in node.keywords:
                unsafe = ("allow_pickle", True), ("weights_only", False), ("trust_remote_code", True)
                assert (keyword.arg, getattr(keyword.value, "value", None)) not in unsafe, f"{path}:{node.lineno}"
            assert called != "torch.load" or "weights_only" in {k.arg for k in node.keywords}, f"{path}:{node.lineno}"
