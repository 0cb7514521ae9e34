"""Kinds of input that NumPy would convert, but not to what was meant: dates, masks, weights that are no counts."""

import datetime as dt
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from kvar import KernelRegressor, select_bandwidth
from kvar.smoothing.bandwidth import bandwidth_methods

HOURS = pd.date_range("2024-03-01", periods=48, freq="h")
X = np.linspace(0.0, 1.0, 200)
Y = np.sin(6.0 * X) + 0.2 * np.random.default_rng(0).standard_normal(200)
DATES = {
    "datetime64[h]": HOURS.to_numpy().astype("datetime64[h]"),
    "datetime64[s]": HOURS.to_numpy().astype("datetime64[s]"),
    "datetime64[ns]": HOURS.to_numpy().astype("datetime64[ns]"),
    "Python": HOURS.to_pydatetime().tolist(),
    "Python with a zone": [t.replace(tzinfo=dt.UTC) for t in HOURS.to_pydatetime()],
    "pandas": HOURS,
    "pandas with a zone": pd.Series(HOURS.tz_localize("UTC").tz_convert("Asia/Tokyo")),
    "a column": pd.DataFrame({"time": HOURS}),
    "polars": pl.Series(HOURS.to_pydatetime().tolist()),
}


@pytest.mark.parametrize("kind", DATES)
def test_dates_count_in_seconds_whatever_their_unit(kind):
    y = np.sin(np.arange(48.0) / 9.0) + np.random.default_rng(1).standard_normal(48)
    expected = KernelRegressor(bandwidth=3600.0 * 5).fit(3600.0 * np.arange(48), y).predict([4000.0, 50_000.0])
    targets = np.array([4000, 50_000]).astype("timedelta64[s]") + np.datetime64("2024-03-01", "s")
    model = KernelRegressor(bandwidth=3600.0 * 5).fit(DATES[kind], y)
    for unit in ("s", "ms", "ns"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a column has a name, and the targets have none
            got = model.predict(targets.astype(f"datetime64[{unit}]"))
        np.testing.assert_allclose(got, expected, rtol=1e-8)
    chosen = select_bandwidth(DATES[kind], y, "loo-cv", grid=[4e3, 16e3, 32e3, 1e5])
    assert chosen.bandwidth == select_bandwidth(3600.0 * np.arange(48), y, "loo-cv", grid=chosen.grid).bandwidth


def test_durations_count_in_seconds_too():
    days = np.arange(10).astype("timedelta64[D]")
    y = np.arange(10.0) ** 2
    expected = KernelRegressor(bandwidth=2.5).fit(np.arange(10.0), y).predict([3.5])
    model = KernelRegressor(bandwidth=2.5 * 86_400).fit(days, y)
    np.testing.assert_allclose(model.predict(np.array([84], "timedelta64[h]")), expected)
    np.testing.assert_allclose(model.predict([dt.timedelta(hours=84)]), expected)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array(["NaT", "2024-01-01"], "datetime64[ns]"), "x contains NaT at 1"),
        (np.array(["NaT", 3], "timedelta64[s]"), "x contains NaT at 1"),
        ([dt.datetime(2024, 1, 1), None], "x contains NaT at 1"),
        (pd.Series([pd.Timestamp("2024-01-01"), pd.NaT]), "x contains NaT at 1"),
        ([dt.datetime(2024, 1, 1), 3.0], "x must hold dates"),
        (np.array([1, 2], "timedelta64[Y]"), "x must hold dates, or durations of one length"),
        (["2024-01-01", "2024-01-02"], "x must hold numbers"),
    ],
)
def test_missing_and_mixed_dates_are_refused(x, message):
    for call in (KernelRegressor().fit, select_bandwidth):
        with pytest.raises(ValueError, match=message):
            call(x, [0.0, 1.0])


def test_dates_are_no_responses_and_do_not_mix_with_numbers():
    for call in (KernelRegressor().fit, select_bandwidth):
        with pytest.raises(ValueError, match="y must hold numbers, got dates"):
            call(np.arange(48.0), HOURS)
    with pytest.raises(ValueError, match="x0 holds numbers, but the model was fitted to dates"):
        KernelRegressor().fit(HOURS, np.arange(48.0)).predict([1.7e9])
    with pytest.raises(ValueError, match="x0 holds dates, but the model was fitted to numbers"):
        KernelRegressor().fit(X, Y).predict(HOURS)


def test_masked_entries_are_refused_wherever_they_are():
    masked = np.ma.array(X, mask=X > 0.9)
    for arguments in ((masked, Y), (X, np.ma.array(Y, mask=X > 0.9)), (X, Y, masked)):
        with pytest.raises(ValueError, match="is masked at 20 of 200 entries; leave"):
            KernelRegressor().fit(*arguments)
    for column in (np.ma.array(Y, mask=X > 0.9)[:, None], masked[:, None]):
        with pytest.raises(ValueError, match="masked"):
            KernelRegressor().fit(X, column)
    with pytest.raises(ValueError, match="x is masked"):
        KernelRegressor().fit(X, Y).predict(masked)
    with pytest.raises(ValueError, match="sample_weight is masked"):
        select_bandwidth(X, Y, sample_weight=masked)
    with pytest.raises(ValueError, match="groups is masked"):
        select_bandwidth(X, Y, groups=np.ma.array(np.zeros(200, dtype=int), mask=X > 0.5))
    free = np.ma.array(Y, mask=False)
    np.testing.assert_array_equal(KernelRegressor().fit(X, free).predict(X), KernelRegressor().fit(X, Y).predict(X))


@pytest.mark.parametrize("total", [1.0, 1e-3])
@pytest.mark.parametrize("method", bandwidth_methods())
def test_weights_that_sum_to_one_are_refused_where_weights_count(method, total):
    weight = (1.0 + X) / np.sum(1.0 + X) * total
    if method in ("loo-cv", "leave-one-step-out", "one-step-ahead"):
        plain = select_bandwidth(X, Y, method, sample_weight=1.0 + X)
        scaled = select_bandwidth(X, Y, method, sample_weight=weight)
        assert scaled.bandwidth == plain.bandwidth
        np.testing.assert_allclose(scaled.scores, plain.scores, rtol=1e-9)
    else:
        with pytest.raises(ValueError, match=r"sample_weight sums to .* over 200 rows.*rescale"):
            select_bandwidth(X, Y, method, sample_weight=weight)


def test_errors_refuse_weights_that_are_no_counts_and_estimates_take_them():
    weight = np.full(200, 1.0 / 200.0)
    model, plain = (KernelRegressor(bandwidth=0.1).fit(X, Y, w) for w in (weight, None))
    np.testing.assert_allclose(model.predict(X), plain.predict(X), rtol=1e-12)
    calls = (model.local_fit, model.confidence_band, model.variance_function)
    for call in calls:
        with pytest.raises(ValueError, match="sample_weight sums to 1 over 200 rows"):
            call([0.5])
    with pytest.raises(ValueError, match="sample_weight sums to 1 over 200 rows"):
        model.noise_variance()
    rescaled = KernelRegressor(bandwidth=0.1).fit(X, Y, weight * 200.0)
    np.testing.assert_allclose(rescaled.local_fit(X).standard_error, plain.local_fit(X).standard_error, rtol=1e-9)


@pytest.mark.parametrize("tolerance", [-1.0, np.nan, np.inf, "a", None, True, [0.1]])
def test_a_tolerance_that_is_no_fraction_is_refused(tolerance):
    with pytest.raises(ValueError, match="tolerance must be a number of at least 0"):
        KernelRegressor("gaussian", tolerance=tolerance).fit(X, Y)


@pytest.mark.parametrize(
    "missing", [[None, "a"], [np.nan, 1.0], ["a", pd.NA], np.array(["NaT", "2024-01-01"], "M8[s]")]
)
def test_missing_groups_are_refused(missing):
    for call in (KernelRegressor().fit, select_bandwidth):
        with pytest.raises(ValueError, match="groups has missing entries"):
            call([0.0, 1.0], [0.0, 1.0], groups=missing)


def test_groups_of_several_kinds_are_refused():
    for call in (KernelRegressor().fit, select_bandwidth):
        with pytest.raises(ValueError, match="groups must hold labels of one kind"):
            call([0.0, 1.0], [0.0, 1.0], groups=np.array(["a", 1], dtype=object))
