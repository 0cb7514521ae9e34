"""Peak memory and processor time on inputs made to cost much, of this checkout and of another one.

    python tests/benchmarks/bounds.py [--before FOLDER] [--case NAME] [--scale 1.0]

Each case runs in a process of its own, at half of its size and at its size, so that growth can be seen. FOLDER is a
checkout of an earlier version, which runs next, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[2]
WORDS = "The quick brown fox. "


def long_rows(folder: Path, n: int, kind: str) -> Path:
    """Rows of 50 kB of text."""
    text, path = WORDS * 2360, folder / f"long-{n}.{kind}"
    # Rewards in turn would look like copies of rows, for which a log is read again.
    random = Random(0)
    rewards = [random.randrange(2) for _ in range(n)]
    if kind == "parquet":
        import polars as pl

        rows = range(n)
        columns = {
            "step": [k // 64 for k in rows],
            "prompt": [f"p{k // 4 % 2000}" for k in rows],
            "advantage": [0.0] * n,
        }
        columns |= {"completion": [f"{text}{k}" for k in rows], "right": rewards}
        pl.DataFrame(columns).write_parquet(path)
        return path
    with path.open("w") as file:
        file.write("step,prompt,completion,reward\n" if kind == "csv" else "")
        for k in range(n):
            row = {"step": k // 64, "prompt": f"p{k // 4 % 2000}", "completion": text, "reward": rewards[k]}
            file.write((",".join(map(str, row.values())) if kind == "csv" else json.dumps(row)) + "\n")
    return path


def short_rows(folder: Path, n: int, n_rows: int = 1024, n_prompts: int = 20_000, alike: bool = False) -> Path:
    """Rows of 0.5 kB of text in steps of so many rows, of prompts whose values differ or are all 1/2."""
    path, random = folder / f"short-{n}.jsonl", Random(0)
    values = [0.5 if alike else random.random() for _ in range(n_prompts)]
    with path.open("w") as file:
        for k in range(n):
            prompt = k // 4 % n_prompts
            row = {
                "step": k // n_rows,
                "prompt": f"{WORDS * 8}{prompt}",
                "completion": f"{WORDS * 14}{k}",
                "reward": int(random.random() < values[prompt]),
            }
            file.write(json.dumps(row) + "\n")
    return path


def zst(folder: Path, n: int) -> Path:
    """Rows of 3 kB that compress well."""
    import zstandard

    path = folder / f"rows-{n}.jsonl.zst"
    rows = (
        {"step": k // 64, "prompt": f"{WORDS * 100}{k // 4 % 16}", "completion": WORDS * 50, "reward": k % 2}
        for k in range(n)
    )
    path.write_bytes(zstandard.ZstdCompressor().compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def stray_quotes(folder: Path, n: int) -> Path:
    """CSV of which most lines have a quote too many."""
    path = folder / f"quotes-{n}.csv"
    path.write_text("step,prompt,reward\n" + "1,p,0.5\n" * 100 + '1,"a",2"b,"c\n' * n)
    return path


def read(path: Path) -> None:
    """Read a log, however much of it is bad."""
    from kvar.readers import read_log

    read_log(path, max_bad=1.0)


def audit(path: Path) -> None:
    """Read and audit a log in one process, whose processor time is all there is."""
    import kvar

    kvar.audit(path, n_jobs=1)


def number(folder: Path, n: int) -> int:
    """Number of steps or prompts."""
    return n


def hot_prompt(n: int) -> None:
    """One prompt in every step, among 1,000 new ones."""
    import numpy as np

    import kvar

    baseline = kvar.make_baseline("adaptive")
    for step in range(n):
        ids = np.append(np.arange(step * 1000, (step + 1) * 1000), -1)
        baseline.update(ids, np.ones((len(ids), 1)), step)


def large_group(n: int) -> None:
    """One step of n prompts with a rollout each, and one prompt with n / 50 of them."""
    import numpy as np

    import kvar

    ids = np.append(np.arange(n), np.full(n // 50, -1))
    for name in ("group-mean", "adaptive"):
        kvar.make_baseline(name).update(ids, np.ones(len(ids)), 0)
        kvar.make_baseline(name).estimate(ids, np.ones(len(ids)), 0)


CASES = {
    "50 kB rows, JSON Lines": (20_000, lambda folder, n: long_rows(folder, n, "jsonl"), read),
    "50 kB rows, CSV": (20_000, lambda folder, n: long_rows(folder, n, "csv"), read),
    "50 kB rows, TRL Parquet": (20_000, lambda folder, n: long_rows(folder, n, "parquet"), read),
    "0.5 kB rows, JSON Lines": (1_000_000, short_rows, read),
    "0.5 kB rows, audit": (1_000_000, short_rows, audit),
    "0.5 kB rows, steps of 8, audit": (100_000, lambda folder, n: short_rows(folder, n, 8, 2000, alike=True), audit),
    "3 kB rows, zstd": (10_000, zst, read),
    "stray quotes in CSV": (4_000, stray_quotes, read),
    "steps with a hot prompt": (257, number, hot_prompt),
    "one large group": (20_000, number, large_group),
}


def one(case: str, given: str) -> None:
    """Run one case in this process."""
    start = time.process_time()
    CASES[case][2](int(given) if given.isdecimal() else Path(given))
    seconds, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "MiB": peak}))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout of an earlier version")
    parser.add_argument("--case", choices=CASES, action="append", help="only this case; may be repeated")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        print(CASES[options.case[0]][1](Path(options.make[0]), int(options.make[1])))
        return
    if options.one:
        one(options.case[0], options.one)
        return
    trees = {"now": ROOT, **({"before": options.before} if options.before else {})}
    print(f"{'case':32}{'size':>10}" + "".join(f"{f'{name}: s':>14}{'MiB':>8}" for name in trees), flush=True)
    for case in options.case or CASES:
        size = CASES[case][0]
        for n in (int(size * options.scale / 2), int(size * options.scale)):
            with tempfile.TemporaryDirectory() as folder:
                # In a process of its own too: a child begins with the peak of its parent.
                command = [sys.executable, __file__, "--case", case, "--make", folder, str(n)]
                given, cells = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip(), []
                for tree in trees.values():
                    command = [sys.executable, __file__, "--case", case, "--one", given]
                    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
                    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                    found = json.loads(done.stdout)
                    cells.append(f"{found['seconds']:14.1f}{found['MiB']:8.0f}")
            print(f"{case:32}{n:10,}{''.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
