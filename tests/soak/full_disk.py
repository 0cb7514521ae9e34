"""What happens when the disk is full: ``python -m tests.soak.full_disk FOLDER``, on a file system of a few megabytes.

  unshare -rm sh -c 'mount -t tmpfs -o size=1m none /mnt && python -m tests.soak.full_disk /mnt'

A run is recorded until the disk is full. The error must name the file and say that no space is left. All steps before
it must be complete, and no partial file may remain. Recording must continue once there is room again.
"""

import argparse
import errno
import itertools
import os
from pathlib import Path

import numpy as np

import kvar
from kvar.utils.atomic_files import TEMPORARY_SUFFIX
from llm_train.trainer.state_file import save_state

ROWS = 2_000


def refused(call, folder):
    """The error of a full disk, as text, or None if there was room."""
    error = None
    try:
        call()
    except OSError as caught:
        error = caught
    if error is None:
        return None
    assert error.errno == errno.ENOSPC, error
    assert Path(error.filename).parent == folder, error
    assert not [name for name in os.listdir(folder) if name.endswith(TEMPORARY_SUFFIX)]
    return f"{error.strerror}: {Path(error.filename).name}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder on a small file system, which will be filled")
    folder = parser.parse_args().folder / "run"
    rng, writer = np.random.default_rng(0), kvar.TraceWriter(folder)
    for step in itertools.count(1):
        columns = {"prompt_id": np.arange(ROWS), "reward": rng.random(ROWS)}
        if message := refused(lambda s=step, c=columns: writer.write(s, c), folder):
            break
    trace = kvar.read_trace(folder)
    assert len(trace) == ROWS * (step - 1)
    print(f"{step - 1} steps recorded, all complete; then {message}")
    report = kvar.audit(trace, ["none", "group-mean"])
    print("audit:", refused(lambda: report.save(folder / "audit"), folder / "audit"))
    baseline = kvar.make_baseline("kernel")
    baseline.update(range(100_000), rng.random(100_000), 0)
    print("state:", refused(lambda: save_state(baseline.state_dict(), folder / "state"), folder))
    (folder / "step-000000001.parquet").unlink()
    writer.write(step, {"prompt_id": [0], "reward": [0.5]})
    assert len(kvar.read_trace(folder)) == ROWS * (step - 2) + 1
    print("recording continues once there is room")


if __name__ == "__main__":
    main()
