"""Which prompts each step trains on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["SCHEDULES", "prompts_by_step"]

SCHEDULES = ("blocks", "independent", "epochs", "once")


def prompts_by_step(
    schedule: str, n_prompts: int, batch_size: int, repetitions: int, rng: np.random.Generator, block_reuse: int = 10
) -> Iterator[np.ndarray]:
    """Prompts of each step, shape (R, B), without end; with ``once`` until every prompt has come."""
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}; choose one of {', '.join(SCHEDULES)}")
    if not 1 <= batch_size <= n_prompts:
        raise ValueError(f"batch_size must be from 1 to the {n_prompts} prompts, got {batch_size}")
    every = np.broadcast_to(np.arange(n_prompts), (repetitions, n_prompts))
    reuse = block_reuse if schedule == "blocks" else 1
    per_shuffle = 1 if schedule == "independent" else n_prompts // batch_size
    while True:
        order = rng.permuted(every, axis=1)
        for k in range(per_shuffle):
            for _ in range(reuse):
                yield order[:, k * batch_size : (k + 1) * batch_size]
        if schedule == "once":
            return
