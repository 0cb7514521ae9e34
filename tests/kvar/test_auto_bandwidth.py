"""The bandwidth that a regression chooses for itself is that of `select_bandwidth`."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from kvar import KernelRegressor, select_bandwidth

STEP = np.repeat(np.arange(60.0), 4)
REWARD = (np.random.default_rng(3).random(240) < 0.2 + 0.01 * STEP).astype(float)
SERIES = np.tile([0, 0, 1, 1], 60)
WEIGHT = np.random.default_rng(4).uniform(0.5, 1.5, 240)
SETTINGS = [
    {},
    {"kernel": "epanechnikov", "degree": 1},
    {"kernel": "gaussian", "degree": 1, "empty": "nearest"},
    {"kernel": "biweight", "degree": 2},
    {"sided": "past"},
    {"kernel": "exponential", "sided": "past", "degree": 1},
]


@pytest.mark.filterwarnings("ignore:the least score")
@pytest.mark.parametrize("groups", [None, SERIES], ids=["one curve", "series"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("parameters", SETTINGS, ids=str)
def test_the_default_is_the_chosen_bandwidth(parameters, weight, groups):
    of_selection = {"kernel": "triangular", **parameters, "groups": groups, "sample_weight": weight}
    chosen = select_bandwidth(STEP, REWARD, **of_selection).bandwidth
    automatic = KernelRegressor(**parameters).fit(STEP, REWARD, weight, groups)
    given = KernelRegressor(**parameters, bandwidth=chosen).fit(STEP, REWARD, weight, groups)
    assert automatic.bandwidth_ == given.bandwidth_ == chosen
    np.testing.assert_array_equal(automatic.predict(STEP, groups), given.predict(STEP, groups))
    np.testing.assert_array_equal(automatic.loo_predict(), given.loo_predict())
    band, expected = (model.confidence_band(STEP, groups=groups) for model in (automatic, given))
    np.testing.assert_array_equal(band.lower, expected.lower)


def test_the_default_smooths_over_steps():
    assert KernelRegressor().fit(STEP, REWARD).bandwidth_ > 5.0


def test_the_parameter_stays_and_the_choice_follows_the_data():
    model = KernelRegressor().fit(STEP, REWARD)
    first = model.bandwidth_
    assert clone(model).get_params() == model.get_params()
    assert model.bandwidth == "auto"
    assert model.fit(2.0 * STEP, REWARD).bandwidth_ == pytest.approx(2.0 * first)
    search = GridSearchCV(KernelRegressor(empty="nearest"), {"bandwidth": ["auto", 0.5]}, cv=3)
    assert search.fit(STEP, REWARD).best_params_ == {"bandwidth": "auto"}


def test_dates_are_smoothed_by_seconds():
    days = np.datetime64("2026-01-01") + STEP.astype("timedelta64[D]")
    by_day = KernelRegressor().fit(days, REWARD)
    assert by_day.bandwidth_ == pytest.approx(86_400.0 * KernelRegressor().fit(STEP, REWARD).bandwidth_)


@pytest.mark.parametrize(
    ("x", "weight", "message"),
    [
        (STEP, WEIGHT / WEIGHT.sum(), r"sample_weight sums to 1 .*; or give a bandwidth"),
        (STEP[:8:4], None, "or give a bandwidth"),
    ],
)
def test_where_nothing_can_be_chosen_the_remedy_is_named(x, weight, message):
    with pytest.raises(ValueError, match=message):
        KernelRegressor().fit(x, REWARD[: x.size], weight)
    assert np.isfinite(KernelRegressor(bandwidth=1.0).fit(x, REWARD[: x.size], weight).predict(x)).all()


@pytest.mark.parametrize("wrong", ["Auto", "loo-cv", None, "5"])
def test_other_words_are_refused(wrong):
    with pytest.raises(ValueError, match="bandwidth must be a positive number or 'auto'"):
        KernelRegressor(bandwidth=wrong).fit(STEP, REWARD)
