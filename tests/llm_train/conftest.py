"""A trainer on the tiny policy, small enough for tests."""

from pathlib import Path

import pytest
import torch

import kvar
from llm_train import KAEConfig, KAETrainer
from llm_train.policy.tiny import make_policy, make_tokenizer, sums

torch.set_num_threads(1)

ON_CPU = {
    "use_cpu": True,
    "bf16": False,
    "activation_checkpointing": False,
    "dataloader_pin_memory": False,
    "disable_tqdm": True,
    "report_to": "none",
    "seed": 3,
}


def trace_of(trainer):
    return kvar.read_trace(trainer.args.trace_dir)


def checkpoint_of(trainer, step):
    return Path(trainer.args.output_dir, f"checkpoint-{step}")


def counts_of(trainer):
    """Remembered rewards of each visit, one row per prompt."""
    return trainer.baseline.state_dict()["state"]["history"]["counts"]


@pytest.fixture
def make_trainer(tmp_path):
    """Make a trainer whose reward even an untrained policy can earn: a completion that starts with an even digit."""

    def make(folder="run", data=None, reward=None, model=None, extra=None, **settings):
        tokenizer = make_tokenizer()
        even = {tokenizer.convert_tokens_to_ids(digit) for digit in "02468"}

        def starts_even(completion_ids, **_):
            return [float(bool(ids) and ids[0] in even) for ids in completion_ids]

        defaults = {
            "num_generations": 2,
            "per_device_train_batch_size": 8,
            "max_completion_length": 3,
            "max_steps": 4,
            "learning_rate": 1e-3,
            "lr_scheduler_type": "constant",
            "temperature": 1.0,
            "logging_steps": 1,
            "save_strategy": "no",
            "trace_dir": str(tmp_path / folder / "trace"),
            "baseline": "kernel",
            "baseline_kwargs": {"bandwidth": 10} if settings.get("baseline", "kernel") == "kernel" else {},
        }
        return KAETrainer(
            model=model or make_policy(tokenizer, seed=0),
            reward_funcs=reward or starts_even,
            args=KAEConfig(output_dir=str(tmp_path / folder), **{**ON_CPU, **defaults, **settings}),
            train_dataset=data or sums(8, 9, seed=0),
            processing_class=tokenizer,
            **(extra or {}),
        )

    return make
