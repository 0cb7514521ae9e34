"""How fast running statistics forget."""

from __future__ import annotations

__all__ = ["forgetting"]

_FULL_STEP = 64.0


def forgetting(factor: float, n_rewards: float) -> float:
    """Discount of one step.

    Parameters
    ----------
    factor : float
        Discount of a step of 64 rewards or more.
    n_rewards : float
        Rewards of this step.

    Returns
    -------
    float
        ``factor``, or for a smaller step the power of it that makes 64 rewards forget as much as one full step: what is
        learned from few rewards a step must be remembered over more steps to mean anything.
    """
    return factor ** min(1.0, float(n_rewards) / _FULL_STEP)
