"""Time and memory of a fit and a prediction as n grows tenfold, in one run.

    python tests/benchmarks/kernel_regression_scale.py [--sizes 1000000 10000000] [--without-numba]

Each size runs in a process of its own, so that its peak memory is its own: what a fit to n unsorted observations and a
prediction at as many other points need beyond the data. Times are CPU seconds; the last column is their ratio to the
size before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time

import numpy as np

from kvar import KernelRegressor
from kvar.smoothing.sums import engine


def measure(n, with_numba, elsewhere):
    """CPU seconds of fit and prediction, and bytes for each observation beyond the data."""
    if not with_numba:
        engine.numba_installed = lambda: False
    rng = np.random.default_rng(0)
    small = rng.random(1000)
    KernelRegressor("epanechnikov", 0.05).fit(small, small).predict(small)  # loads and compiles
    x = rng.random(n)
    y = np.sin(6.0 * x) + rng.standard_normal(n)
    targets = rng.random(n) if elsewhere else x
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    model = KernelRegressor("epanechnikov", 0.05).fit(x, y)
    fitted = time.process_time()
    model.predict(targets)
    ended = time.process_time()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return fitted - began, ended - fitted, 1024.0 * memory / n


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--without-numba", action="store_true")
    args = parser.parse_args()
    for elsewhere in (False, True):
        last = None
        for n in args.sizes:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                fit, predict, memory = pool.apply(measure, (n, not args.without_numba, elsewhere))
            ratio = "" if last is None else f"{(fit + predict) / last:.1f} x"
            where = "at as many other points" if elsewhere else "at the observations"
            print(f"n = {n:>11,}  fit {fit:7.2f} s  predict {where} {predict:7.2f} s  {memory:5.0f} B/obs  {ratio}")
            last = fit + predict


if __name__ == "__main__":
    main()
