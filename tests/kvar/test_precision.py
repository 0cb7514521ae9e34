"""Rounding does not build up; the ten million updates are run by hand."""

import pytest

from tests.soak.precision import FORMULAS, error_after


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("n_updates", [20, 3_000])
def test_many_updates_leave_the_value_of_the_formula(name, n_updates):
    assert error_after(name, n_updates) < 1e-13
