"""Parameters of a softmax policy; gradients have the same form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Policy"]


@dataclass
class Policy:
    """Parameters of the policy."""

    own: np.ndarray  # shape (R, M, F): theta_x, parameters of each prompt
    shared: np.ndarray  # shape (R, F): w, parameters that all prompts share

    def moved(self, direction: Policy, step: float) -> Policy:
        """The policy after a step along a direction."""
        return Policy(self.own + step * direction.own, self.shared + step * direction.shared)

    def squared_distance(self, other: Policy) -> np.ndarray:
        """Squared Euclidean distance, shape (R,)."""
        return ((self.own - other.own) ** 2).sum(axis=(1, 2)) + ((self.shared - other.shared) ** 2).sum(axis=1)
