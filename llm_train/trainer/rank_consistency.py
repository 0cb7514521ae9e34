"""All processes of a run hold the same history: checked where it is loaded, and wherever it is used.

Every process sees the rewards of all, so histories do not drift apart by themselves. What makes them differ is another
checkpoint on one of the nodes, a process that starts anew, or a callback that touches one baseline only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate.utils import gather_object

__all__ = ["require_same_advantages", "require_same_file"]

# Beyond what arithmetic on another kind of processor changes.
_TOLERANCE = 1e-4


def require_same_file(path: Path | None) -> None:
    """Refuse to go on from different files."""
    if path is None:
        mine = ("none", "starts anew")
    elif not path.exists():
        mine = ("missing", f"does not find {path}")
    else:
        digest = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
        mine = (digest, f"goes on from {path} with checksum {digest}")
    everywhere = gather_object([mine])
    for rank, (content, deed) in enumerate(everywhere):
        if content != everywhere[0][0]:
            raise ValueError(
                f"process 0 {everywhere[0][1]}, but process {rank} {deed}: all must go on from the same checkpoint, or "
                "their histories differ"
            )


def require_same_advantages(accelerator, keys: Sequence, advantages: torch.Tensor, step: int) -> None:
    """Refuse to train on advantages that are not the same everywhere."""
    if accelerator.num_processes == 1:
        return
    everywhere = accelerator.gather(advantages[None])
    apart = (everywhere - everywhere[0]).abs()
    if apart.max() > _TOLERANCE * (1 + everywhere[0].abs().max()):
        rank, place = divmod(int(apart.argmax()), apart.shape[1])
        first, other = everywhere[0, place], everywhere[rank, place]
        raise RuntimeError(
            f"the histories of processes 0 and {rank} differ: at step {step} a rollout of prompt {keys[place]!r:.80} "
            f"has the advantage {first:g} in one and {other:g} in the other; let all go on from one checkpoint"
        )
