"""Killed, out of disk, or two at once: what is on the disk is whole, and the next start finds its way."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

import kvar
from kvar.utils.atomic_files import TEMPORARY_SUFFIX, atomic_write
from tests.soak.kills import soak


def run(code, *arguments):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)])


def litter(folder):
    return [name for name in os.listdir(folder) if name.endswith(TEMPORARY_SUFFIX)]


def test_a_run_that_is_killed_loses_no_step(tmp_path):
    steps, n_litter = soak(tmp_path, n_kills=6, seed=4)
    assert steps > 0
    assert n_litter <= 6


def test_a_full_disk_is_named_and_keeps_what_was_written(tmp_path):
    # In a process of its own: the limit holds for every file that a process writes, the log of the tests included.
    code = """
        import errno, pathlib, resource, signal, sys
        import numpy as np, pytest, kvar
        from kvar.utils.atomic_files import atomic_write

        folder, rng = pathlib.Path(sys.argv[1]), np.random.default_rng(0)
        writer = kvar.TraceWriter(folder)
        writer.write(1, {"prompt_id": [0, 0], "reward": [0.0, 1.0]})
        # The same error as that of a full disk, but for its number.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        with pytest.raises(OSError, match=r"File too large: .*step-000000002\\.parquet") as refused:
            writer.write(2, {"prompt_id": np.arange(20_000), "reward": rng.random(20_000)})
        assert refused.value.errno == errno.EFBIG
        with pytest.raises(OSError, match=r"File too large: .*note"), atomic_write(folder / "note") as temporary:
            temporary.write_text("x" * 30_000)
        writer.write(3, {"prompt_id": [0], "reward": [0.5]})
    """
    assert run(code, tmp_path).wait() == 0
    assert kvar.read_trace(tmp_path).reward.tolist() == [0.0, 1.0, 0.5]
    assert sorted(os.listdir(tmp_path)) == [".lock", "step-000000001.parquet", "step-000000003.parquet"]


def test_the_next_writer_of_a_folder_clears_what_a_killed_one_left_unfinished(tmp_path):
    code = """
        import os, signal, sys
        from pathlib import Path
        from kvar.utils.atomic_files import atomic_write
        with atomic_write(Path(sys.argv[1], "step-000000002.parquet")) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    kvar.TraceWriter(tmp_path).write(1, {"prompt_id": [0], "reward": [0.0]})
    assert run(code, tmp_path).wait() == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 3
    kvar.TraceWriter(tmp_path, resume_from=1)
    assert sorted(os.listdir(tmp_path)) == [".lock", "step-000000001.parquet"]


@pytest.mark.parametrize("message", ["disk: No space left on device (os error 28)", "quota (os error 122)"])
def test_what_a_library_says_of_the_disk_becomes_an_error_of_the_system(tmp_path, message):
    with pytest.raises(OSError, match=r"/file'$") as refused, atomic_write(tmp_path / "file"):
        raise RuntimeError(message)
    assert refused.value.errno in (errno.ENOSPC, errno.EDQUOT)
    assert str(refused.value.__cause__) == message
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_write(tmp_path / "file"):
        (tmp_path / "elsewhere").read_text()
    assert os.listdir(tmp_path) == []


def test_two_processes_on_one_file_leave_one_of_theirs(tmp_path):
    code = """
        import sys
        from kvar.utils.atomic_files import atomic_write
        for k in range(200):
            with atomic_write(sys.argv[1]) as temporary:
                temporary.write_text(sys.argv[2] * 100_000)
    """
    target = tmp_path / "file"
    writers = [run(code, target, letter) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if target.exists():
            seen.add(target.read_text())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {"a" * 100_000, "b" * 100_000}
    assert os.listdir(tmp_path) == ["file"]


def test_two_audits_into_one_folder(tmp_path):
    code = """
        import sys
        import numpy as np, kvar
        rng = np.random.default_rng(int(sys.argv[2]))
        step, prompt_id = np.repeat(np.arange(20), 4), np.tile([0, 0, 1, 1], 20)
        trace = kvar.Trace.from_columns({"step": step, "prompt_id": prompt_id, "reward": rng.random(80)})
        report = kvar.audit(trace, ["kernel", "group-mean"])
        for _ in range(3):
            report.save(sys.argv[1])
    """
    audits = [run(code, tmp_path, seed) for seed in (1, 2)]
    assert [audit.wait() for audit in audits] == [0, 0]
    assert not litter(tmp_path)
    assert json.loads((tmp_path / "audit.json").read_text())
    assert (tmp_path / "audit.png").read_bytes().endswith(b"IEND\xaeB`\x82")


def test_a_folder_belongs_to_one_process_until_it_ends(tmp_path):
    code = """
        import sys, time, kvar
        writer = kvar.TraceWriter(sys.argv[1])
        writer.write(1, {"prompt_id": [0], "reward": [0.0]})
        writer.write(2, {"prompt_id": [0], "reward": [0.0]})
        print("written", flush=True)
        time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "written\n"
        with pytest.raises(FileExistsError, match="another process is writing into"):
            kvar.TraceWriter(tmp_path, resume_from=1)
        other.kill()
    assert len(kvar.read_trace(tmp_path)) == 2
    kvar.TraceWriter(tmp_path, resume_from=1)
    assert len(kvar.read_trace(tmp_path)) == 1
