"""Runs of the gradient study: a trace, the policies of some stages, and pass rates before training.

Tables 1 and 2 of the paper at the scale of the tiny policy. A run is recorded for each number of rollouts G. A stage is
one block of steps on the same prompts. It has every visit of the block, so that short and long histories both count.
The trace has score norms of every kind and the values of a critic that learns from the rewards of every step.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PrinterCallback, TrainerCallback

from llm_train.policy.exact_value import token_ids
from llm_train.policy.models import load_policy
from llm_train.policy.sampling import sample_completions
from llm_train.run.settings import RunSettings, resolve
from llm_train.run.train import quiet_libraries
from llm_train.run.warm_up import warmed_up_policy
from llm_train.studies.norm_kinds import norm_columns
from llm_train.studies.stage_errors import BLOCK, STAGES
from llm_train.tasks.load_task import Task, load_task
from llm_train.trainer.critic import CriticBaseline, critic_values
from llm_train.trainer.kae_baseline import KAEBaseline
from llm_train.trainer.kae_trainer import KAETrainer

__all__ = ["OFFLINE_FILE", "OFFLINE_SAMPLES", "Study", "policy_and_task", "record", "right_answers"]

# Rollouts of each prompt by the policy at the start of the run, for the offline values.
OFFLINE_SAMPLES = 8
OFFLINE_FILE = "offline.npy"


@dataclasses.dataclass(frozen=True)
class Study:
    """What is measured.

    Attributes
    ----------
    folder : Path
        Folder of runs and results.
    settings : dict
        Settings of the runs, except those that depend on the number of rollouts.
    prompts_per_step : int
        Prompts B per step, for every number of rollouts.
    stages : tuple of int
        First step of each stage, a multiple of the block.
    """

    folder: Path
    settings: dict
    prompts_per_step: int = 16
    stages: tuple[int, ...] = STAGES

    def run_settings(self, g: int) -> RunSettings:
        """Settings of the run with g rollouts per prompt."""
        folder = self.folder / f"run-g{g}"
        return resolve(
            {
                "baseline": "kernel",
                "block_reuse": BLOCK,
                "lr_scheduler_type": "constant",
                "max_completion_length": 5,
                "save_strategy": "no",
                "eval_on_start": False,
                "n_held_out": 0,
                **self.settings,
                "num_generations": g,
                "per_device_train_batch_size": g * self.prompts_per_step,
                "max_steps": max(self.stages) + BLOCK,
                "output_dir": str(folder),
                "trace_dir": str(folder / "trace"),
            }
        )


class _KeepPolicies(TrainerCallback):
    """Saves the policies that the steps of the stages sample from."""

    def __init__(self, folder: Path, steps: Sequence[int]):
        self._folder, self._steps = folder, set(steps)

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.on_step_end(args, state, control, model)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step in self._steps:
            model.save_pretrained(self._folder / f"policy-{state.global_step}")


def record(study: Study, g: int) -> None:
    """Train with g rollouts per prompt; keep the trace, the policies of the stages and pass rates before training."""
    quiet_libraries()
    settings = study.run_settings(g)
    folder = study.folder / f"run-g{g}"
    done = folder / "done"
    if done.exists():
        return
    # A run that was killed left no checkpoints, so it begins again.
    shutil.rmtree(folder, ignore_errors=True)
    torch.set_num_threads(1)
    model, tokenizer, task = policy_and_task(settings)
    settings.training.disable_tqdm = True
    model = warmed_up_policy(settings, model, tokenizer, task, announce=lambda *args, **kwargs: None)
    folder.mkdir(parents=True)
    np.save(folder / OFFLINE_FILE, _pass_rates(model.eval(), tokenizer, task, settings.training))
    steps = [stage + visit for stage in study.stages for visit in range(BLOCK)]
    trainer = _StudyTrainer(
        model=model,
        reward_funcs=task.reward,
        args=settings.training,
        train_dataset=task.train,
        processing_class=tokenizer,
        true_value_func=task.exact_value,
        callbacks=[_KeepPolicies(folder, steps)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    done.touch()


class _StudyBaseline(KAEBaseline):
    """Records score norms of every kind and the values of a critic that learns along the run as a baseline would."""

    def __init__(self, trainer):
        super().__init__(trainer)
        self._critic = CriticBaseline()
        self._critic.build(
            trainer.accelerator.unwrap_model(trainer.model), trainer.accelerator.device, trainer.args.seed
        )

    def columns(self, inputs, output):
        sides = ("prompt", "completion")
        rows = [zip(output[f"{side}_ids"], output[f"{side}_mask"].bool(), strict=True) for side in sides]
        prompts, completions = ([ids[real].tolist() for ids, real in side] for side in rows)
        norms = norm_columns(self._trainer.model, prompts, completions)
        measured = {name: torch.as_tensor(column, dtype=torch.float32) for name, column in norms.items()}
        measured["critic_value"] = critic_values(self._critic, self._trainer, output)
        return super().columns(inputs, output) | measured

    def advantages(self, keys, rewards, columns, own):
        advantages = super().advantages(keys, rewards, columns, own)
        self._critic.update(keys, rewards, self.generations, critic_value=columns["critic_value"])
        return advantages


class _StudyTrainer(KAETrainer):
    baseline_class = _StudyBaseline


def policy_and_task(settings: RunSettings) -> tuple[object, object, Task]:
    """The untrained policy, its tokenizer and the task of a run."""
    run, seed = settings.run, settings.training.seed
    model, tokenizer = load_policy(run.model, settings.model, seed)
    return model, tokenizer, load_task(run, tokenizer, seed + 1)


def right_answers(tokenizer, rows: Sequence[dict]) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Token ids of the prompts of some rows, and of all right completions of each."""
    right = [row.get("answers") or [row["answer"]] for row in rows]
    prompts, completions = token_ids(tokenizer, [row["prompt"] for row in rows], [y for some in right for y in some])
    ends = np.cumsum([len(some) for some in right]).tolist()
    return prompts, [completions[end - len(some) : end] for end, some in zip(ends, right, strict=True)]


def _pass_rates(model, tokenizer, task: Task, training) -> np.ndarray:
    """Pass rate of each training prompt in a few rollouts, shape (P,)."""
    prompts, right = right_answers(tokenizer, list(task.train))
    repeated = [prompt for prompt in prompts for _ in range(OFFLINE_SAMPLES)]
    generator = torch.Generator().manual_seed(training.seed)
    longest, end = training.max_completion_length, tokenizer.eos_token_id
    sampled = sample_completions(model, repeated, longest, end, generator)
    return np.array([y in right[k // OFFLINE_SAMPLES] for k, y in enumerate(sampled)]).reshape(len(right), -1).mean(1)
