"""SIGKILL at random moments while a run is being recorded: ``python -m tests.soak.kills --kills 200``.

A process records one step after the other and announces every step that is written. It is killed at a random moment,
its files are examined, and the next process continues from there.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import kvar
from kvar.utils.atomic_files import TEMPORARY_SUFFIX

ROWS = 5_000


def columns(step):
    """The rows of a step, which depend on its number alone, so that they can be checked."""
    rewards = np.random.default_rng(step).random(ROWS)
    return {"prompt_id": np.arange(ROWS) // 4, "reward": rewards, "note": [f"{step}-{k}" for k in range(ROWS)]}


def record(folder):
    """Record without end, after the last step in the folder."""
    last = max(steps_in(folder), default=None)
    writer = kvar.TraceWriter(folder, resume_from=last)
    step = last or 0
    # The first step of a process takes many times as long as the others: it is made elsewhere, so that kills spread.
    with tempfile.TemporaryDirectory() as elsewhere:
        kvar.TraceWriter(elsewhere).write(0, columns(0))
    print("ready", flush=True)
    while True:
        step += 1
        writer.write(step, columns(step))
        print(step, flush=True)


def steps_in(folder):
    """Numbers of the steps that have a file."""
    return [int(path.stem.removeprefix("step-")) for path in Path(folder).glob("step-*.parquet")]


def killed(folder, seconds):
    """Let a process record for some seconds, kill it, and return the last step that it announced."""
    command = [sys.executable, "-m", "tests.soak.kills", "--record", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n", "the process cannot start from the files of the last one"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        return max(map(int, process.stdout.read().split()), default=0)


def examine(folder, announced):
    """Every announced step is there, every step is whole, and there is no gap."""
    steps = sorted(steps_in(folder))
    assert steps == list(range(1, len(steps) + 1)), steps
    assert announced <= len(steps) <= announced + 1, "one step may be complete and not yet announced"
    for step in steps[-2:]:
        trace = kvar.read_trace(Path(folder) / f"step-{step:09d}.parquet")
        np.testing.assert_array_equal(trace.reward, columns(step)["reward"])
        assert trace.extras["note"].tolist() == columns(step)["note"]
    return len(steps)


def soak(folder, n_kills, seed):
    """Kill several times; return the number of recorded steps and of temporary files left."""
    rng, done = random.Random(seed), 0
    for _ in range(n_kills):
        done = examine(folder, max(killed(folder, rng.uniform(0, 0.3)), done))
    assert len(kvar.read_trace(folder)) == ROWS * done
    return done, sum(name.endswith(TEMPORARY_SUFFIX) for name in os.listdir(folder))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", metavar="FOLDER", help="record into this folder until killed")
    options = parser.parse_args()
    if options.record:
        record(options.record)
    with tempfile.TemporaryDirectory() as folder:
        steps, leftovers = soak(folder, options.kills, options.seed)
        print(
            f"{options.kills} kills: {steps} steps recorded, all complete; {leftovers} kills left a temporary file, "
            "which disturbs nothing"
        )


if __name__ == "__main__":
    main()
