"""Both engines of the kernel sums, by parameter."""

import importlib.util

import pytest

from kvar.smoothing.sums import engine as engines


@pytest.fixture(params=["numpy", "numba"])
def engine(request, monkeypatch):
    if request.param == "numba" and importlib.util.find_spec("numba") is None:
        pytest.skip("numba is not installed")
    monkeypatch.setattr(engines, "numba_installed", lambda: request.param == "numba")
    return request.param
