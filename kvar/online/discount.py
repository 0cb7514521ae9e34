"""How fast running statistics forget."""

from __future__ import annotations

__all__ = ["discount_for"]

_FULL_STEP = 64.0


def discount_for(factor: float, n_rewards: float) -> float:
    """Discount of one step."""
    return factor ** min(1.0, float(n_rewards) / _FULL_STEP)
