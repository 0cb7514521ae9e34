"""Speed and error of the kernel sums beside other libraries, in one run, as medians and ratios.

    python tests/benchmarks/kernel_regression.py [--sizes 10000 100000 1000000] [--patience 30]

Every program fits the same points (uniform, sorted, h = 0.05 of the range, Epanechnikov, local means) at all of them.
A peer that would take longer than the patience, by its time at the size before and quadratic growth, is left out of
that size and named. Errors are against direct sums at sampled points.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import statistics
import time
import warnings

import numpy as np

from kvar import KernelRegressor, _engine, select_bandwidth
from kvar._design import Design
from kvar._moments import _compiled, _tables, _unroll
from kvar.kernels import get_kernel

H, REPEATS = 0.05, 7


def median_time(run, repeats=REPEATS):
    """Median seconds, collector off, after a warm-up; a program that takes ten seconds or more is run once, cold."""
    began = time.perf_counter()
    answer = run()
    times = [time.perf_counter() - began]
    if times[0] >= 10.0:
        return times[0], answer
    gc.collect()
    gc.disable()
    times = []
    while len(times) < repeats and sum(times) < 10.0:
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    gc.enable()
    return statistics.median(times), answer


def sample(n):
    """The points and responses all programs get."""
    rng = np.random.default_rng(n)
    x = np.sort(rng.random(n))
    return x, np.sin(6.0 * x) + 0.5 * rng.standard_normal(n)


def error_at(x, y, fit, h, count=200, degree=0, kernel="epanechnikov"):
    """Largest error at sampled points against direct sums."""
    worst, weigh = 0.0, get_kernel(kernel)
    for i in np.random.default_rng(0).choice(x.size, count, replace=False):
        near = slice(*np.searchsorted(x, [x[i] - 1.01 * h, x[i] + 1.01 * h]))
        u = (x[near] - x[i]) / h
        k = weigh(u)
        mean = np.sum(k * u) / np.sum(k) if degree else 0.0
        slope = np.sum(k * (u - mean) * y[near]) / np.sum(k * (u - mean) ** 2) if degree else 0.0
        worst = max(worst, abs(fit[i] - (np.sum(k * y[near]) / np.sum(k) - mean * slope)))
    return worst


def compiled_pass(x, y):
    """The bare compiled loop: the yardstick, and what a pass costs without the estimator around it."""
    design = Design.build(x, y)
    kernel = get_kernel("epanechnikov")
    tables, out = _tables(kernel, 0, False), np.empty((2, x.size))

    def run():
        _compiled().compact_sums(
            design.x, design.w, design.v, design.starts, H, tables, _unroll(tables), kernel.base, kernel.power,
            False, False, 1e-3, 300.0, out,
        )  # fmt: skip
        return (out[1] + kernel(0.0) * design.v) / (out[0] + kernel(0.0) * design.w)

    return run


def ours(engine):
    """Prediction at the fitted points, with or without numba."""

    def prepare(x, y):
        model = KernelRegressor("epanechnikov", H).fit(x, y)

        def run():
            _engine.numba_installed = lambda: engine == "numba"
            return model.predict(x)

        return run

    return prepare


def statsmodels(x, y):
    """Nadaraya-Watson with the Gaussian kernel at the same canonical bandwidth."""
    from statsmodels.nonparametric.kernel_regression import KernelReg

    ratio = get_kernel("gaussian").canonical_bandwidth / get_kernel("epanechnikov").canonical_bandwidth
    model = KernelReg(y, x, "c", reg_type="lc", bw=[H * ratio])
    return lambda: model.fit(x)[0]


def rgram(x, y):
    """Its kernel smoother."""
    from rgram import KernelSmoother

    model = KernelSmoother(kernel="epanechnikov", bandwidth="manual", bandwidth_value=H).fit(x, y)
    return lambda: np.asarray(model.predict(x)).ravel()


def hessband(x, y):
    """All pairs at once: 2 GB at 10,000 points."""
    from hessband import nw_predict

    return lambda: nw_predict(x, y, x, H, "epanechnikov")


def fastlpr(x, y):
    """Non-uniform FFT; its bandwidth is in standard deviations of x, and it wants at least two."""
    from fastlpr import cv_fastlpr

    h = np.array([[H], [1.01 * H]]) / np.std(x)
    options = {"order": 0, "kernel_type": "epanechnikov", "dstd": 0}
    return lambda: np.asarray(cv_fastlpr(x[:, None], y, h, options).yhat).ravel()


def kdepy(x, y):
    """Ratio of two FFT densities; its bandwidth is the standard deviation of the kernel."""
    from KDEpy import FFTKDE

    grid = np.linspace(x[0] - 1.1 * H, x[-1] + 1.1 * H, 1 << 14)
    shift = y.min() - 1.0  # weights must be positive

    def run():
        bottom = FFTKDE("epa", bw=H / np.sqrt(5.0)).fit(x)(grid)
        top = FFTKDE("epa", bw=H / np.sqrt(5.0)).fit(x, weights=y - shift)(grid)
        ratio = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0) * np.mean(y - shift) + shift
        return np.interp(x, grid, ratio)

    return run


def nprobust(x, y):
    """Local means at all points, one bandwidth."""
    from nprobust import lprobust

    return lambda: np.asarray(lprobust(y, x, eval=x, p=0, h=H, kernel="epa").Estimate)[:, 4]


def sklearn(x, y):
    """Ratio of two kernel density estimates by trees."""
    from sklearn.neighbors import KernelDensity

    shift = y.min() - 1.0

    def run():
        bottom = KernelDensity(bandwidth=H, kernel="epanechnikov").fit(x[:, None])
        top = KernelDensity(bandwidth=H, kernel="epanechnikov").fit(x[:, None], sample_weight=y - shift)
        log_ratio = top.score_samples(x[:, None]) - bottom.score_samples(x[:, None])
        return np.exp(log_ratio) * np.mean(y - shift) + shift

    return run


PEERS = {
    "statsmodels": statsmodels, "rgram": rgram, "hessband": hessband, "fastlpr": fastlpr, "KDEpy": kdepy,
    "nprobust": nprobust, "sklearn": sklearn,
}  # fmt: skip


def fits_table(sizes, patience):
    """All n fits: seconds, ratio to the bare compiled loop, error."""
    numba = importlib.util.find_spec("numba") is not None
    programs = {"compiled loop": compiled_pass, "kvar, numba": ours("numba")} if numba else {}
    programs["kvar, NumPy"] = ours("numpy")
    for name, peer in PEERS.items():
        if importlib.util.find_spec(name):
            programs[name] = peer
        else:
            print(f"{name} is not installed and is left out")
    last = {}
    for n in sizes:
        x, y = sample(n)
        yardstick = None
        for name, prepare in programs.items():
            known = last.get(name)
            if known and name in PEERS and known[1] > 0.1 and known[1] * (n / known[0]) ** 2 > patience:
                print(f"{n:>9,} {name:14s} left out: {known[1]:.3g} s at {known[0]:,}")
                continue
            if name == "hessband" and n > 10_000:
                print(f"{n:>9,} {name:14s} left out: memory grows as n squared")
                continue
            try:
                seconds, fit = median_time(prepare(x, y))
            except Exception as failure:  # peers change; a table with a hole beats none
                print(f"{n:>9,} {name:14s} failed: {failure!r}"[:150])
                continue
            last[name] = (n, seconds)
            yardstick = yardstick or seconds
            gaussian = name == "statsmodels"
            error = "other kernel" if gaussian else "-"
            if not gaussian and isinstance(fit, np.ndarray) and fit.shape == x.shape:
                error = f"{error_at(x, y, fit, H):.1e}"
            print(
                f"{n:>9,} {name:14s} {seconds * 1e3:11.3f} ms  {seconds / yardstick:10.2f} x  error {error}", flush=True
            )
    for name in ("kvar, numba", "kvar, NumPy"):
        if name in programs and {100_000, 1_000_000} <= set(sizes):
            x, y = sample(100_000)
            base = median_time(programs[name](x, y))[0]
            print(f"growth from 1e5 to 1e6, {name}: {last[name][1] / base:.1f}")


def cross_validation_table(sizes):
    """Leave-one-out over 50 bandwidths: seconds, in passes, and the same choice as brute force."""
    grid = np.geomspace(0.005, 0.5, 50)
    for engine in ("numba", "numpy"):
        if engine == "numba" and importlib.util.find_spec("numba") is None:
            continue
        for n in sizes:
            x, y = sample(n)
            _engine.numba_installed = lambda engine=engine: engine == "numba"
            model = KernelRegressor("epanechnikov", H).fit(x, y)
            one = median_time(lambda model=model, x=x: model.predict(x))[0]
            seconds, chosen = median_time(lambda x=x, y=y: select_bandwidth(x, y, grid=grid), 5)
            print(f"leave-one-out, 50 bandwidths, {engine}, n = {n:,}: {seconds:.4f} s = {seconds / one:.0f} passes, "
                  f"chose {chosen.bandwidth:.4f}", flush=True)  # fmt: skip
    x, y = sample(2000)
    brute = []
    for h in grid:
        k = get_kernel("epanechnikov")((x[:, None] - x) / h)
        np.fill_diagonal(k, 0.0)
        brute.append(np.mean((y - k @ y / k.sum(axis=1)) ** 2) if np.all(k.sum(axis=1) > 0) else np.inf)
    chosen = select_bandwidth(x, y, grid=grid)
    print(f"n = 2,000: chose {chosen.bandwidth:.5f}, brute force {grid[np.argmin(brute)]:.5f}, scores differ by "
          f"{np.max(np.abs(chosen.scores - brute)[np.isfinite(brute)]):.1e}")  # fmt: skip


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--patience", type=float, default=30.0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    fits_table(args.sizes, args.patience)
    cross_validation_table([n for n in args.sizes if 10_000 <= n <= 100_000])


if __name__ == "__main__":
    main()
