"""Data from callers, checked once at the boundary; errors say which argument they mean."""

from __future__ import annotations

import numpy as np

__all__ = ["check_data", "check_points"]


def check_points(x):
    """Points, (n,) or (n, 1), as a vector of float64."""
    if hasattr(x, "toarray"):
        raise TypeError("sparse x is not supported; pass a dense array")
    x = np.asarray(x)
    if x.ndim == 2 and x.shape[1] == 1:
        x = x[:, 0]
    return _finite(x, "x")


def check_data(x, y, weight):
    """Points, responses and weights (or None) as vectors of one length."""
    x = check_points(x)
    if y is None:
        raise ValueError("this regressor requires y to be passed, but the target y is None")
    y = np.asarray(y)
    y = _finite(y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y, "y")
    if x.size != y.size:
        raise ValueError(f"x and y must have the same length, not {x.size} and {y.size}")
    if x.size == 0:
        raise ValueError("no observations: at least 1 is required")
    if weight is not None:
        weight = _finite(np.asarray(weight), "sample_weight")
        if weight.size != x.size:
            raise ValueError(f"sample_weight must have one entry per observation, {x.size}, not {weight.size}")
        if np.any(weight < 0.0) or not np.any(weight > 0.0):
            raise ValueError("sample_weight must be non-negative and not all zero")
    return x, y, weight


def _finite(values, name):
    if values.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, not of shape {values.shape}")
    if np.iscomplexobj(values):
        raise ValueError(f"Complex data not supported: {name} must be real")
    try:
        values = values.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must hold numbers: {error}") from None
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{name} contains NaN or infinity")
    return values
