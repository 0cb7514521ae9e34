"""Series, robust fits, steps left out, refined choices, the variance function and the picture."""

import math
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn import config_context
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, cross_val_predict, cross_val_score

from kvar import KernelRegressor, select_bandwidth
from kvar.kernels import get_kernel


def _series(n=240, seed=0):
    rng = np.random.default_rng(seed)
    groups = rng.choice(["a", "b", "long name", "d"], n)
    x = np.round(rng.random(n), 2)
    return x, np.sin(6.0 * x) + 3.0 * (groups == "b") + 0.3 * rng.standard_normal(n), 0.5 + rng.random(n), groups


@pytest.mark.parametrize("sided", ["two", "past"])
@pytest.mark.parametrize("degree", [0, 1, 2])
def test_many_series_are_one_fit_for_each(engine, degree, sided):
    x, y, w, groups = _series()
    parameters = {"kernel": "biweight", "bandwidth": 0.2, "degree": degree, "sided": sided, "empty": "nearest"}
    together = KernelRegressor(**parameters).fit(x, y, w, groups)
    rng = np.random.default_rng(1)
    targets, theirs = rng.random(60), rng.choice(np.unique(groups), 60)
    for points, labels in ((targets, theirs), (x, groups)):
        fit, local = together.local_fit(points, groups=labels), together.local_fit(points, "local", labels)
        np.testing.assert_array_equal(together.predict(points, labels), fit.estimate)
        for label in np.unique(groups):
            alone = KernelRegressor(**parameters).fit(x[groups == label], y[groups == label], w[groups == label])
            mine = labels == label
            expected = alone.local_fit(points[mine])
            np.testing.assert_allclose(fit.estimate[mine], expected.estimate, rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(fit.weight[mine], expected.weight, rtol=1e-10, atol=1e-12)
            # One noise variance for all series together.
            ratio = fit.standard_error[mine] / expected.standard_error
            known = ~np.isnan(ratio)
            np.testing.assert_allclose(ratio[known], math.sqrt(together.noise_variance() / alone.noise_variance()))
            expected = alone.local_fit(points[mine], "local")
            np.testing.assert_allclose(local.standard_error[mine], expected.standard_error, rtol=1e-7)
            np.testing.assert_allclose(
                together.loo_predict()[groups == label], alone.loo_predict(), rtol=1e-9, atol=1e-12
            )
    if sided == "two":
        parts = [
            KernelRegressor(**parameters).fit(x[m], y[m], w[m]).degrees_of_freedom()
            for m in (groups == label for label in np.unique(groups))
        ]
        assert together.degrees_of_freedom() == pytest.approx(sum(parts), rel=1e-10)


@pytest.mark.parametrize("change", [{"bias_corrected": True}, {"simultaneous": True}, {"bounds": (-5.0, 9.0)}, {}])
def test_limits_of_one_series_do_not_depend_on_its_label(change):
    x, y, w, groups = _series()
    at = np.linspace(0.1, 0.9, 7)
    plain = KernelRegressor("biweight", 0.3).fit(x, y, w).confidence_band(at, **change)
    labelled = KernelRegressor("biweight", 0.3).fit(x, y, w, ["only"] * x.size)
    band = labelled.confidence_band(at, groups=["only"] * 7, **change)
    for name in ("lower", "estimate", "upper"):
        np.testing.assert_allclose(getattr(band, name), getattr(plain, name), rtol=1e-12)
    many = KernelRegressor("biweight", 0.3).fit(x, y, w, groups)
    order = np.random.default_rng(2).permutation(14)
    labels = np.repeat(["a", "b"], 7)
    band = many.confidence_band(np.tile(at, 2), groups=labels, **change)
    shuffled = many.confidence_band(np.tile(at, 2)[order], groups=labels[order], **change)
    np.testing.assert_allclose(shuffled.upper, band.upper[order], rtol=1e-12)
    assert np.all(band.lower < band.upper)


def test_series_that_were_not_seen_have_empty_windows():
    x, y, w, groups = _series()
    for empty in ("nan", "nearest"):
        model = KernelRegressor(bandwidth=0.2, empty=empty).fit(x, y, w, groups)
        got = model.predict([0.5, 0.5, 0.5], ["a", "new", "zzz"])
        np.testing.assert_array_equal(np.isnan(got), [False, True, True])
        assert model.local_fit([0.5], groups=["new"]).empty.all()


def test_what_was_selected_over_many_series_can_be_fitted():
    x, y, w, groups = _series()
    chosen = select_bandwidth(
        x, y, "loo-cv", groups=groups, sample_weight=w, grid=[0.02, 0.05, 0.1, 0.2, 0.4, 0.8], empty="nearest"
    )
    model = KernelRegressor(chosen.kernel, chosen.bandwidth, empty="nearest").fit(x, y, w, groups)
    least = np.sum(w * (y - model.loo_predict()) ** 2) / np.sum(w)
    assert least == pytest.approx(np.min(chosen.scores), rel=1e-10)


def test_groups_belong_to_both_calls_or_none():
    x, y, w, groups = _series()
    with pytest.raises(ValueError, match="pass the groups of the points too"):
        KernelRegressor().fit(x, y, w, groups).predict(x)
    with pytest.raises(ValueError, match="fitted without any"):
        KernelRegressor().fit(x, y, w).predict(x, groups)
    for call in (KernelRegressor().fit, select_bandwidth):
        with pytest.raises(ValueError, match="groups must have one entry per observation"):
            call(x, y, groups=groups[1:])


def test_groups_reach_the_splitter_and_if_asked_for_the_fit():
    x, y, _, groups = _series()
    with config_context(enable_metadata_routing=True):
        plain = KernelRegressor(bandwidth=0.3)
        scores = cross_val_score(plain, x[:, None], y, cv=GroupKFold(4), params={"groups": groups})
        asked = KernelRegressor(bandwidth=0.3).set_fit_request(groups=True).set_predict_request(groups=True)
        asked.set_score_request(groups=True)
        within = cross_val_score(asked, x[:, None], y, cv=4, params={"groups": groups})
    np.testing.assert_allclose(scores, cross_val_score(plain, x[:, None], y, cv=GroupKFold(4), groups=groups))
    assert np.min(within) > 0.7 > np.max(scores)


def _rollouts(n_steps=60, seed=3):
    # Four rollouts a step share what the step does to them.
    rng = np.random.default_rng(seed)
    step = np.repeat(np.arange(float(n_steps)), 4)
    return step, np.sin(step / 12.0) + np.repeat(rng.standard_normal(n_steps), 4) + 0.3 * rng.standard_normal(step.size)


@pytest.mark.filterwarnings("ignore:the least score")
@pytest.mark.parametrize("degree", [0, 1, 2])
def test_leaving_a_step_out_is_leaving_a_group_out(degree):
    step, y = _rollouts()
    model = KernelRegressor("epanechnikov", 6.5, degree).fit(step, y)
    expected = cross_val_predict(model, step[:, None], y, cv=LeaveOneGroupOut(), groups=step)
    np.testing.assert_allclose(model.loo_predict("step"), expected, rtol=1e-9, atol=1e-12)
    chosen = select_bandwidth(step, y, "leave-one-step-out", degree=degree, grid=[3.5, 6.5, 12.5, 25.5, 200.0])
    assert chosen.scores[1] == pytest.approx(np.mean((y - expected) ** 2), rel=1e-10)
    with pytest.raises(ValueError, match="leave_out must be one of"):
        model.loo_predict("group")


def test_steps_left_out_choose_a_window_that_looks_beyond_the_step():
    step, y = _rollouts()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fooled = select_bandwidth(step, y, "loo-cv").bandwidth
    chosen = select_bandwidth(step, y, "leave-one-step-out").bandwidth
    assert fooled < 1.5 < 4.0 < chosen

    def error(h):
        return np.mean((KernelRegressor("epanechnikov", h).fit(step, y).predict(step) - np.sin(step / 12.0)) ** 2)

    assert error(chosen) < 0.5 * error(fooled)


@pytest.mark.parametrize("method", ["loo-cv", "gcv", "aicc", "plug-in", "one-step-ahead"])
def test_a_refined_choice_has_no_more_score_than_its_neighbourhood(method):
    rng = np.random.default_rng(4)
    x = 7.0 * rng.random(200)
    y = np.sin(x) + 0.5 * rng.standard_normal(200)
    coarse = np.geomspace(0.08, 6.0, 11)
    chosen = select_bandwidth(x, y, method, grid=coarse, empty="nearest", refine=True)
    best = int(np.argmin(chosen.scores))
    fine = np.geomspace(coarse[best - 1], coarse[best + 1], 60)
    scores = select_bandwidth(x, y, method, grid=np.append(fine, chosen.bandwidth), empty="nearest")
    refined = scores.scores[scores.grid == chosen.bandwidth]
    assert coarse[best - 1] < chosen.bandwidth < coarse[best + 1]
    assert refined < chosen.scores[best]
    # A criterion of a compact kernel has small waves, of which one is met.
    assert refined - scores.scores.min() < 0.02 * (chosen.scores[best] - scores.scores.min()) + 1e-5
    np.testing.assert_array_equal(chosen.grid, coarse)
    for other in ("averaged", "lepski"):
        with pytest.raises(ValueError, match="refine"):
            select_bandwidth(x, y, other, refine=True)


def _robust_by_loops(x, y, kernel, h, iterations):
    weigh = get_kernel(kernel)
    keep = np.ones(x.size)
    for i in range(iterations + 1):
        fit = np.array([np.average(y, weights=keep * weigh((x - t) / h)) for t in x])
        if i < iterations:
            keep = np.maximum(1.0 - ((y - fit) / (6.0 * np.median(np.abs(y - fit)))) ** 2, 0.0) ** 2
    return fit


def test_robust_fits_are_those_of_the_loop(engine):
    rng = np.random.default_rng(5)
    x = rng.random(120)
    y = np.sin(6.0 * x) + 0.2 * rng.standard_cauchy(120)
    for iterations in (0, 1, 3):
        fit = KernelRegressor("tricube", 0.2, robust_iterations=iterations).fit(x, y).predict(x)
        np.testing.assert_allclose(fit, _robust_by_loops(x, y, "tricube", 0.2, iterations), rtol=1e-9, atol=1e-10)


def test_robust_lines_are_those_of_lowess_inside():
    lowess = pytest.importorskip("statsmodels.nonparametric.smoothers_lowess").lowess
    rng = np.random.default_rng(6)
    x = np.arange(400.0)
    y = np.sin(x / 40.0) + 0.2 * rng.standard_t(2, 400)
    inside = slice(60, 340)
    for iterations, tolerance in ((0, 1e-9), (3, 0.01)):
        theirs = lowess(y, x, frac=41 / 400, it=iterations, return_sorted=False)
        ours = KernelRegressor("tricube", 20.0, 1, robust_iterations=iterations).fit(x, y).predict(x)
        # Near the ends lowess takes wider windows, which moves the scale of the residuals a little.
        np.testing.assert_allclose(ours[inside], theirs[inside], atol=tolerance)


def test_a_robust_fit_withstands_what_moves_a_mean():
    rng = np.random.default_rng(7)
    x = np.linspace(0.0, 1.0, 300)
    clean = np.sin(6.0 * x) + 0.2 * rng.standard_normal(300)
    y = np.where(rng.random(300) < 0.1, 1e6, clean)
    model = KernelRegressor("epanechnikov", 0.15, degree=1, robust_iterations=5).fit(x, y)
    assert np.max(np.abs(model.predict(x) - np.sin(6.0 * x))) < 0.2
    assert model.noise_variance() == pytest.approx(0.04, rel=0.3)
    plain = KernelRegressor("epanechnikov", 0.15, degree=1).fit(x, np.zeros(300))
    same = KernelRegressor("epanechnikov", 0.15, degree=1, robust_iterations=5).fit(x, np.zeros(300))
    np.testing.assert_array_equal(same.predict(x), plain.predict(x))
    with pytest.raises(ValueError, match="robust_iterations must be a whole number"):
        KernelRegressor(robust_iterations=-1).fit(x, y)


def test_limits_of_a_robust_fit_cover():
    rng, repetitions = np.random.default_rng(8), 300
    x, at = np.linspace(0.0, 1.0, 120), [0.05, 0.5]
    inside, width = np.zeros(2), []
    for _ in range(repetitions):
        y = rng.standard_t(3, x.size)
        band = KernelRegressor("epanechnikov", 0.2, robust_iterations=3).fit(x, y).confidence_band(at)
        inside += (band.lower <= 0.0) & (band.upper >= 0.0)
        plain = KernelRegressor("epanechnikov", 0.2).fit(x, y).confidence_band(at)
        width.append((band.upper - band.lower) / (plain.upper - plain.lower))
    assert np.all(np.abs(inside / repetitions - 0.95) < 4.0 * math.sqrt(0.95 * 0.05 / repetitions))
    assert np.all(np.mean(width, axis=0) < 0.95)


def test_the_variance_function():
    rng = np.random.default_rng(9)
    x = rng.random(4000)
    y = np.sin(6.0 * x) + (0.2 + x) * rng.standard_normal(4000)
    model = KernelRegressor("epanechnikov", 0.1, degree=1).fit(x, y)
    at = np.linspace(0.1, 0.9, 9)
    found = model.variance_function(at)
    # About 800 squares in a window, of relative variance 2, twice as much under the Epanechnikov kernel's weights.
    np.testing.assert_allclose(found, (0.2 + at) ** 2, rtol=4.0 * math.sqrt(2.0 * 1.2 / 800.0))
    fit = model.local_fit(at, "local")
    rows = model.local_fit(at).standard_error / math.sqrt(model.noise_variance())
    np.testing.assert_allclose(fit.standard_error, np.sqrt(found) * rows, rtol=1e-12)


def test_the_picture_has_what_it_says():
    x, y, w, groups = _series()
    model = KernelRegressor(bandwidth=0.3).fit(x, y)
    axes = model.plot(truth=lambda at: np.sin(6.0 * at))
    labels = [line.get_label() for line in axes.get_lines()]
    assert "truth" in labels
    assert "fit, 95 % limits" in labels
    assert len(axes.collections) == 1
    rug = next(line for line in axes.get_lines() if line.get_marker() == "|")
    np.testing.assert_array_equal(rug.get_xdata(), np.sort(x))
    plt.close(axes.figure)
    figure, given = plt.subplots()
    many = KernelRegressor(bandwidth=0.3).fit(x, y, w, groups)
    assert many.plot(x0=[0.2, 0.4], group="b", level=0.5, ax=given) is given
    assert given.get_lines()[0].get_xdata().size == np.count_nonzero(groups == "b")
    with pytest.raises(ValueError, match="no observation is of the series 'c'"):
        many.plot(group="c")
    with pytest.raises(ValueError, match="group"):
        many.plot()
    plt.close(figure)


@pytest.mark.parametrize("kind", [{"bias_corrected": True}, {"simultaneous": True}])
def test_the_picture_has_the_band_that_was_asked_for(kind):
    x = np.linspace(0.0, 1.0, 60)
    model, at = KernelRegressor(bandwidth=0.2).fit(x, np.sin(6.0 * x) + 0.1 * np.cos(90.0 * x)), x[10:50:8]
    axes, band = model.plot(x0=at, **kind), model.confidence_band(at, **kind)
    corners = axes.collections[0].get_paths()[0].vertices
    assert np.isin(np.concatenate([band.lower, band.upper]), corners[:, 1]).all()
    np.testing.assert_array_equal(axes.lines[-1].get_ydata(), band.estimate)
    plt.close(axes.figure)


def test_a_picture_of_dates_and_of_many_observations():
    x = np.datetime64("2024-01-01", "s") + np.arange(5000).astype("timedelta64[m]")
    axes = KernelRegressor(bandwidth=86_400.0).fit(x, np.arange(5000.0)).plot()
    points = axes.get_lines()[0].get_xdata()
    assert points.dtype.kind == "M"
    assert 1000 < points.size <= 2000
    plt.close(axes.figure)
