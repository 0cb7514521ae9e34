"""Discount of running statistics by the number of rewards in a step."""

from __future__ import annotations

__all__ = ["discount_for"]

_FULL_STEP = 64.0


def discount_for(factor: float, n_rewards: float) -> float:
    """Discount of one step: `factor`, or a root of it for a step of fewer than 64 rewards.

    Steps of any size then discount alike per 64 rewards, since a statistic of few rewards a step must average over
    more steps to be precise.
    """
    return factor ** min(1.0, float(n_rewards) / _FULL_STEP)
