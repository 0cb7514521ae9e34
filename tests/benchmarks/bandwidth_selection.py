"""How much error each bandwidth selector costs against the best bandwidth in hindsight, libraries included.

    python tests/benchmarks/bandwidth_selection.py docs/bandwidth_selectors.csv

Three curves, Gaussian and heavy-tailed noise and binary responses, n uniform points. A selector's bandwidth is used in
the estimator it is meant for (its kernel, its degree). The squared error against the true curve is averaged over the
points, and divided by that of the best bandwidth for the same sample ("one-step-ahead" looks back: another estimator
with another best bandwidth). The table has the ratio of the means over the repetitions, its Monte Carlo standard error,
and the standard deviation of the logarithm of the chosen bandwidth, which exposes a selector that does not look at the
responses. A library that is not installed is named and left out (a comparison needs hessband, nprobust and
statsmodels); a selector that fails counts as a failure in the table.

Every cell of curve and noise is written when it is done, about four minutes on one core, and a second start resumes
there. --tuning takes six more curves and another seed, and compares only what they decided: how far the method
"averaged" trusts its reference bandwidth.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import math
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from rich.progress import track

from kvar import KernelRegressor, select_bandwidth
from kvar.smoothing import criteria

CURVES = {
    "sine": lambda x: np.sin(4.0 * math.pi * x),
    "peak": lambda x: 2.0 * x - 1.0 + 2.0 * np.exp(-((16.0 * (x - 0.5)) ** 2)),
    "kink": lambda x: 3.0 * np.abs(x - 0.4) - 1.0,
}
TUNING_CURVES = {
    "logistic": lambda x: 2.0 / (1.0 + np.exp(-20.0 * (x - 0.6))) - 1.0,
    "line": lambda x: 1.5 * (x - 0.5),
    "bumps": lambda x: 1.2 * np.exp(-(((x - 0.25) / 0.06) ** 2)) - np.exp(-(((x - 0.7) / 0.12) ** 2)),
    "chirp": lambda x: np.sin(2.0 * math.pi * (x + 1.5 * x**2)),
    "quadratic": lambda x: 4.0 * (x - 0.5) ** 2 - 0.5 + 0.6 * x,
    "jump": lambda x: np.where(x > 0.45, 0.8, -0.6) + 0.4 * x,
}
NOISES = ("gaussian", "student", "binary")
SEED, TUNING_SEED = 20261124, 991
TUNING_SPREADS = (0.6, 0.9, 1.25, math.inf)
HINDSIGHT = np.geomspace(0.01, 2.0, 80)
OURS = ("averaged", "rule-of-thumb", "plug-in", "loo-cv", "gcv", "aicc", "lepski")
COLUMNS = ("curve", "noise", "selector", "degree", "n", "repetitions", "seed", "failures", "mse_ratio",
           "standard_error", "median_bandwidth", "bandwidth_spread")  # fmt: skip


def draw(curve, noise, n, seed):
    """One sample: points, responses and the true curve at the points."""
    rng = np.random.default_rng(seed)
    x = rng.random(n)
    truth = {**CURVES, **TUNING_CURVES}[curve](x)
    if noise == "binary":
        truth = 0.5 + 0.4 * truth / 1.5
        return x, (rng.random(n) < truth).astype(float), truth
    error = rng.standard_normal(n) if noise == "gaussian" else rng.standard_t(5, n) * math.sqrt(3.0 / 5.0)
    return x, truth + 0.5 * error, truth


def selectors(tuning):
    """Name, kernel, degree, side and function of every selector that is installed."""
    found = []
    for degree in (0, 1):
        for method in ("loo-cv", "aicc") if tuning else OURS:
            found.append((f"kvar {method}", "epanechnikov", degree, "two", _ours(method, degree)))
        found.append(("kvar one-step-ahead", "triangular", degree, "past", _ours("one-step-ahead", degree)))
        for spread in TUNING_SPREADS if tuning else ():
            found.append((f"averaged, spread {spread}", "epanechnikov", degree, "two", _averaged(spread, degree)))
    if tuning:
        return found
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


def _averaged(spread, degree):
    def choose(x, y):
        criteria._REFERENCE_SPREAD = spread
        return select_bandwidth(x, y, "averaged", "epanechnikov", degree).bandwidth

    return choose


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
    """Mean squared error over the points; for one-sided fits, over the last three quarters of them."""
    model = KernelRegressor(kernel, h, degree, sided, empty="nearest").fit(x, y)
    seen = x > np.quantile(x, 0.25) if sided == "past" else slice(None)
    return float(np.mean((model.predict(x) - truth)[seen] ** 2))


def repetition(curve, noise, n, seed, tuning):
    """Errors of all selectors on one sample: rows (selector, degree, error, least error, bandwidth)."""
    x, y, truth = draw(curve, noise, n, seed)
    best, rows = {}, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, kernel, degree, sided, choose in selectors(tuning):
            key = (kernel, degree, sided)
            if key not in best:
                best[key] = min(error_of(x, y, truth, *key, h) for h in HINDSIGHT)
            try:
                h = choose(x, y)
                error = error_of(x, y, truth, *key, h)
            except Exception as failure:  # a selector that fails is a result
                h, error = math.nan, math.nan
                print(f"{name} failed on {curve}, {noise}: {failure!r}"[:200])
            rows.append((name, degree, error, best[key], h))
    return rows


def summarise(results):
    """One row per selector: failures, ratio of means, its standard error, median and spread of the bandwidth."""
    by_selector = defaultdict(list)
    for rows in results:
        for name, degree, *values in rows:
            by_selector[name, degree].append(values)
    for (name, degree), values in by_selector.items():
        error, least, h = np.array(values).T
        fine = np.isfinite(error)
        ratio = error[fine].mean() / least[fine].mean()
        residual = (error[fine] - ratio * least[fine]) / least[fine].mean()
        deviation = residual.std(ddof=1) / math.sqrt(fine.sum())
        spread = np.log(h[fine]).std(ddof=1)
        yield name, degree, int((~fine).sum()), ratio, deviation, float(np.median(h[fine])), spread


def read(path):
    """Rows written before, as dictionaries of strings."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def compare(rows):
    """Print the default selector against the best one of a library in every cell, and count."""
    cells = defaultdict(list)
    for row in rows:
        cells[row["curve"], row["noise"], row["degree"]].append(row)
    near = compared = 0
    for cell, found in cells.items():
        libraries = [row for row in found if not row["selector"].startswith("kvar")]
        ours = [row for row in found if row["selector"] == "kvar averaged"]
        if not libraries or not ours:
            continue
        best, own = min(libraries, key=lambda row: float(row["mse_ratio"])), ours[0]
        ratio = float(own["mse_ratio"]) / float(best["mse_ratio"])
        compared += 1
        near += ratio <= 1.1
        print(f"{' '.join(cell):20s} averaged {_with_error(own)}  {best['selector']:18s} {_with_error(best)} "
              f"(spread of log h {float(best['bandwidth_spread']):.3f})  ratio {ratio:.3f}")  # fmt: skip
    if compared:
        print(f"averaged is within 10 % of the best library selector in {near} of {compared} cells")


def _with_error(row):
    return f"{float(row['mse_ratio']):.3f} +- {float(row['standard_error']):.3f}"


def main():
    """Run the study and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--reps", type=int, default=500)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--tuning", action="store_true")
    parser.add_argument("--curves", nargs="+", help="only these")
    args = parser.parse_args()
    curves = [*CURVES, *TUNING_CURVES] if args.tuning else list(CURVES)
    seed = args.seed if args.seed is not None else (TUNING_SEED if args.tuning else SEED)
    for library in () if args.tuning else ("hessband", "nprobust", "statsmodels"):
        if not importlib.util.find_spec(library):
            print(f"{library} is not installed and is left out")
    setting = (str(args.n), str(args.reps), str(seed))
    done = {(row["curve"], row["noise"]) for row in read(args.out)
            if (row["n"], row["repetitions"], row["seed"]) == setting}  # fmt: skip
    if not done:
        args.out.write_text(",".join(COLUMNS) + "\n")
    for number, (curve, noise) in enumerate((curve, noise) for curve in curves for noise in NOISES):
        if (curve, noise) in done or curve not in (args.curves or curves):
            continue
        seeds = np.random.SeedSequence([seed, number]).spawn(args.reps)
        results = Parallel(n_jobs=args.jobs, return_as="generator")(
            delayed(repetition)(curve, noise, args.n, one, args.tuning) for one in seeds
        )
        lines = summarise(list(track(results, f"{curve}, {noise}", total=args.reps)))
        with open(args.out, "a", newline="") as file:
            for name, degree, failures, *values in lines:
                numbers = [f"{value:.5g}" for value in values]
                csv.writer(file, lineterminator="\n").writerow(
                    [curve, noise, name, degree, *setting, failures, *numbers]
                )
    compare(read(args.out))


if __name__ == "__main__":
    main()
