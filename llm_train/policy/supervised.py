"""Supervised training before reinforcement learning, which spreads the success rates over (0, 1)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from llm_train.policy.eval_mode import evaluating

__all__ = ["supervise"]

_BATCH = 128
_CHECK_EVERY = 5


class _StopEarly(TrainerCallback):
    def __init__(self, reached: Callable[[object], bool]):
        self._reached = reached

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step % _CHECK_EVERY == 0:
            with evaluating(model):
                control.should_training_stop = self._reached(model)
        return control


def supervise(
    model,
    tokenizer,
    examples: Iterable[dict],
    steps: int,
    seed: int,
    folder: Path,
    learning_rate: float = 2e-3,
    batch_size: int = _BATCH,
    until: Callable[[object], bool] | None = None,
    peft_config=None,
):
    """Train a policy to imitate examples, dicts with ``prompt`` and ``completion``, and return it.

    With `until`, training stops early once that function of the policy is true; it is asked every five steps.
    """
    config = SFTConfig(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=20,
        logging_steps=100,
        save_strategy="no",
        report_to="none",
        seed=seed,
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        activation_checkpointing=False,
        max_length=None,
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(list(itertools.islice(examples, batch_size * steps))),
        processing_class=tokenizer,
        callbacks=[_StopEarly(until)] if until else None,
        peft_config=peft_config,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer.model
