"""Bandwidths where the data are odd: gaps, lonely points, equal responses, few observations, extreme units."""

import warnings

import numpy as np
import pytest
import typer
from statsmodels.datasets import engel
from typer.testing import CliRunner

from kvar import KernelRegressor, select_bandwidth
from kvar.commands.bandwidth import bandwidth_command
from kvar.kernels import get_kernel
from kvar.smoothing.bandwidth import bandwidth_methods
from kvar.smoothing.design import Design
from kvar.smoothing.sums.neighbour_sums import neighbour_sums

METHODS = bandwidth_methods()


def _series_with_a_pause():
    rng = np.random.default_rng(0)
    x = np.r_[np.arange(200.0), np.arange(1000.0, 1200.0)]
    return x, np.sin(x / 15) + 0.3 * rng.standard_normal(x.size)


def test_a_pause_does_not_set_the_bandwidth_looking_back():
    x, y = _series_with_a_pause()
    chosen = select_bandwidth(x, y, sided="past", kernel="triangular")
    assert chosen.bandwidth == pytest.approx(6.6, rel=0.05)
    assert chosen.scores.min() == pytest.approx(0.130, abs=5e-4)
    assert not chosen.at_edge
    # The first point after the pause is answered for by the one before it, and counted.
    assert chosen.n_scored == 399
    assert chosen.without_neighbour[chosen.weights == 1.0] == 1
    answered = select_bandwidth(x, y, sided="past", kernel="triangular", empty="nearest")
    assert answered.bandwidth == pytest.approx(chosen.bandwidth, rel=0.05)


@pytest.mark.parametrize("degree", [0, 1])
def test_bursts_with_pauses_looking_back(degree):
    # The first of each four points stands apart; looking across the pauses is no use.
    rng = np.random.default_rng(1)
    x = (100.0 * np.arange(60)[:, None] + np.arange(8.0)).ravel()
    y = np.repeat(rng.standard_normal(60), 8) + 0.3 * rng.standard_normal(x.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert select_bandwidth(x, y, degree=degree, sided="past").bandwidth < 92.0


def test_the_command_line_and_the_library_agree(tmp_path):
    x, y = _series_with_a_pause()
    np.savetxt(tmp_path / "pause.csv", np.c_[x, y], delimiter=",", header="x,y", comments="")
    app = typer.Typer()
    app.command()(bandwidth_command)
    result = CliRunner().invoke(app, [str(tmp_path / "pause.csv"), "--sided", "past"], env={"COLUMNS": "250"})
    assert result.exit_code == 0, result.output
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = select_bandwidth(x, y, sided="past").bandwidth
    row = next(line for line in result.output.splitlines() if line.lstrip("│ ").startswith("one-step-ahead"))
    assert f"{expected:.4g}" in row


def test_one_rich_household_does_not_set_the_bandwidth():
    data = engel.load_pandas().data
    x, y = data["income"].to_numpy(), data["foodexp"].to_numpy()
    # statsmodels' KernelReg with cv_ls finds 134.4.
    gaussian = select_bandwidth(x, y, "loo-cv", "gaussian")
    assert gaussian.bandwidth == pytest.approx(134.4, rel=0.05)
    assert not gaussian.at_edge
    compact = select_bandwidth(x, y, "loo-cv")
    grid = np.geomspace(20.0, 4000.0, 200)
    best = select_bandwidth(x, y, "loo-cv", grid=grid, empty="nearest")
    assert compact.scores.min() < 1.01 * best.scores.min()


@pytest.mark.parametrize(("noise", "message"), [(0.1, "lower end"), (1.0, "single observation")])
def test_a_choice_that_follows_from_one_point_warns(noise, message):
    # The point after a pause of nine steps is not far enough to stand apart; without it smaller windows would be tried.
    x = np.r_[np.arange(200.0), np.arange(208.0, 408.0)]
    y = np.sin(x / 15) + noise * np.random.default_rng(0).standard_normal(x.size)
    with pytest.warns(UserWarning, match=message):
        chosen = select_bandwidth(x, y, sided="past", kernel="triangular")
    assert chosen.at_edge
    assert chosen.grid[0] > 9.0
    assert select_bandwidth(x, y, sided="past", kernel="triangular", empty="nearest").grid[0] < 2.0


@pytest.mark.parametrize("method", METHODS)
def test_equal_responses_take_the_widest_window(method):
    x = np.random.default_rng(2).random(50)
    for value in (0.0, 0.1, -1e9):
        chosen = select_bandwidth(x, np.full(50, value), method)
        assert not chosen.at_edge
        if method != "averaged":
            assert chosen.bandwidth == chosen.grid[-1]
    series = np.arange(50) % 5
    if method not in ("rule-of-thumb", "plug-in"):
        one, other = (select_bandwidth(x, y, method, groups=series) for y in (np.zeros(50), 0.1 * series))
        assert one.bandwidth == other.bandwidth


@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize("method", METHODS)
def test_units_do_not_matter_over_three_hundred_decades(method, degree):
    x = np.linspace(0.0, 1.0, 50)
    y = np.sin(6.0 * x) + 0.2 * np.random.default_rng(0).standard_normal(50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        plain = select_bandwidth(x, y, method, degree=degree)
        for unit in (1e-150, 1e-78, 1e78, 1e150):
            assert select_bandwidth(x, unit * y, method, degree=degree).bandwidth == pytest.approx(
                plain.bandwidth, rel=1e-9
            )
            stretched = select_bandwidth(unit * x, y, method, degree=degree)
            assert stretched.bandwidth == pytest.approx(unit * plain.bandwidth, rel=1e-9)
            np.testing.assert_allclose(stretched.grid, unit * plain.grid, rtol=1e-12)
            np.testing.assert_allclose(stretched.scores, plain.scores, rtol=1e-7, atol=1e-12)
    doubled = select_bandwidth(x, 8.0 * y, "loo-cv", grid=plain.grid)
    np.testing.assert_allclose(
        doubled.scores, 64.0 * select_bandwidth(x, y, "loo-cv", grid=plain.grid).scores, rtol=1e-12
    )


def test_a_bandwidth_of_zero_does_not_hang():
    design = Design.build(np.arange(5.0), np.arange(5.0))
    for h in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="positive"):
            neighbour_sums(design, get_kernel("epanechnikov"), h, past=False, degree=0)


@pytest.mark.parametrize("options", [{}, {"grid": [10.0, 1000.0]}, {"method": "aicc"}])
def test_what_three_observations_lack_is_named(options):
    with pytest.raises(ValueError, match=r"at least 4 observations.*got 3.*loo-cv"):
        select_bandwidth([0, 1, 2], [1, 3, 2], **options)
    with pytest.raises(ValueError, match=r"at least 5 observations.*got 4"):
        select_bandwidth([0, 1, 2, 3], [1, 3, 2, 4], degree=1, **options)


def test_two_observations():
    with pytest.warns(UserWarning, match="end of the admissible grid"):
        assert select_bandwidth([0.0, 1.0], [1.0, 3.0], "loo-cv").bandwidth > 1.0
    with pytest.raises(ValueError, match="two neighbours"):
        select_bandwidth([0.0, 1.0], [1.0, 3.0], "loo-cv", degree=1)
    with pytest.raises(ValueError, match="no degrees of freedom"):
        select_bandwidth(np.arange(6.0), np.arange(6.0), "aicc", grid=[0.4], empty="nearest")


@pytest.mark.parametrize("kernel", ["uniform", "triangular", "epanechnikov", "tricube", "gaussian"])
def test_means_stay_among_the_responses(kernel):
    rng = np.random.default_rng(3)
    for _ in range(40):
        x = np.repeat(np.arange(30.0), 4)
        y = (rng.random(120) < 0.03).astype(float)
        for sided in ("two", "past"):
            model = KernelRegressor(kernel, 8.0, sided=sided).fit(x, y)
            for fit in (model.predict(np.linspace(-1.0, 31.0, 65)), model.loo_predict()):
                assert np.nanmin(fit, initial=0.0) >= 0.0
                assert np.nanmax(fit, initial=0.0) <= 1.0
    constant = KernelRegressor(kernel, 3.0).fit(x, np.full(120, 0.1)).predict(x)
    np.testing.assert_array_equal(constant, 0.1)


def test_a_lone_success_far_away_leaves_exact_zeros():
    y = np.zeros(6)
    y[0] = 1.0
    got = KernelRegressor("epanechnikov", 2.0, sided="past").fit(np.arange(6.0), y).predict(np.arange(7.0))
    np.testing.assert_array_equal(got, [np.nan, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
