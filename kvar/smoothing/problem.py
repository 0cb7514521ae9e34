"""What a bandwidth criterion scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.kernels import Kernel
from kvar.smoothing.design import Design

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """What a criterion scores.

    Attributes
    ----------
    design : Design
        The points, of one or many series.
    y, weight : ndarray of float64, shape (n,)
        Responses and positive weights.
    scored : ndarray of bool, shape (n,)
        Observations with enough other (earlier) points in their series for some bandwidth to serve them.
    kernel : Kernel
        The weight function.
    degree : int
        Local mean or local line.
    past : bool
        Strictly earlier points only.
    empty : str
        ``"nan"`` rejects a bandwidth that leaves a scored observation without neighbour, ``"nearest"`` answers for it.
    """

    design: Design
    y: np.ndarray
    weight: np.ndarray
    scored: np.ndarray
    kernel: Kernel
    degree: int
    past: bool
    empty: str

    def squares(self):
        """Sum of squares of the responses about their mean, at each point of the design."""
        residual = self.y - (self.design.v / self.design.w)[self.design.member]
        return np.bincount(self.design.member, self.weight * residual**2)
