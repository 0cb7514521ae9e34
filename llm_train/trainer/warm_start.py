"""Rollouts before training, so that a baseline starts with a history: SPO and BASIS need it, others gain by it."""

from __future__ import annotations

import numpy as np
import torch
from accelerate.utils import gather_object

__all__ = ["warm_start"]


def warm_start(trainer, n_rollouts: int) -> dict[int | str, float]:
    """Sample every prompt of the training set with the policy as it stands, and let the baseline remember the rewards.

    These rollouts are no training steps: they are not recorded, and their time is step 0 of the history. The work is
    split over processes by prompts.
    """
    data, args = trainer.train_dataset, trainer.args
    shares = trainer.accelerator.num_processes
    per_process = max(1, args.per_device_train_batch_size * args.steps_per_generation // n_rollouts)
    size = per_process * shares
    offline: dict[int | str, float] = {}
    for start in range(0, len(data), size):
        # The last chunk is filled up with prompts from the front, whose rewards are then thrown away.
        places = [k % len(data) for k in range(start, start + size)]
        mine = places[trainer.accelerator.process_index * per_process :][:per_process]
        inputs = [data[k] for k in mine for _ in range(n_rollouts)]
        rewards, columns = trainer.sample(inputs, n_rollouts)
        rewards = rewards.view(-1, n_rollouts)
        rewards[len(data) - start :] = torch.nan
        keys = gather_object([trainer.prompt_key(data[k]) for k in mine])
        columns = {name: column.view(-1, n_rollouts) for name, column in columns.items()}
        known = rewards.isfinite().any(dim=1).tolist()
        trainer.baseline.update(keys, rewards, 0, **columns)
        means = np.nanmean(np.where(np.array(known)[:, None], rewards.cpu().numpy(), 0.0), axis=1)
        offline.update((key, float(mean)) for key, mean, seen in zip(keys, means, known, strict=True) if seen)
    return offline
