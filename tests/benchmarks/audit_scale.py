"""The audit of a long log: time and memory, and how both grow when the log is twice as long.

A Parquet log of binary rewards has every prompt once per epoch, in steps of 256 prompts with 4 rollouts each. It is
read and audited with `adaptive` and without it, each in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from joblib.externals.loky import get_reusable_executor

import kvar
from kvar.readers import read_log

GROUP, PER_STEP = 4, 256


def write_log(path: Path, n_rollouts: int, n_prompts: int) -> None:
    rng = np.random.default_rng(0)
    n_groups = n_rollouts // GROUP
    epochs = -(-n_groups // n_prompts)
    prompts = np.concatenate([rng.permutation(n_prompts) for _ in range(epochs)])[:n_groups]
    prompt = np.repeat(prompts, GROUP)
    step = np.repeat(np.arange(n_groups) // PER_STEP, GROUP)
    reward = (rng.random(n_groups * GROUP) < rng.random(n_prompts)[prompt]).astype(np.float32)
    pl.DataFrame({"step": step, "prompt_id": prompt, "reward": reward}).write_parquet(path, row_group_size=500_000)


def audit_once(path: Path, baselines: str) -> None:
    """Read and audit in this process; prints seconds of wall time, of reading and of all cores, and gigabytes."""
    names = None
    if baselines == "cheap":
        names = [name for name in kvar.baseline_names() if name not in ("adaptive", "oracle", "basis", "opo")]
    start = time.perf_counter()
    log = read_log(path)
    read = time.perf_counter() - start
    report = kvar.audit(log, names)
    seconds = time.perf_counter() - start
    # The times of workers are counted only after they have ended.
    get_reusable_executor().shutdown(wait=True)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cores = sum(one.ru_utime + one.ru_stime for one in used)
    memory = " ".join(f"{one.ru_maxrss / 2**20:.2f}" for one in used)
    print(f"{seconds:.1f} {read:.1f} {cores:.1f} {memory} {report.rows[0].label}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=float, nargs="+", default=[5e6, 1e7])
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--baselines", default="cheap", choices=["cheap", "all"])
    options = parser.parse_args()
    if options.once:
        audit_once(options.once, options.baselines)
        return
    print(f"{os.cpu_count()} cores, {options.prompts:,} prompts; GB are of the main process and of the largest worker")
    with tempfile.TemporaryDirectory() as folder:
        for baselines in ("cheap", "all"):
            before = None
            for n_rollouts in map(int, options.rollouts):
                path = Path(folder) / f"{n_rollouts}.parquet"
                if not path.exists():
                    write_log(path, n_rollouts, options.prompts)
                command = [sys.executable, __file__, "--once", str(path), "--baselines", baselines]
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
                seconds, read, cores, main_gb, worker_gb, best = done.stdout.split(maxsplit=5)
                ratio = f", {float(seconds) / before:.2f} times as long as the last" if before else ""
                before = float(seconds)
                print(
                    f"  {baselines:6s} {n_rollouts:12,} rollouts {seconds:>7} s (reading {read} s, all cores together "
                    f"{cores} s), {main_gb} and {worker_gb} GB, best {best.strip()}{ratio}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
