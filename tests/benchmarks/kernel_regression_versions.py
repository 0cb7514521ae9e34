"""Speed of kernel regression against that of an earlier commit, in one run.

    python tests/benchmarks/kernel_regression_versions.py b4ef82f [docs/kernel_regression_versions.csv]

Both versions have a process each with the same data: unsorted uniform x, a sine with noise, the Epanechnikov kernel,
h = 0.05 of the range. They take turns, so that a machine that slows down slows both. Times are the least CPU seconds of
up to seven turns, fewer after ten seconds, and none is the first, which loads and compiles. The ratio of a row is the
median over turns of now to before. The last columns are the largest difference between the answers, relative to the
largest answer, and how many times as long the version of now took as at the size before.

The series are n / 100 of 100 steps, past-only, as `select_bandwidth` has them for recorded runs.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Client, Listener
from pathlib import Path

import numpy as np

H, GRID, TURNS, PATIENCE = 0.05, np.geomspace(0.005, 0.5, 50), 7, 10.0
ROOT = Path(__file__).parents[2]
COLUMNS = ("job", "n", "before_seconds", "now_seconds", "ratio", "difference", "growth")


def regressor(data, **options):
    """A regressor fitted to unsorted data."""
    from kvar import KernelRegressor

    return KernelRegressor("epanechnikov", H, **options).fit(data["x"], data["y"])


def chosen(data, method, **options):
    """The selected bandwidth."""
    from kvar import select_bandwidth

    return select_bandwidth(data["x"], data["y"], method, **options).bandwidth


def of_series(data):
    """The window of many past-only series."""
    from kvar import select_bandwidth

    options = {"kernel": "triangular", "sided": "past", "groups": data["series"], "empty": "nearest"}
    return select_bandwidth(data["steps"], data["y"], "one-step-ahead", **options).bandwidth


JOBS = {
    "fit and predict, means": lambda d: regressor(d).predict(d["x"]),
    "fit and predict, lines": lambda d: regressor(d, degree=1).predict(d["x"]),
    "fit and predict elsewhere": lambda d: regressor(d).predict(d["x0"]),
    "fit and predict, past-only": lambda d: regressor(d, sided="past").predict(d["x"]),
    "standard errors": lambda d: regressor(d).local_fit(d["x"]).standard_error,
    "standard errors, lines, local noise": lambda d: regressor(d, degree=1).local_fit(d["x"], "local").standard_error,
    "leave-one-out among 50": lambda d: chosen(d, "loo-cv", grid=GRID),
    "the default choice": lambda d: chosen(d, "averaged"),
    "one-step-ahead, many series": of_series,
}
# Standard errors and choices at ten million observations would take minutes.
MOST = {name: 10_000_000 if name.startswith("fit") else 1_000_000 for name in JOBS}


def sample(n):
    """The data that both versions get."""
    rng = np.random.default_rng(n)
    x = rng.random(n)
    y = np.sin(6.0 * x) + 0.5 * rng.standard_normal(n)
    place = np.arange(n)
    return {"x": x, "y": y, "x0": rng.random(n), "steps": (place % 100).astype(np.float64), "series": place // 100}


def serve(address):
    """Time what is asked for: ``(job, n)`` gives CPU seconds, ``(None, path)`` saves the last answer."""
    data, answer = {"x": np.zeros(0)}, None
    with Client(address) as connection:
        while (asked := connection.recv()) is not None:
            job, what = asked
            if job is None:
                np.save(what, answer)
                connection.send(None)
                continue
            if data["x"].size != what:
                data = sample(what)
            answer = None
            began = time.process_time()
            answer = JOBS[job](data)
            connection.send(time.process_time() - began)


class Version:
    """A process with the code of a folder."""

    def __init__(self, code, scratch, name):
        address = str(scratch / f"{name}.socket")
        environment = os.environ | {"PYTHONPATH": str(code), "NUMBA_CACHE_DIR": str(scratch / name)}
        with Listener(address) as listener:
            command = [sys.executable, "-W", "ignore", __file__, "--serve", address]
            self._process = subprocess.Popen(command, env=environment, cwd=scratch)
            self._connection = listener.accept()
        self._answer = scratch / f"{name}.npy"

    def ask(self, *asked):
        """What the process answers."""
        self._connection.send(asked)
        return self._connection.recv()

    def answer(self):
        """The last answer."""
        self.ask(None, str(self._answer))
        return np.load(self._answer)

    def close(self):
        """End the process."""
        self._connection.send(None)
        self._process.wait()


def compare(before, now, job, n):
    """CPU seconds of both, the median ratio, and the largest difference between the answers."""
    for version in (before, now):
        version.ask(job, n)  # loads and compiles
    answers = [version.answer() for version in (before, now)]
    difference = float(np.nanmax(np.abs(answers[1] - answers[0])) / np.nanmax(np.abs(answers[0])))
    turns = []
    while len(turns) < TURNS and np.sum(turns) < PATIENCE:
        turns.append([version.ask(job, n) for version in (before, now)])
    ratio = statistics.median(after / earlier for earlier, after in turns)
    return *np.min(turns, axis=0).tolist(), ratio, difference


def main():
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="the earlier commit")
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**k for k in range(3, 8)])
    parser.add_argument("--jobs", nargs="+", help="only those with one of these in their name")
    args = parser.parse_args()
    jobs = [job for job in JOBS if not args.jobs or any(word in job for word in args.jobs)]
    rows, last = [], {}
    with tempfile.TemporaryDirectory() as folder:
        earlier = Path(folder, "earlier")
        earlier.mkdir()
        archive = subprocess.run(["git", "archive", args.before, "kvar"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x"], cwd=earlier, check=True, input=archive.stdout)
        versions = [Version(code, Path(folder), name) for code, name in ((earlier, "before"), (ROOT, "now"))]
        for n in args.sizes:
            for job in jobs:
                if n > MOST[job]:
                    continue
                before, now, ratio, difference = compare(*versions, job, n)
                growth = f"{now / last[job]:.3g}" if job in last else ""
                last[job] = now
                row = (job, n, f"{before:.3g}", f"{now:.3g}", f"{ratio:.3g}", f"{difference:.1e}", growth)
                rows.append(dict(zip(COLUMNS, row, strict=True)))
                print(f"{job:36s} {n:>10,} {before:10.4g} {now:10.4g} s {ratio:6.2f} x  {difference:.1e}  {growth}",
                      flush=True)  # fmt: skip
        for version in versions:
            version.close()
    if args.out is not None:
        with open(args.out, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        main()
