"""What all tests share."""

import os

import numpy as np
import pytest
from hypothesis import settings

# The same examples each time in the suite, and fewer for each of many mutants; by night ten thousand new ones for every
# law that sets no number of its own.
settings.register_profile("fast", derandomize=True, deadline=None)
settings.register_profile("few", max_examples=15, derandomize=True, deadline=None)
settings.register_profile("nightly", max_examples=10_000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture
def rng():
    """A generator with a fixed seed, new for each test."""
    return np.random.default_rng(20260424)
