"""Checks of parameters and states that come from outside."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable
from numbers import Integral
from typing import TypeGuard

import numpy as np

__all__ = [
    "LARGEST",
    "MOST_REWARDS",
    "checked_array",
    "checked_count",
    "checked_ids",
    "checked_keys",
    "checked_number",
    "did_you_mean",
    "is_number",
    "require",
    "require_choice",
    "require_flags",
]

# Rewards and steps are no larger than this, so that products of three of them stay within double precision.
LARGEST = 1e100
# States hold no larger numbers either, so that what a step adds to them stays finite.
_LARGEST = 1e305
# More rewards than any run has.
MOST_REWARDS = 2.0**53


def require(condition, sentence: str) -> None:
    """Raise ValueError unless the condition holds for all elements."""
    if not np.all(condition):
        raise ValueError(sentence)


def require_flags(**values) -> None:
    """Refuse values other than True and False."""
    for name, value in values.items():
        require(isinstance(value, (bool, np.bool_)), f"{name} must be True or False, got {value!r:.60}")


def require_choice(name: str, value, choices: Collection) -> None:
    """Refuse a value that is not among the choices."""
    plain = isinstance(value, (str, Integral)) and not isinstance(value, bool)
    if not plain or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r:.60}")


def did_you_mean(name, known: Iterable[str], likeness: float = 0.6) -> str:
    """The nearest of the known names as the end of a message, or nothing where none is near."""
    near = difflib.get_close_matches(str(name), list(known), 1, likeness)
    return f"; did you mean {near[0]!r}?" if near else ""


def is_number(value) -> TypeGuard[float]:
    """Whether this is a real number within double precision, and not a bool."""
    if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(value, bool):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def checked_count(value, name: str, low: int = 1, high: int | None = None) -> int:
    """A whole number within bounds."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        bounds = f"from {low} on" if high is None else f"from {low} to {high:,}"
        raise ValueError(f"{name} must be a whole number {bounds}, got {value!r:.60}")
    return int(value)


def checked_keys(state, keys, name: str) -> dict:
    """A dictionary with exactly these keys."""
    if not isinstance(state, dict):
        raise ValueError(f"{name} must be a dictionary, got {type(state).__name__}")
    if set(state) != set(keys):
        raise ValueError(f"{name} has the keys {sorted(keys)}, got {sorted(map(str, state))}")
    return state


def checked_number(value, name: str, low: float = -_LARGEST, high: float = _LARGEST) -> float:
    """A number within bounds, by default any finite one."""
    number = float(value) if is_number(value) else math.nan
    if not low <= number <= high:
        raise ValueError(f"{name} must be a number, {_within(low, high)}, got {value!r:.60}")
    return number


def checked_array(
    value,
    name: str,
    shape: tuple[int | None, ...],
    low: float = -_LARGEST,
    high: float = _LARGEST,
    missing: bool = False,
) -> np.ndarray:
    """Numbers within bounds, by default any finite ones."""
    try:
        array = np.array(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a rectangular array of numbers") from None
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be an array of numbers, got {array.dtype}")
    if array.size == 0 and shape[0] == 0:
        # As a list, a table without rows has lost their length.
        array = np.zeros([1 if n is None else n for n in shape])
    if array.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
        wanted = str(shape).replace("None", "n")
        raise ValueError(f"{name} must have the shape {wanted}, got {array.shape}")
    array = array.astype(np.float64)
    wrong = ~((array >= low) & (array <= high))
    if missing:
        wrong &= ~np.isnan(array)
    if wrong.any():
        raise ValueError(f"{name} must be {_within(low, high)}, got {array[wrong][0]:g}")
    return array


def _within(low: float, high: float) -> str:
    return f"from {low:g} to {high:g}"


def checked_ids(value, name: str) -> list[int | str]:
    """Distinct prompt ids."""
    if not isinstance(value, list) or not set(map(type, value)) <= {int, str}:
        raise ValueError(f"{name} must be a list of integers and strings")
    if len(set(value)) < len(value):
        raise ValueError(f"{name} must be distinct")
    return list(value)
