"""Limits of fits whose variance is a sum of few squares: against Student's, simulation, and separate points."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import stdtrit

from kvar import KernelRegressor
from kvar.kernels import get_kernel
from kvar.smoothing.design import Design
from kvar.smoothing.unequal_squares import _quantile, ratio_quantiles

EPANECHNIKOV = get_kernel("epanechnikov")


@pytest.mark.parametrize("level", [0.5, 0.95, 0.9999])
@pytest.mark.parametrize("freedom", [1, 4, 20])
def test_equal_squares_are_students(freedom, level):
    students = stdtrit(freedom, 0.5 + 0.5 * level)
    assert _quantile(np.full(freedom, 3.0), np.ones(freedom), level) == pytest.approx(students, rel=1e-9)
    assert _quantile(np.array([3.0]), np.array([float(freedom)]), level) == pytest.approx(students, rel=1e-9)


def test_quantile_of_unequal_squares_by_simulation():
    rng = np.random.default_rng(0)
    parts, counts = np.array([0.7, 0.2, 0.02]), np.array([1.0, 1.0, 5.0])
    squares = (rng.chisquare(counts, (200_000, 3)) * parts).sum(axis=1) / np.sum(parts * counts)
    outside = np.mean(np.abs(rng.standard_normal(200_000)) > _quantile(parts, counts, 0.95) * np.sqrt(squares))
    assert abs(outside - 0.05) < 4.0 * np.sqrt(0.05 * 0.95 / 200_000)


@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("degree", [0, 1, 2])
def test_equal_points_are_points_next_to_each_other(degree, past):
    x = np.repeat(np.arange(12.0), [1, 3, 2, 4, 1, 2, 3, 2, 2, 1, 4, 2])
    # Looking back, equal points do not see each other, so a step must stay one.
    apart = x if past else x + 1e-7 * np.arange(x.size)
    together = Design.build(x, x)
    distinct, counts = np.unique(x, return_counts=True)
    weighted = Design.build(distinct, distinct, counts.astype(float))
    options = {"kernel": EPANECHNIKOV, "h": 4.5, "past": past, "degree": degree}
    targets = np.array([12.0, 6.5, 12.0, 3.9])
    found = ratio_quantiles(together, targets, None, 0.95, **options)
    np.testing.assert_allclose(found, ratio_quantiles(Design.build(apart, apart), targets, None, 0.95, **options), 1e-4)
    np.testing.assert_allclose(found, ratio_quantiles(weighted, targets, None, 0.95, **options), 1e-12)
    # Each series has its own.
    two = Design.build(np.append(x, x[:3]), np.append(x, x[:3]), None, np.append(np.zeros(x.size), np.ones(3)))
    np.testing.assert_allclose(
        ratio_quantiles(two, targets, np.zeros(4, dtype=int), 0.95, **options), found, rtol=1e-12
    )
    assert np.isnan(ratio_quantiles(two, targets, np.full(4, 2), 0.95, **options)).all()


@pytest.mark.parametrize("degree", [1, 2])
def test_a_polynomial_at_an_end_covers_what_it_says(degree):
    rng, repetitions = np.random.default_rng(degree), 600
    x = (np.arange(20) + 0.5) / 20
    inside = 0
    for _ in range(repetitions):
        model = KernelRegressor("epanechnikov", 0.25, degree).fit(x, rng.standard_normal(20))
        band = model.confidence_band([0.0], noise="local")
        inside += band.lower[0] <= 0.0 <= band.upper[0]
    # Student's t with the degrees of freedom of the squares covers 98.8 % (a line) and 99.8 % (a parabola).
    assert abs(inside / repetitions - 0.955) < 3.0 * np.sqrt(0.05 * 0.95 / repetitions)
