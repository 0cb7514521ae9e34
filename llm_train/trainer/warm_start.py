"""Rollouts before training, so that a baseline starts with a history: SPO and BASIS need it, others gain by it."""

from __future__ import annotations

import numpy as np
import torch
from accelerate.utils import gather_object
from transformers import TrainerCallback

__all__ = ["WarmStart"]


class WarmStart(TrainerCallback):
    """Samples every prompt before the first step, when the policy is ready to sample; a resumed run skips it."""

    def __init__(self, trainer):
        self._trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        """Sample, and keep the mean rewards as the trainer's offline values."""
        if state.global_step == 0:
            self._trainer.offline_values.update(_sample_all(self._trainer, args.warm_start_rollouts))


def _sample_all(trainer, n_rollouts: int) -> dict[int | str, float]:
    """Mean reward of every prompt of the training set that has a scored rollout; the baseline remembers the rewards.

    These rollouts are no training steps: they are not recorded, and their time is step 0 of the history. Each process
    samples a part of the prompts.
    """
    data, args = trainer.train_dataset, trainer.args
    per_process = max(1, args.per_device_train_batch_size * args.steps_per_generation // n_rollouts)
    size = per_process * trainer.accelerator.num_processes
    offline: dict[int | str, float] = {}
    for start in range(0, len(data), size):
        # The last chunk is filled up with prompts from the front, whose rewards are dropped.
        rows = [row % len(data) for row in range(start, start + size)]
        rows = rows[trainer.accelerator.process_index * per_process :][:per_process]
        rewards, columns = trainer.sample([data[row] for row in rows for _ in range(n_rollouts)], n_rollouts)
        rewards = rewards.view(-1, n_rollouts)
        rewards[len(data) - start :] = torch.nan
        keys = gather_object([trainer.prompt_key(data[row]) for row in rows])
        columns = {name: column.view(-1, n_rollouts) for name, column in columns.items()}
        trainer.baseline.update(keys, rewards, 0, **columns)
        for key, row in zip(keys, rewards.cpu().numpy(), strict=True):
            if not np.isnan(row).all():
                offline[key] = float(np.nanmean(row))
    return offline
