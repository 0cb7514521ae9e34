"""Parameters of a softmax policy, and gradients, which have the same shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Policy"]


@dataclass
class Policy:
    """Parameters of the policy.

    Attributes
    ----------
    own : ndarray, shape (R, M, F)
        theta_x of each prompt.
    shared : ndarray, shape (R, F)
        w.
    """

    own: np.ndarray
    shared: np.ndarray

    def moved(self, direction: Policy, step: float) -> Policy:
        """Go along a direction."""
        return Policy(self.own + step * direction.own, self.shared + step * direction.shared)

    def squared_distance(self, other: Policy) -> np.ndarray:
        """Squared Euclidean distance."""
        return ((self.own - other.own) ** 2).sum(axis=(1, 2)) + ((self.shared - other.shared) ** 2).sum(axis=1)
