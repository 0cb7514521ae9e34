"""The audit of a long log: time and memory, and how both grow with the log.

A folder of Parquet files, one an epoch, has 4 binary rewards a prompt, steps of 256 prompts, and a random completion of
192 characters a rollout, and 100 million rollouts take 20 GB. Each size is read and audited in a process of its own.

    python tests/benchmarks/audit_scale.py --rollouts 1e6 1e7 1e8 [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

import kvar
from kvar.readers import read_log
from kvar.utils.progress import progress_bar

GROUP, LETTERS = 4, 192


def write_log(folder: Path, n_rollouts: int, n_prompts: int, batch: int) -> None:
    """Write whole epochs until there are enough rollouts; in a process of its own, since a child begins with the peak
    memory of its parent."""
    rng = np.random.default_rng(0)
    value, done = rng.random(n_prompts), 0
    folder.mkdir()
    while done < n_rollouts:
        rows = min(n_prompts * GROUP, n_rollouts - done)
        prompt = np.repeat(rng.permutation(n_prompts), GROUP)[:rows]
        text = base64.b64encode(rng.bytes(rows * LETTERS // 4 * 3)).decode()
        columns = {
            "step": (done + np.arange(rows)) // (batch * GROUP),
            "prompt_id": prompt,
            "reward": (rng.random(rows) < value[prompt]).astype(np.float32),
            "completion": [text[LETTERS * k : LETTERS * (k + 1)] for k in range(rows)],
        }
        pl.DataFrame(columns).write_parquet(folder / f"{done:012}.parquet", compression="lz4")
        done += rows


def audit_once(folder: Path) -> None:
    """Read and audit in this process; prints processor seconds and peak memory."""
    start = time.process_time()
    with progress_bar(True, "reading rows") as (advance, _):
        log = read_log(folder, advance=advance, numbers_only=True)  # as `kvar audit` does
    read = time.process_time()
    report = kvar.audit(log, n_jobs=1, progress=True)
    done = {"read": read - start, "audit": time.process_time() - read, "best": report.chosen.label}
    done |= {"gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "steps": report.facts.n_steps}
    print(json.dumps(done))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=float, nargs="+", default=[1e6, 1e7])
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=256, help="prompts a step")
    parser.add_argument("--folder", type=Path, help="where the logs are written, and stay; by default a temporary one")
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_log(Path(options.write[0]), int(options.write[1]), options.prompts, options.batch)
        return
    if options.once:
        audit_once(options.once)
        return
    print(f"{'rollouts':>12}{'steps':>9}{'on disk':>9}{'read: s':>9}{'audit: s':>10}{'s a million':>13}{'GB':>6}  best")
    sizes = ["--prompts", str(options.prompts), "--batch", str(options.batch)]
    with tempfile.TemporaryDirectory() as temporary:
        for n in map(int, options.rollouts):
            folder = (options.folder or Path(temporary)) / f"{n}-{options.prompts}-{options.batch}"
            command, environment = [sys.executable, __file__, *sizes], {**os.environ, "OMP_NUM_THREADS": "1"}
            if not folder.exists():
                subprocess.run([*command, "--write", str(folder), str(n)], check=True, env=environment)
            disk = sum(file.stat().st_size for file in folder.iterdir()) / 1e9
            run = subprocess.run(
                [*command, "--once", str(folder)], stdout=subprocess.PIPE, text=True, check=True, env=environment
            )
            found = json.loads(run.stdout)
            print(
                f"{n:12,}{found['steps']:9,}{disk:6.1f} GB{found['read']:9.1f}{found['audit']:10.1f}"
                f"{(found['read'] + found['audit']) / n * 1e6:13.2f}{found['gb']:6.2f}  {found['best']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
