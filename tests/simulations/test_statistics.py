"""Errors of means, ratios, slopes and crossings against repeated sampling; verdicts by hand."""

import math

import numpy as np
import polars as pl
import pytest

from simulations.harness.statistics import Claim, MonteCarloEstimate, crossing, log_slope, mean_of, ratio_of, resamples
from simulations.harness.tables import markdown, sample, summary


def agree(estimates):
    """Standard errors are those of repeated sampling, to their own error of a few per cent."""
    values = np.array([e.value for e in estimates])
    stated = np.array([e.standard_error for e in estimates]).mean()
    assert stated == pytest.approx(values.std(ddof=1), rel=4 / math.sqrt(2 * len(values)))


def test_the_error_of_a_ratio_counts_what_both_share(rng):
    def draw():
        common = rng.normal(5.0, 1.0, size=200)
        return ratio_of(common + rng.normal(0.0, 0.1, size=200), common)

    agree([draw() for _ in range(400)])


def test_the_error_of_a_slope(rng):
    x = np.array([1.0, 2.0, 4.0, 8.0])
    fits = [log_slope(x, [rng.exponential(3.0 * v**-0.5, size=300) for v in x]) for _ in range(400)]
    agree(fits)
    values = np.array([fit.value for fit in fits])
    assert abs(values.mean() + 0.5) < 4 * values.std() / math.sqrt(400)


def test_a_slope_without_noise_is_exact():
    x = [1.0, 10.0, 100.0]
    assert log_slope(x, [[v ** (-2 / 3)] * 2 for v in x]).value == pytest.approx(-2 / 3)


def test_the_error_of_a_crossing(rng):
    times, weights = np.arange(0.0, 50.0), resamples(100, 300)
    # Curves that level off not far above the level, two rates of rising, the sooner of which counts.
    slow, fast = (1.15 * (1 - np.exp(-times / t)) for t in (12.0, 11.0))

    def draw():
        common = rng.normal(0, 0.2, (100, 1))
        curves = [mean + common + rng.normal(0, 0.2, (100, 1)) for mean in (slow, fast, slow)]
        first, second, other = (crossing(times, c, 1.0, weights) for c in curves)
        best = first.or_sooner(second)
        return best, best.over(other)

    found = [draw() for _ in range(400)]
    for numbers, errors in (
        ([best.time for best, _ in found], [best.standard_error for best, _ in found]),
        ([ratio.value for _, ratio in found], [ratio.standard_error for _, ratio in found]),
    ):
        assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(numbers, ddof=1), rel=0.2)


def test_crossings_by_hand():
    curves, times = np.array([[0.0, 1.0, 2.0], [0.0, 2.0, 4.0]]), [0.0, 10.0, 20.0]
    weights = np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])
    reached = crossing(times, curves, 2.25, weights)
    assert reached.time == pytest.approx(15.0)
    # The first curve alone never gets there, the second one after a quarter of the second half of the time.
    assert reached.resampled == pytest.approx([15.0, np.inf, 11.25])
    never = crossing(times, curves, 5.0, weights)
    assert (never.time, never.standard_error) == (np.inf, np.inf)
    assert never.or_sooner(reached).time == reached.time
    early = crossing(times, curves, 0.75, weights)
    assert early.resampled == pytest.approx([5.0, 7.5, 3.75])
    assert early.over(early).value == 1.0
    assert early.over(early).standard_error == 0.0


def test_resamples_draw_as_many_as_there_are():
    weights = resamples(50)
    assert weights.shape == (1000, 50)
    assert weights.sum(axis=1) == pytest.approx(1.0)
    assert (resamples(50) == weights).all()
    # The variance of a mean over draws is that of the sample over R.
    values = np.arange(50.0)
    assert (weights @ values).var() == pytest.approx(values.var() / 50, rel=0.15)


def test_means_by_hand():
    found = mean_of([1.0, 3.0])
    assert (found.value, found.standard_error, found.repetitions) == (2.0, 1.0, 2)
    assert found.half_width == pytest.approx(12.706, abs=1e-3)
    assert math.isnan(mean_of([1.0]).half_width)


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (Claim.at_most("", MonteCarloEstimate(0.01, 0.004, 1000), 0.02), "holds"),
        (Claim.at_most("", MonteCarloEstimate(0.01, 0.006, 1000), 0.02), "undecided"),
        (Claim.at_most("", MonteCarloEstimate(0.04, 0.006, 1000), 0.02), "misses"),
        (Claim.above("", MonteCarloEstimate(0.04, 0.006, 1000), 0.02), "holds"),
        (Claim.above("", MonteCarloEstimate(0.00, 0.006, 1000), 0.02), "misses"),
        (Claim.covers("", MonteCarloEstimate(0.66, 0.01, 1000), 2 / 3, 0.03), "holds"),
        (Claim.covers("", MonteCarloEstimate(0.66, 0.02, 1000), 2 / 3, 0.03), "undecided"),
        (Claim.covers("", MonteCarloEstimate(0.60, 0.02, 1000), 2 / 3, 0.03), "misses"),
        (Claim.fraction("", 9, 10, 0.9), "holds"),
        (Claim.fraction("", 8, 10, 0.9), "misses"),
        (Claim.at_most("", MonteCarloEstimate(0.0, math.nan, 1), 0.02), "undecided"),
    ],
)
def test_verdicts(claim, verdict):
    assert claim.verdict == verdict


def test_tables():
    rows = pl.DataFrame({"name": ["a", "b", "a", "b"], "repetition": [1, 0, 0, 1], "x": [1.0, 5.0, 3.0, 5.0]})
    table = summary(rows, ["name"], ["x"])
    assert table.rows() == [("a", 2.0, 1.0, 2), ("b", 5.0, 0.0, 2)]
    assert sample(rows, "x", name="a").tolist() == [3.0, 1.0]
    assert markdown(table).splitlines()[2] == "| a | 2 ± 1 | 2 |"
    # What is zero but for rounding is zero on every machine.
    noise = pl.DataFrame({"x": [-7e-21, 1e-14], "x_se": [2e-20, 3e-15]})
    assert markdown(noise).splitlines()[2:] == ["| 0 ± 0 |", "| 1e-14 ± 3e-15 |"]
    # A row of an estimate and a mean over repetitions name their standard errors differently.
    rows = pl.DataFrame({"value": [3.0], "standard_error": [0.5], "x": [1.0], "x_se": [0.25]})
    assert markdown(rows).splitlines()[2:] == ["| 3 ± 0.5 | 1 ± 0.25 |"]
