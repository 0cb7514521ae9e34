"""What all tests share."""

import numpy as np
import pytest


@pytest.fixture
def rng():
    """A generator with a fixed seed, new for each test."""
    return np.random.default_rng(20260424)
