"""Speed and error of kernel regression against other libraries, in one run, as medians and ratios.

    python tests/benchmarks/kernel_regression.py [docs/kernel_regression_speed.csv] [--sizes 10000 100000 1000000]

Two jobs on the same points (uniform, sorted): all n fits with the Epanechnikov kernel, local means, h = 0.05 of the
range; and the leave-one-out choice among 50 bandwidths. Times are CPU seconds of the whole process, so that other work
on the machine disturbs them little and threads gain nothing. The last column sets each in ratio to ours (with numba
where it is installed) of the same run. A program that would take longer than --patience seconds, by its time at the
size before and quadratic growth, is left out at that size and named. Errors are against direct sums at sampled points.
A table that exists keeps its other rows, so that slow programs can be timed separately (--programs, parts of names).

The peers are no dependencies of ours: statsmodels, scikit-learn, rgram, hessband, fastlpr, KDEpy, nprobust-pkg,
kernelsmooth and hbw, installed with kvar and numba in an environment of their own.
"""

from __future__ import annotations

import argparse
import csv
import gc
import importlib.util
import statistics
import time
import warnings
from pathlib import Path

import kernel_regression_peers as peers
import numpy as np

from kvar import KernelRegressor, select_bandwidth
from kvar.kernels import get_kernel
from kvar.smoothing.design import Design
from kvar.smoothing.sums import engine
from kvar.smoothing.sums.neighbour_sums import _LIGHT, _TRUST, _compiled, _tables, _unroll

H, GRID, REPEATS = 0.05, np.geomspace(0.005, 0.5, 50), 7
EPANECHNIKOV = get_kernel("epanechnikov")
NUMBA = importlib.util.find_spec("numba") is not None
COLUMNS = ("job", "n", "program", "median_seconds", "largest_error", "chosen_bandwidth", "ratio_to_kvar")


def median_time(run, repeats=REPEATS):
    """Median CPU seconds after a warm-up, without garbage collection; from ten seconds on, those of the first run."""
    began = time.process_time()
    answer = run()
    first = time.process_time() - began
    if first >= 10.0:
        return first, answer
    gc.collect()
    gc.disable()
    times = []
    while len(times) < repeats and sum(times) < 10.0:
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    gc.enable()
    return statistics.median(times), answer


def sample(n):
    """The points and responses that all programs get."""
    rng = np.random.default_rng(n)
    x = np.sort(rng.random(n))
    return x, np.sin(6.0 * x) + 0.5 * rng.standard_normal(n)


def error_at(x, y, fit, h, count=200):
    """Largest error at sampled points against direct sums."""
    worst = 0.0
    for i in np.random.default_rng(0).choice(x.size, count, replace=False):
        near = slice(*np.searchsorted(x, [x[i] - 1.01 * h, x[i] + 1.01 * h]))
        k = EPANECHNIKOV((x[near] - x[i]) / h)
        worst = max(worst, abs(fit[i] - np.sum(k * y[near]) / np.sum(k)))
    return worst


def compiled_pass(x, y, h):
    """The compiled loop alone, which shows what the estimator around it costs."""
    design = Design.build(x, y)
    tables, out, at_zero = _tables(EPANECHNIKOV, 0, False), np.empty((2, x.size)), EPANECHNIKOV.at_zero

    def run():
        _compiled().compact_sums(
            design.x, design.w, design.v, design.starts, h, tables, _unroll(tables), EPANECHNIKOV.base,
            EPANECHNIKOV.power, False, False, _LIGHT, _TRUST, out,
        )  # fmt: skip
        return (out[1] + at_zero * design.v) / (out[0] + at_zero * design.w)

    return run


def direct_errors(x, y, grid):
    """Leave-one-out errors by a compiled loop over all neighbours: brute force."""
    from numba import njit

    @njit
    def loop(x, y, h):
        total, low = 0.0, 0
        for i in range(x.size):
            while x[i] - x[low] > h:
                low += 1
            weight = value = 0.0
            j = low
            while j < x.size and x[j] - x[i] <= h:
                if j != i:
                    k = 1.0 - ((x[j] - x[i]) / h) ** 2
                    weight += k
                    value += k * y[j]
                j += 1
            if weight == 0.0:
                return np.inf
            total += (y[i] - value / weight) ** 2
        return total / x.size

    return lambda: grid[int(np.argmin([loop(x, y, h) for h in grid]))]


def with_engine(name, run):
    """The same with numba or without it."""

    def wrapped():
        engine.numba_installed = lambda: name == "numba"
        return run()

    return wrapped


def our_fit(name):
    """Prediction at the fitted points."""

    def prepare(x, y, h):
        model = KernelRegressor("epanechnikov", h).fit(x, y)
        return with_engine(name, lambda: model.predict(x))

    return prepare


def our_search(name):
    """Exact leave-one-out over the grid."""
    return lambda x, y, grid: with_engine(name, lambda: select_bandwidth(x, y, "loo-cv", grid=grid).bandwidth)


def time_programs(job, programs, argument, sizes, patience, keep):
    """Time the programs at all sizes, one row for each."""
    last = {}
    for n in sizes:
        x, y = sample(n)
        ours = None
        for name, prepare in programs.items():
            known = last.get(name)
            if known and known[1] > 0.1 and known[1] * (n / known[0]) ** 2 > patience and not name.startswith("kvar"):
                print(f"{job} {n:>9,} {name}: left out, {known[1]:.3g} s at {known[0]:,}")
                continue
            if n > peers.MOST_POINTS.get(name, n):
                print(f"{job} {n:>9,} {name}: left out, memory grows as n squared")
                continue
            try:
                seconds, answer = median_time(prepare(x, y, argument))
            except Exception as failure:  # peers change, and the other rows are still of use
                print(f"{job} {n:>9,} {name}: failed, {failure!r}"[:150])
                continue
            last[name] = (n, seconds)
            ours = ours or seconds
            error = chosen = ""
            if np.ndim(answer) == 0:
                chosen = f"{answer:.5f}"
            elif name not in peers.GAUSSIAN_FITS:
                error = f"{error_at(x, y, answer, H):.1e}"
            keep({"job": job, "n": n, "program": name, "median_seconds": f"{seconds:.3g}", "largest_error": error,
                  "chosen_bandwidth": chosen, "ratio_to_kvar": f"{seconds / ours:.3g}"})  # fmt: skip
            print(
                f"{job} {n:>9,} {name:18s} {seconds * 1e3:12.3f} ms {seconds / ours:10.2f} x  {error or chosen}",
                flush=True,
            )


def growth(program, repeats=5):
    """Median ratio of the time at a million points to that at a hundred thousand, measured in turn."""
    small, large = program(*sample(100_000), H), program(*sample(1_000_000), H)
    ratios = [median_time(large, 1)[0] / median_time(small, 3)[0] for _ in range(repeats)]
    return statistics.median(ratios)


class Table:
    """A CSV file with rows by job, size and program, written after every new row."""

    def __init__(self, path):
        self.path, self.rows = path, {}
        if path is not None and path.exists():
            with open(path, newline="") as file:
                for row in csv.DictReader(file):
                    self._put(row)

    def _put(self, row):
        self.rows[row["job"], int(row["n"]), row["program"]] = row

    def keep(self, row):
        """Add or replace a row."""
        self._put(row)
        if self.path is None:
            return
        with open(self.path, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(row for _, row in sorted(self.rows.items(), key=lambda item: item[0][:2]))


def main():
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--patience", type=float, default=180.0)
    parser.add_argument("--programs", nargs="+", help="only those with one of these in their name, and kvar with numba")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    engines = ("numba", "NumPy") if NUMBA else ("NumPy",)
    fits = {f"kvar, {name}": our_fit(name) for name in engines}
    searches = {f"kvar, {name}": our_search(name) for name in engines}
    if NUMBA:
        fits["one compiled pass"] = compiled_pass
        searches["brute force, compiled"] = direct_errors
    fits |= peers.installed(peers.FITS)
    searches |= peers.installed(peers.SEARCHES)
    if args.programs:
        fits, searches = (
            {name: p for i, (name, p) in enumerate(programs.items()) if i == 0 or any(w in name for w in args.programs)}
            for programs in (fits, searches)
        )
    table = Table(args.out)
    time_programs("fits", fits, H, args.sizes, args.patience, table.keep)
    time_programs("choice of 50", searches, GRID, [n for n in args.sizes if n <= 100_000], args.patience, table.keep)
    for name in fits if {100_000, 1_000_000} <= set(args.sizes) else ():
        if name.startswith("kvar"):
            print(f"growth from 100,000 to 1,000,000 points, {name}: {growth(fits[name]):.1f}")


if __name__ == "__main__":
    main()
