"""When a curve first reaches a level."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["first_crossing"]


def first_crossing(x: ArrayLike, curves: ArrayLike, level: float | np.ndarray) -> np.ndarray:
    """First place at which each curve is at or above its level, by linear interpolation; inf where it never is.

    `curves` has a value for each of the n places `x` along its last axis; `level` is one number, or one for each curve.

    Examples
    --------
    >>> first_crossing([0, 100, 200], [[0.1, 0.2, 0.4], [0.1, 0.2, 0.2]], 0.3)
    array([150.,  inf])
    """
    x, curves = np.asarray(x, dtype=np.float64), np.asarray(curves, dtype=np.float64)
    level = np.broadcast_to(np.asarray(level, dtype=np.float64), curves.shape[:-1])
    above = curves >= level[..., None]
    first = above.argmax(axis=-1)
    k = np.maximum(first, 1)
    before, after = (np.take_along_axis(curves, place[..., None], axis=-1)[..., 0] for place in (k - 1, k))
    # A curve that begins at the level or above it has reached it at its first place.
    rises = above.any(axis=-1) & (first > 0)
    fraction = np.divide(level - before, after - before, out=np.zeros(level.shape), where=rises)
    return np.where(above.any(axis=-1), x[k - 1] + fraction * (x[k] - x[k - 1]), np.inf)
