"""Other libraries behind one interface: ``prepare(x, y, ...)`` returns the function to time.

A fit returns the estimates at all points, a search the bandwidth in units of x. Each docstring names where the library
differs from kvar: kernel, units, subsampling.
"""

from __future__ import annotations

import importlib.util

import numpy as np

from kvar.kernels import get_kernel

_EPANECHNIKOV, _GAUSSIAN = get_kernel("epanechnikov"), get_kernel("gaussian")
# Ratio of the bandwidths at which the two kernels smooth equally.
GAUSSIAN_PER_EPANECHNIKOV = _GAUSSIAN.canonical_bandwidth / _EPANECHNIKOV.canonical_bandwidth


def statsmodels_fit(x, y, h):
    """Gaussian kernel at the same canonical bandwidth."""
    from statsmodels.nonparametric.kernel_regression import KernelReg

    model = KernelReg(y, x, "c", reg_type="lc", bw=[h * GAUSSIAN_PER_EPANECHNIKOV])
    return lambda: model.fit(x)[0]


def rgram_fit(x, y, h):
    """Its kernel smoother."""
    from rgram import KernelSmoother

    model = KernelSmoother(kernel="epanechnikov", bandwidth="manual", bandwidth_value=h).fit(x, y)
    return lambda: np.asarray(model.predict(x)).ravel()


def hessband_fit(x, y, h):
    """All pairs at once: 2 GB at 10,000 points."""
    from hessband import nw_predict

    return lambda: nw_predict(x, y, x, h, "epanechnikov")


def fastlpr_fit(x, y, h):
    """Non-uniform FFT; its bandwidth is in standard deviations of x, and it takes at least two."""
    run = _fastlpr(x, y, np.array([h, 1.01 * h]))
    return lambda: np.asarray(run().yhat).ravel()


def _fastlpr(x, y, grid):
    from fastlpr import cv_fastlpr

    options = {"order": 0, "kernel_type": "epanechnikov", "dstd": 0}
    return lambda: cv_fastlpr(x[:, None], y, grid[:, None] / np.std(x), options)


def kdepy_fit(x, y, h):
    """Ratio of two FFT densities; its bandwidth is the standard deviation of the kernel."""
    from KDEpy import FFTKDE

    grid = np.linspace(x[0] - 1.1 * h, x[-1] + 1.1 * h, 1 << 14)
    shift = y.min() - 1.0  # weights must be positive

    def run():
        bottom = FFTKDE("epa", bw=h / np.sqrt(5.0)).fit(x)(grid)
        top = FFTKDE("epa", bw=h / np.sqrt(5.0)).fit(x, weights=y - shift)(grid)
        ratio = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0) * np.mean(y - shift) + shift
        return np.interp(x, grid, ratio)

    return run


def nprobust_fit(x, y, h):
    """Local means at all points, with the standard errors and corrected means that it always makes too."""
    from nprobust import lprobust

    return lambda: lprobust(y, x, eval=x, p=0, h=h, kernel="epa", bwcheck=None).Estimate["tau.us"].to_numpy()


def sklearn_fit(x, y, h):
    """Ratio of two kernel density estimates by trees."""
    from sklearn.neighbors import KernelDensity

    shift = y.min() - 1.0

    def run():
        bottom = KernelDensity(bandwidth=h, kernel="epanechnikov").fit(x[:, None])
        top = KernelDensity(bandwidth=h, kernel="epanechnikov").fit(x[:, None], sample_weight=y - shift)
        log_ratio = top.score_samples(x[:, None]) - bottom.score_samples(x[:, None])
        return np.exp(log_ratio) * np.mean(y - shift) + shift

    return run


def kernelsmooth_fit(x, y, h):
    """Gaussian kernel at the same canonical bandwidth, in standard deviations of x."""
    from kernelsmooth import KernelRegression

    model = KernelRegression(bandwidth=h * GAUSSIAN_PER_EPANECHNIKOV / np.std(x)).fit(x[:, None], y)
    return lambda: model.predict(x[:, None])


def hbw_fit(x, y, h):
    """Its Nadaraya-Watson prediction."""
    from hbw import nw_predict

    return lambda: nw_predict(x, y, x, h, "epan")


FITS = {
    "statsmodels": statsmodels_fit, "rgram": rgram_fit, "hessband": hessband_fit, "fastlpr": fastlpr_fit,
    "KDEpy": kdepy_fit, "nprobust": nprobust_fit, "sklearn": sklearn_fit, "kernelsmooth": kernelsmooth_fit,
    "hbw": hbw_fit,
}  # fmt: skip
# Fits with the Gaussian kernel, whose estimates are another curve.
GAUSSIAN_FITS = ("statsmodels", "kernelsmooth")


def hbw_default(x, y, grid):
    """Newton steps on a subsample of 5,000, whose bandwidth is not scaled to n; the grid is not used."""
    from hbw import nw_bandwidth

    return lambda: nw_bandwidth(x, y, kernel="epan", seed=0)


def hbw_grid(x, y, grid):
    """Its leave-one-out error over the grid."""
    from hbw import loocv_mse

    return lambda: grid[int(np.argmin([loocv_mse(x, y, h, "epan")[0] for h in grid]))]


def fastlpr_search(x, y, grid):
    """Generalised cross-validation over the grid."""
    run = _fastlpr(x, y, grid)
    return lambda: float(np.ravel(run().h)[0] * np.std(x))


def kernelsmooth_search(x, y, grid):
    """Leave-one-out over its own grid, Gaussian kernel; given as the Epanechnikov bandwidth that smooths equally."""
    from kernelsmooth import KernelRegression

    scale = np.std(x) / GAUSSIAN_PER_EPANECHNIKOV
    return lambda: float(np.ravel(KernelRegression(bandwidth="lscv").fit(x[:, None], y).bandwidth)[0]) * scale


def statsmodels_search(x, y, grid):
    """Leave-one-out by Nelder-Mead, Gaussian kernel; given as the Epanechnikov bandwidth that smooths equally."""
    from statsmodels.nonparametric.kernel_regression import KernelReg

    return lambda: float(KernelReg(y, x, "c", reg_type="lc", bw="cv_ls").bw[0]) / GAUSSIAN_PER_EPANECHNIKOV


def nprobust_search(x, y, grid):
    """Its plug-in for local lines, which is another criterion."""
    from nprobust import lpbwselect

    return lambda: float(lpbwselect(y, x, p=1, kernel="epa", bwselect="imse-dpi").bws["h"].iloc[0])


def hessband_search(x, y, grid):
    """Golden section on the cross-validated error, all pairs at once."""
    from hessband import select_nw_bandwidth

    return lambda: float(select_nw_bandwidth(x, y, kernel="epanechnikov", method="golden"))


SEARCHES = {
    "hbw default": hbw_default, "hbw grid": hbw_grid, "fastlpr GCV": fastlpr_search,
    "kernelsmooth lscv": kernelsmooth_search, "statsmodels cv_ls": statsmodels_search,
    "nprobust imse-dpi": nprobust_search, "hessband golden": hessband_search,
}  # fmt: skip
# Largest n that fits in memory, where it grows as n squared.
MOST_POINTS = {"hessband": 10_000, "hbw": 30_000, "hessband golden": 3_000}


def installed(programs):
    """The programs whose library is installed; the others are printed."""
    found = {}
    for name, prepare in programs.items():
        if importlib.util.find_spec(name.split()[0]):
            found[name] = prepare
        else:
            print(f"{name}: not installed, left out")
    return found
