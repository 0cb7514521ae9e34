"""All processes of a run must hold the same history: checked when it is loaded and at every step.

Every process sees the rewards of all, so the histories do not diverge by themselves. They differ if one node has
another checkpoint, if one process starts with an empty history, or if a callback changes one baseline only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate.utils import gather_object

__all__ = ["require_same_advantages", "require_same_file"]

# Larger than the rounding differences between kinds of processors.
_TOLERANCE = 1e-4


def require_same_file(path: Path | None) -> None:
    """Refuse to resume from different files; every process calls this with what it is about to load, if anything."""
    if path is None:
        own = ("none", "loads no checkpoint")
    elif not path.exists():
        own = ("missing", f"does not find {path}")
    else:
        digest = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
        own = (digest, f"loads {path} with checksum {digest}")
    first, *others = gather_object([own])
    for rank, (content, action) in enumerate(others, start=1):
        if content != first[0]:
            raise ValueError(
                f"process 0 {first[1]}, but process {rank} {action}: their histories would differ; resume all "
                "processes from the same checkpoint"
            )


def require_same_advantages(accelerator, prompt_ids: Sequence, advantages: torch.Tensor, step: int) -> None:
    """Refuse to train if a process finds other advantages for the N rollouts than the first; raises on all processes.

    Ids and advantages are those of all processes, as this process has them.
    """
    if accelerator.num_processes == 1:
        return
    everywhere = accelerator.gather(advantages[None])
    difference = (everywhere - everywhere[0]).abs()
    if difference.max() > _TOLERANCE * (1 + everywhere[0].abs().max()):
        rank, rollout = divmod(int(difference.argmax()), difference.shape[1])
        raise RuntimeError(
            f"the histories of processes 0 and {rank} differ: at step {step} a rollout of prompt "
            f"{prompt_ids[rollout]!r:.80} has the advantage {everywhere[0, rollout]:g} in process 0 and "
            f"{everywhere[rank, rollout]:g} in process {rank}; resume all processes from the same checkpoint"
        )
