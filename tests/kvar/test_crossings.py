"""First crossings by hand and against a loop."""

import numpy as np
import pytest

from kvar.utils.crossings import first_crossing


def test_by_hand():
    assert first_crossing([0.0, 10.0, 20.0], [0.0, 1.0, 2.0], 1.5) == 15.0
    assert first_crossing([0.0, 10.0, 20.0], [0.0, 1.0, 2.0], 1.0) == 10.0
    assert first_crossing([5.0, 10.0], [3.0, 1.0], 2.0) == 5.0
    assert first_crossing([5.0, 10.0], [0.0, 1.0], 2.0) == np.inf
    # The first of several crossings counts.
    assert first_crossing([0.0, 1.0, 2.0, 3.0], [0.0, 2.0, 0.0, 2.0], 1.0) == 0.5


def test_many_curves_are_single_ones(rng):
    x, curves, levels = np.sort(rng.random(8)), rng.random((50, 8)), rng.random(50) * 1.2
    found = first_crossing(x, curves, levels)
    for time, curve, level in zip(found, curves, levels, strict=True):
        steps = np.flatnonzero(curve >= level)
        if len(steps) and steps[0]:
            k = steps[0]
            assert time == pytest.approx(np.interp(level, curve[k - 1 : k + 1], x[k - 1 : k + 1]))
        else:
            assert time == (x[0] if len(steps) else np.inf)
