"""The numbers of R on eight data sets: tests/kept/r/values.R has the calls and wrote the values."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from kvar import KernelRegressor, select_bandwidth

FOLDER = Path(__file__).parent.parent / "kept" / "r"


def _columns(name, keys):
    """The rows of a table as arrays of numbers, by the named columns."""
    found = defaultdict(list)
    for row in csv.DictReader((FOLDER / name).read_text().splitlines()):
        numbers = [float(row[column].replace("NA", "nan")) for column in row if column not in keys]
        found[tuple(row[key] for key in keys)].append(numbers)
    return {key: np.array(rows).T for key, rows in found.items()}


DATA = {key[0]: columns for key, columns in _columns("data.csv", ["set"]).items()}
VALUES = _columns("values.csv", ["set", "call"])


def _fit(name, call, kernel, degree, weighted=False):
    """Our fit to the data of a call, and its columns: where, value and standard error."""
    (x, y), (h, at, value, error) = DATA[name], VALUES[name, call]
    weight = 1.0 + np.arange(1, x.size + 1) % 3 if weighted else None
    return KernelRegressor(kernel, h[0], degree).fit(x, y, weight), at, value, error


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("degree", [0, 1])
def test_sm_regression_and_its_errors(name, degree):
    model, at, value, error = _fit(name, f"sm.regression(poly.index={degree})", "gaussian", degree)
    fit = model.local_fit(at)
    np.testing.assert_allclose(fit.estimate, value, rtol=1e-9)
    np.testing.assert_allclose(fit.standard_error / np.sqrt(model.noise_variance()), error, rtol=1e-9)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize(("degree", "derivative"), [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)])
def test_locpoly_and_its_derivatives(name, degree, derivative):
    model, at, value, _ = _fit(name, f"locpoly(degree={degree} drv={derivative})", "gaussian", degree)
    # It bins the data and cuts the kernel at four standard deviations.
    scale = np.ptp(DATA[name][1]) / model.bandwidth**derivative
    np.testing.assert_allclose(model.predict(at, derivative=derivative), value, atol=2e-3 * scale)


@pytest.mark.parametrize("name", DATA)
def test_ksmooth(name):
    model, at, value, _ = _fit(name, "ksmooth(box)", "uniform", 0)
    np.testing.assert_allclose(model.predict(at), value, rtol=1e-12)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("derivative", [0, 1])
def test_weighted_least_squares_by_lm(name, derivative):
    model, at, value, error = _fit(name, f"lm(tricube drv={derivative})", "tricube", 2, weighted=True)
    fit = model.local_fit(at, derivative=derivative)
    np.testing.assert_allclose(fit.estimate, value, rtol=1e-8)
    np.testing.assert_allclose(fit.standard_error / np.sqrt(model.noise_variance()), error, rtol=1e-8)


@pytest.mark.filterwarnings("ignore:the least score")
@pytest.mark.parametrize("name", DATA)
def test_the_leave_one_out_error_of_lm(name):
    (x, y), (h, _, value, _) = DATA[name], VALUES[name, "lm(leave-one-out)"]
    chosen = select_bandwidth(x, y, "loo-cv", "gaussian", 1, grid=h)
    np.testing.assert_allclose(chosen.scores, value, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:the least score")
@pytest.mark.parametrize("name", DATA)
def test_the_plug_in_of_dpill(name):
    # The same scheme, with other trimming, blocks and variance estimates in detail; most are within a third.
    x, y = DATA[name]
    ours = select_bandwidth(x, y, "plug-in", "gaussian", 1).bandwidth
    assert 0.5 < ours / VALUES[name, "dpill"][2][0] < 2.0
