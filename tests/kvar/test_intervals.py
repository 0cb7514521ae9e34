"""Confidence intervals against SciPy."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from kvar.intervals import adjusted_p_values, mean_interval


def test_the_interval_of_a_mean_is_that_of_the_t_test(rng):
    values = rng.normal(1.0, 2.0, size=7)
    found, expected = mean_interval(values), stats.ttest_1samp(values, 0.0).confidence_interval()
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 6) * found.standard_error)
    assert mean_interval([2, 2]).half_width == 0.0


@pytest.mark.parametrize("values", [[3.0], []])
def test_fewer_than_two_values_have_no_interval(values):
    found = mean_interval(values)
    assert found.n == len(values)
    assert math.isnan(found.low)
    assert math.isnan(found.mean) == (not values)
    assert np.isnan(mean_interval([1.0, math.nan]).high)


@pytest.mark.parametrize("method", ["holm", "fdr_bh"])
@pytest.mark.parametrize("n", [0, 1, 2, 30])
def test_adjusted_p_values_are_those_of_statsmodels(method, n, rng):
    # Rounded, so that there are ties; small, so that few are cut at 1.
    p_values = np.round(rng.random(n) ** 3, 2)
    with_gaps = np.full(2 * n + 1, np.nan)
    with_gaps[1::2] = p_values
    found = adjusted_p_values(with_gaps, method)
    assert np.isnan(found[::2]).all()
    if n:
        np.testing.assert_allclose(found[1::2], multipletests(p_values, method=method)[1], rtol=1e-14)
