"""What becomes of a baseline when every prompt has one rollout."""

from __future__ import annotations

import warnings
from typing import Literal, TypeAlias

__all__ = ["OneRollout", "check_group_size"]

OneRollout: TypeAlias = Literal["works", "no baseline", "refused"]


def check_group_size(name: str, one_rollout: OneRollout, size: int) -> None:
    """Refuse one rollout a prompt, or warn of it, where the baseline of that name compares the rollouts of one prompt.

    Raises
    ------
    ValueError
        If `size`, the rollouts a prompt, is 1 and the method is undefined then.

    Warns
    -----
    UserWarning
        If `size` is 1 and advantages therefore equal rewards.
    """
    if size != 1 or one_rollout == "works":
        return
    remedy = "sample two or more a prompt, or use baseline 'adaptive', which remembers earlier ones"
    if one_rollout == "refused":
        raise ValueError(f"baseline {name!r} compares rollouts of one prompt, got 1 rollout a prompt: {remedy}")
    warnings.warn(
        f"baseline {name!r} with 1 rollout a prompt is no baseline, and advantages are the rewards: {remedy}",
        UserWarning,
        stacklevel=3,
    )
