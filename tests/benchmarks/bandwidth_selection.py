"""How much error each bandwidth selector costs beside the best bandwidth in hindsight, libraries included.

    python tests/benchmarks/bandwidth_selection.py results.csv --reps 500 --jobs 2

Three curves, Gaussian and heavy-tailed noise and binary responses, n uniform points. A selector's bandwidth is used in
the estimator it is meant for (its kernel, its degree), the squared error against the true curve is averaged over the
points, and set in ratio to that of the bandwidth that is best for that very sample. The table holds the ratio of the
means over the repetitions and its Monte Carlo standard error. A library that is not installed is named and left out; a
selector that fails is a failure in the table, not a gap.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import math
import time
import warnings
from collections import defaultdict

import numpy as np
from joblib import Parallel, delayed

from kvar import KernelRegressor, select_bandwidth

CURVES = {
    "sine": lambda x: np.sin(4.0 * math.pi * x),
    "peak": lambda x: 2.0 * x - 1.0 + 2.0 * np.exp(-((16.0 * (x - 0.5)) ** 2)),
    "kink": lambda x: 3.0 * np.abs(x - 0.4) - 1.0,
}
NOISES = ("gaussian", "student", "binary")
HINDSIGHT = np.geomspace(0.01, 2.0, 80)
OURS = ("rule-of-thumb", "plug-in", "loo-cv", "gcv", "aicc", "lepski")


def draw(curve, noise, n, seed):
    """One sample: points, responses and the truth at the points."""
    rng = np.random.default_rng(seed)
    x = rng.random(n)
    truth = CURVES[curve](x)
    if noise == "binary":
        truth = 0.5 + 0.4 * truth / 1.5
        return x, (rng.random(n) < truth).astype(float), truth
    error = rng.standard_normal(n) if noise == "gaussian" else rng.standard_t(5, n) * math.sqrt(3.0 / 5.0)
    return x, truth + 0.5 * error, truth


def selectors():
    """Name, kernel, degree, side and function of every selector at hand."""
    found = []
    for degree in (0, 1):
        for method in OURS:
            found.append((f"kvar {method}", "epanechnikov", degree, "two", _ours(method, degree)))
        found.append(("kvar one-step-ahead", "triangular", degree, "past", _ours("one-step-ahead", degree)))
    if importlib.util.find_spec("hessband"):
        for method in ("analytic", "golden", "plugin"):
            found.append((f"hessband {method}", "epanechnikov", 0, "two", _hessband(method)))
    if importlib.util.find_spec("nprobust"):
        found.append(("nprobust imse-dpi", "epanechnikov", 1, "two", _nprobust))
    if importlib.util.find_spec("statsmodels"):
        for degree in (0, 1):
            found.append(("statsmodels cv_ls", "gaussian", degree, "two", _statsmodels(degree)))
    return found


def _ours(method, degree):
    kernel = "triangular" if method == "one-step-ahead" else "epanechnikov"
    return lambda x, y: select_bandwidth(x, y, method, kernel, degree).bandwidth


def _hessband(method):
    from hessband import select_nw_bandwidth

    return lambda x, y: float(select_nw_bandwidth(x, y, kernel="epanechnikov", method=method))


def _nprobust(x, y):
    from nprobust import lpbwselect

    return float(np.asarray(lpbwselect(y, x, p=1, kernel="epa", bwselect="imse-dpi").bws)[0, 1])


def _statsmodels(degree):
    from statsmodels.nonparametric.kernel_regression import KernelReg

    return lambda x, y: float(KernelReg(y, x, "c", reg_type=("lc", "ll")[degree], bw="cv_ls").bw[0])


def error_of(x, y, truth, kernel, degree, sided, h):
    """Mean squared error over the points; looking back, over the last three quarters of them."""
    model = KernelRegressor(kernel, h, degree, sided, empty="nearest").fit(x, y)
    seen = x > np.quantile(x, 0.25) if sided == "past" else slice(None)
    return float(np.mean((model.predict(x) - truth)[seen] ** 2))


def repetition(curve, noise, n, seed):
    """Errors of all selectors on one sample: rows (selector, degree, error, least error, bandwidth)."""
    x, y, truth = draw(curve, noise, n, seed)
    best, rows = {}, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, kernel, degree, sided, choose in selectors():
            key = (kernel, degree, sided)
            if key not in best:
                best[key] = min(error_of(x, y, truth, *key, h) for h in HINDSIGHT)
            try:
                h = choose(x, y)
                error = error_of(x, y, truth, *key, h)
            except Exception as failure:  # a selector that breaks is a result
                h, error = math.nan, math.nan
                print(f"{name} failed on {curve}, {noise}: {failure!r}"[:200])
            rows.append((name, degree, error, best[key], h))
    return rows


def main():
    """Run the study and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--reps", type=int, default=500)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=20260428)
    args = parser.parse_args()
    for library in ("hessband", "nprobust", "statsmodels"):
        if not importlib.util.find_spec(library):
            print(f"{library} is not installed and is left out")
    cells = [(curve, noise) for curve in CURVES for noise in NOISES]
    seeds = np.random.SeedSequence(args.seed).spawn(len(cells) * args.reps)
    began, table = time.time(), []
    for number, (curve, noise) in enumerate(cells):
        mine = seeds[number * args.reps : (number + 1) * args.reps]
        results = Parallel(n_jobs=args.jobs)(delayed(repetition)(curve, noise, args.n, seed) for seed in mine)
        errors = defaultdict(list)
        for rows in results:
            for name, degree, *values in rows:
                errors[name, degree].append(values)
        for (name, degree), values in errors.items():
            error, least, h = np.array(values).T
            fine = np.isfinite(error)
            ratio = error[fine].mean() / least[fine].mean()
            residual = (error[fine] - ratio * least[fine]) / least[fine].mean()
            deviation = residual.std(ddof=1) / math.sqrt(fine.sum())
            table.append([curve, noise, name, degree, args.n, args.reps, int((~fine).sum()), ratio, deviation,
                          float(np.median(h[fine]))])  # fmt: skip
            print(f"{curve:5s} {noise:8s} {name:22s} degree {degree}  {ratio:6.3f} +- {deviation:.3f}  "
                  f"median h {np.median(h[fine]):.3f}", flush=True)  # fmt: skip
        print(f"  {time.time() - began:.0f} s", flush=True)
    with open(args.out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["curve", "noise", "selector", "degree", "n", "repetitions", "failures",
                         "mse_ratio", "standard_error", "median_bandwidth"])  # fmt: skip
        writer.writerows(table)


if __name__ == "__main__":
    main()
