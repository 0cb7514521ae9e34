"""Seconds to read a log of long texts, in Parquet and in JSON Lines, as ratios to another checkout: its path first."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

_READ = r"""
import re, sys, time
from pathlib import Path
from kvar.readers import read_log
start = time.process_time()
n = len(read_log(sys.argv[1]).trace)
seconds = time.process_time() - start
print(seconds, int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 2**10, n)
"""


def write_logs(folder: Path, n: int, length: int) -> list[Path]:
    rng = np.random.default_rng(0)
    n_prompts = 2000
    prompts = [rng.bytes(length // 4).hex() for _ in range(n_prompts)]
    chosen = np.repeat(rng.integers(0, n_prompts, n // 4), 4)
    paths = [folder / "log.parquet", folder / "log.jsonl"]
    rows = [
        {
            "step": k // 256,
            "prompt": prompts[p],
            "completion": f"{k:010d}" * (length // 20),
            "reward": float(k % 3 == 0),
        }
        for k, p in enumerate(chosen.tolist())
    ]
    pl.DataFrame(rows).write_parquet(paths[0])
    with paths[1].open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return paths


def main() -> None:
    """Print seconds of the processor and megabytes, this checkout and the others in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkouts", nargs="*", type=Path)
    parser.add_argument("--rollouts", type=int, default=200_000)
    parser.add_argument("--length", type=int, default=2000, help="characters a row")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    here = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory() as folder:
        for path in write_logs(Path(folder), options.rollouts, options.length):
            best: dict[Path, list[float]] = {}
            for _ in range(options.repeats):
                for checkout in (here, *options.checkouts):
                    # Python looks for modules in the folder that it is started in.
                    command = [sys.executable, "-c", _READ, str(path)]
                    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
                    found = [float(number) for number in done.stdout.split()]
                    best[checkout] = min(best.get(checkout, found), found)
            for checkout, (seconds, megabytes, n) in best.items():
                cost = f"{seconds:.2f} s, {megabytes:.0f} MB"
                print(f"{path.suffix}: {n:,.0f} rows in {cost}, ratio {best[here][0] / seconds:.2f}: {checkout}")


if __name__ == "__main__":
    main()
