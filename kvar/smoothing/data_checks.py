"""Data from callers, checked once at the boundary; errors say which argument they mean."""

from __future__ import annotations

import datetime
import math

import numpy as np

from kvar.kernels import get_kernel
from kvar.utils.checks import checked_count, is_number, require_choice

__all__ = [
    "check_counts",
    "check_data",
    "check_groups",
    "check_points",
    "check_regressor",
    "from_seconds",
    "kind_of_points",
    "refuse_masked",
]


def check_regressor(model):
    """The parameters of a `KernelRegressor`."""
    kernel = get_kernel(model.kernel)
    automatic = isinstance(model.bandwidth, str) and model.bandwidth == "auto"
    if not automatic and not (is_number(model.bandwidth) and 0 < model.bandwidth < math.inf):
        raise ValueError(
            f"bandwidth must be a positive number or 'auto', got {model.bandwidth!r:.60}; select_bandwidth has other "
            "methods, and .bandwidth of what it returns is the number"
        )
    require_choice("degree", model.degree, (0, 1, 2))
    require_choice("sided", model.sided, ("two", "past"))
    require_choice("empty", model.empty, ("nan", "nearest"))
    if not (is_number(model.tolerance) and 0 <= model.tolerance < math.inf):
        raise ValueError(f"tolerance must be a number of at least 0, got {model.tolerance!r:.60}")
    checked_count(model.robust_iterations, "robust_iterations", low=0)
    if kernel.one_sided and model.sided != "past":
        raise ValueError(f'the {kernel.name} kernel looks back only; use sided="past"')


def check_points(x):
    """Points, (n,) or (n, 1), as a vector of float64: dates in seconds since 1970 (UTC), durations in seconds."""
    if hasattr(x, "toarray"):
        raise TypeError("sparse x is not supported; pass a dense array")
    refuse_masked(x, "x")
    x = np.asarray(x)
    if x.ndim == 2 and x.shape[1] == 1:
        x = x[:, 0]
    return _finite(x if kind_of_points(x) == "numbers" else _seconds(x), "x")


def kind_of_points(x):
    """What x holds: ``"numbers"``, ``"dates"`` or ``"durations"``."""
    x = np.asarray(x)
    if x.dtype.kind == "O" and x.size:
        kinds = {datetime.date: "dates", datetime.timedelta: "durations"}
        return next((kind for type_, kind in kinds.items() if isinstance(x.flat[0], type_)), "numbers")
    return {"M": "dates", "m": "durations"}.get(x.dtype.kind, "numbers")


def _seconds(x):
    try:
        if x.dtype.kind == "O":
            x = np.array([_naive(value) for value in x.flat]).reshape(x.shape)
        seconds = (x - np.datetime64(0, "s") if x.dtype.kind == "M" else x) / np.timedelta64(1, "s")
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"x must hold dates, or durations of one length each: {error}") from None
    if np.isnan(seconds).any():
        raise ValueError(f"x contains NaT at {np.count_nonzero(np.isnan(seconds))} entries; leave missing dates out")
    return seconds


def from_seconds(points, kind):
    """Points as what x held, for those that were read from it or lie between them."""
    if kind == "numbers":
        return points
    return (1e6 * points).astype("datetime64[us]" if kind == "dates" else "timedelta64[us]")


def _naive(value):
    """A date or a duration of Python or pandas as one of NumPy, in UTC."""
    if value is None or value != value:
        return np.datetime64("NaT")
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return np.timedelta64(value, "us") if isinstance(value, datetime.timedelta) else np.datetime64(value, "us")


def refuse_masked(values, name):
    """Refuse masked entries, whose mask most functions of NumPy would drop."""
    if np.ma.is_masked(values):
        count = np.ma.count_masked(values)
        raise ValueError(f"{name} is masked at {count} of {np.size(values)} entries; leave these observations out")


def check_data(x, y, weight):
    """Points, responses and weights (or None) as vectors of one length."""
    x = check_points(x)
    if y is None:
        raise ValueError("this regressor requires y to be passed, but the target y is None")
    refuse_masked(y, "y")
    y = np.asarray(y)
    y = _finite(y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y, "y")
    if x.size != y.size:
        raise ValueError(f"x and y must have the same length, not {x.size} and {y.size}")
    if x.size == 0:
        raise ValueError("no observations: at least 1 is required")
    if weight is not None:
        refuse_masked(weight, "sample_weight")
        weight = _finite(np.asarray(weight), "sample_weight")
        if weight.size != x.size:
            raise ValueError(f"sample_weight must have one entry per observation, {x.size}, not {weight.size}")
        if np.any(weight < 0.0) or not np.any(weight > 0.0):
            raise ValueError("sample_weight must be non-negative and not all zero")
    return x, y, weight


def check_groups(groups, size):
    """Labels of series, one for each of `size` observations or points."""
    refuse_masked(groups, "groups")
    groups = np.asarray(groups)
    if groups.shape != (size,):
        raise ValueError(f"groups must have one entry per observation, {size}, not shape {groups.shape}")
    if groups.dtype.kind == "O":
        # What is missing in NumPy or pandas does not equal itself, or has no truth value.
        missing = [label is None or type(label).__name__ == "NAType" or label != label for label in groups]
        if not any(missing) and len({isinstance(label, str) for label in groups}) > 1:
            raise ValueError("groups must hold labels of one kind, not words and numbers")
    else:
        missing = groups != groups
    if np.any(missing):
        raise ValueError("groups has missing entries; leave these observations out")
    return groups


def check_counts(weight, needed):
    """Refuse weights that make up fewer observations than are needed, though the rows would do."""
    total, rows = float(np.sum(weight)), np.count_nonzero(weight)
    if total < needed <= rows:
        raise ValueError(
            f"sample_weight sums to {total:.4g} over {rows} rows, but weights count observations and {needed} are"
            " needed; rescale it to mean 1: w * len(w) / w.sum()"
        )


def _finite(values, name):
    if values.ndim != 1:
        remedy = "; put a single number into a list" if values.ndim == 0 else ""
        raise ValueError(f"{name} must be one-dimensional, not of shape {values.shape}{remedy}")
    if np.iscomplexobj(values):
        raise ValueError(f"Complex data not supported: {name} must be real")
    if kind_of_points(values) != "numbers":
        raise ValueError(f"{name} must hold numbers, got {kind_of_points(values)}")
    try:
        values = values.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must hold numbers: {error}") from None
    if wrong := np.count_nonzero(~np.isfinite(values)):
        raise ValueError(
            f"{name} contains NaN or infinity at {wrong} of {values.size} entries; leave these observations out"
        )
    return values
