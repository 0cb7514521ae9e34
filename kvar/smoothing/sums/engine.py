"""Whether the compiled sums are used; asked at run time so that importing kvar never looks for numba."""

from __future__ import annotations

import importlib.util
from functools import cache

__all__ = ["numba_installed"]


@cache
def numba_installed() -> bool:
    """Whether numba can be imported."""
    return importlib.util.find_spec("numba") is not None
