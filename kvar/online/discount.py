"""Discount of running statistics by the number of rewards in a step."""

from __future__ import annotations

__all__ = ["discount_for"]

_FULL_STEP = 64.0


def discount_for(factor: float, n_rewards: float) -> float:
    """Discount of a step: `factor`, or ``factor ** (n_rewards / 64)`` for fewer than 64 rewards.

    Small steps then discount as much per reward as a step of 64, since a statistic of few rewards a step must average
    over more steps to be precise.
    """
    return factor ** min(1.0, float(n_rewards) / _FULL_STEP)
