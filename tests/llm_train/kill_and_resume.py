"""Kill a run with SIGKILL at random moments, resume it each time, and compare it with a run that was never killed.

  python -m tests.llm_train.kill_and_resume --kills 10
  python -m tests.llm_train.kill_and_resume --kills 3 --prompt_order importance --baseline variance-optimal

Trace, metrics, history and weights must be equal to the last bit. No row of the trace may be lost or doubled.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from kvar import read_trace
from llm_train.run.run_files import read_metrics
from llm_train.run.settings import given_settings, make_parser, resolve
from llm_train.run.train import quiet_libraries, train
from llm_train.trainer.state_file import load_state

STEPS, SAVE_EVERY = 16, 4
SETTINGS = {
    "model": "tiny", "task": "sums", "largest": 9, "n_prompts": 32, "n_held_out": 16, "sft_steps": 20,
    "baseline": "adaptive",
    "num_generations": 2, "per_device_train_batch_size": 16, "max_completion_length": 3, "learning_rate": 1e-3,
    "block_reuse": 2, "max_steps": STEPS, "save_steps": SAVE_EVERY, "eval_steps": 8, "logging_steps": 1, "seed": 5,
}  # fmt: skip


def start(given: dict) -> subprocess.Popen:
    """Train in a process of its own, by the public command."""
    flags = [str(part) for name, value in given.items() for part in (f"--{name}", value)]
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", "llm_train", "train", *flags], stdout=subprocess.DEVNULL
    )


def finish(child: subprocess.Popen) -> None:
    if child.wait():
        raise SystemExit(f"the training process ended with status {child.returncode}")


def killed(child: subprocess.Popen, trace: Path, generator: random.Random) -> bool:
    """Wait for a random number of steps and a random moment after them, then kill; False if the run ends first."""
    steps = generator.randrange(1, 2 * SAVE_EVERY)
    seen = len(list(trace.glob("step-*"))) if trace.exists() else 0
    while not trace.exists() or len(list(trace.glob("step-*"))) < min(seen + steps, STEPS):
        if child.poll() is not None:
            if child.returncode < 0:
                print(f"the process died of {signal.Signals(-child.returncode).name}, which counts as a kill")
                return True
            finish(child)
            return False
        time.sleep(0.002)
    time.sleep(generator.random() * 0.3)
    child.kill()
    return child.wait() == -signal.SIGKILL


def same(whole: Path, resumed: Path) -> None:
    """Compare everything that two runs leave, except for times."""
    expected, found = read_trace(whole / "trace"), read_trace(resumed / "trace")
    assert found.columns.keys() == expected.columns.keys()
    for name, column in expected.columns.items():
        np.testing.assert_array_equal(found.columns[name], column, err_msg=name)
    # The folder holds the steps and the lock of the process that recorded them, nothing else.
    files = sorted(path.name for path in (resumed / "trace").iterdir() if path.name != ".lock")
    assert files == [f"step-{k:09d}.parquet" for k in range(1, STEPS + 1)]

    timed = ("time/", "step_time", "train_", "total_flos")
    plain = [
        [
            {k: v for k, v in e.items() if not k.startswith(timed) and "runtime" not in k}
            for e in read_metrics(f / "metrics.jsonl")
        ]
        for f in (whole, resumed)
    ]
    assert plain[0] == plain[1], [e for e in plain[1] if e not in plain[0]] or [(e["step"], len(e)) for e in plain[1]]

    last = f"checkpoint-{STEPS}"
    states = [load_state(f / last / "baseline.safetensors") for f in (whole, resumed)]
    assert states[0].pop("run") != states[1].pop("run")
    np.testing.assert_equal(*states)
    weights = [load_file(f / "policy" / "model.safetensors") for f in (whole, resumed)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def check(folder: Path, kills: int, seed: int, further: Mapping) -> None:
    """Kill and resume runs until they are finished, and compare each with the uninterrupted run.

    `further` are settings in place of, or besides, those above.
    """
    generator = random.Random(seed)
    whole = folder / "whole"
    shared = {**SETTINGS, "policy_cache": str(folder / "policies"), **further}
    train(resolve({**shared, "output_dir": str(whole)}), show=False)
    done = 0
    while done < kills:
        resumed = folder / f"resumed-{done}"
        given, recorded = {**shared, "output_dir": str(resumed), "resume": True}, 0
        while done < kills and recorded < STEPS and killed(start(given), resumed / "trace", generator):
            done += 1
            recorded = len(list((resumed / "trace").glob("step-*")))
            print(f"kill {done} of {kills} after {recorded} recorded steps", flush=True)
        train(resolve(given), show=False)
        same(whole, resumed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options, flags = parser.parse_known_args()
    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), options.kills, options.seed, given_settings(make_parser(), flags))
    print(f"{options.kills} kills: the resumed run equals the uninterrupted one")


if __name__ == "__main__":
    main()
