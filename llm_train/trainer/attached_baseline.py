"""A baseline on one trainer: its advantages take the place of the trainer's, its history goes into every checkpoint.

Methods of one instance are replaced, so that subclasses and patched classes of `GRPOTrainer` and `RLOOTrainer` are
served as well. Left as they are: generation, rewards, clipping, loss, logging, vLLM, distribution.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import logging
from trl.trainer.utils import RepeatSampler

from kvar import Baseline, TraceWriter
from kvar.online.feature_prior import feature_columns
from llm_train.trainer.checkpoint_checks import RunName, check_files
from llm_train.trainer.checkpoint_history import load_history, save_history
from llm_train.trainer.critic import CriticBaseline, critic_values
from llm_train.trainer.gathered_rewards import GatheredRewards, on_rewards, replace_method
from llm_train.trainer.generation_norms import generation_norms
from llm_train.trainer.prompt_keys import PromptKeys
from llm_train.trainer.prompt_samplers import BlockSampler
from llm_train.trainer.rank_consistency import require_same_advantages
from llm_train.trainer.setting_checks import batches_per_generation
from llm_train.trainer.step_advantages import step_advantages

__all__ = ["AttachedBaseline"]

logger = logging.get_logger(__name__)


class AttachedBaseline(TrainerCallback):
    """A baseline in the place of a trainer's own; made by `attach`, and by `KAETrainer` for itself.

    Parameters
    ----------
    trainer : trl.GRPOTrainer or like it
        With TRL's two methods ``_calculate_rewards`` and ``_generate_and_score_completions``.
    baseline : kvar.Baseline
        It sees the rewards of all processes, and is the same on every process.
    keys : PromptKeys
        Ids of the prompts.
    score_norms : str
        Kind of norms of scores, where the baseline needs them.
    trace_dir : str, optional
        Folder into which every rollout is recorded.

    Attributes
    ----------
    generations : int
        Generations that the baseline has seen, the steps of its history. Evaluation is not counted.
    offline_values : dict
        Mean rewards of prompts before training, by their ids, where the trainer has sampled any.
    """

    def __init__(
        self, trainer: Any, baseline: Baseline, keys: PromptKeys, score_norms: str, trace_dir: str | None = None
    ):
        self.baseline, self.generations = baseline, 0
        self.offline_values: dict[int | str, float] = {}
        self._trainer, self._keys, self._score_norms, self._trace_dir = trainer, keys, score_norms, trace_dir
        self._features = feature_columns(trainer.train_dataset.column_names or ())
        self._rewards: GatheredRewards | None = None  # of the last generation
        self._trace_writer: TraceWriter | None = None
        self._sampler: BlockSampler | None = None
        self._checkpoint_due = False
        self._run = RunName(os.urandom(8).hex())
        # TRL's own advantages are those of the group's mean already, scaled in any way that its settings name.
        self._keeps_own = baseline.name == "group-mean" and not hasattr(trainer, "normalize_advantages")
        if isinstance(baseline, CriticBaseline):
            baseline.build(
                trainer.accelerator.unwrap_model(trainer.model), trainer.accelerator.device, trainer.args.seed
            )
        self.take_over_advantages()
        replace_method(trainer, "_save_checkpoint", ("model", "trial"), self._save_checkpoint)
        replace_method(trainer, "_load_optimizer_and_scheduler", ("checkpoint",), self._load)
        trainer.add_callback(self._run)
        trainer.add_callback(self)

    def take_over_advantages(self) -> None:
        """Replace the methods by which advantages are made, and the order of prompts where it is TRL's."""
        on_rewards(self._trainer, self._receive)
        replace_method(self._trainer, "_generate_and_score_completions", ("inputs",), self._generate)
        replace_method(self._trainer, "_get_train_sampler", ("dataset",), self._resumable_sampler)

    def _receive(self, inputs: list[dict], rewards: GatheredRewards) -> None:
        self._rewards = rewards

    def _generate(self, original, inputs: list[dict]) -> dict:
        trainer = self._trainer
        if not trainer.model.training:  # an evaluation
            return original(inputs)
        known = self._keys.before(inputs)
        output = original(inputs)
        keys = self._keys.gathered(known, self._rewards.prompts, trainer.num_generations)
        columns = self.columns(inputs, output)
        advantages = self.advantages(keys, self._rewards.total, columns, output["advantages"])
        start = trainer.accelerator.process_index * len(inputs)
        output["advantages"] = advantages[start : start + len(inputs)].to(output["advantages"])
        logged = trainer._logs["advantages"]
        for _ in range(min(len(advantages), len(logged))):
            logged.pop()
        logged.extend(advantages.tolist())
        self.record(keys, {"reward": self._rewards.total, **columns, "advantage": advantages})
        return output

    def wanted_columns(self) -> set[str]:
        """Columns that the baseline uses and that the trace records, but for those of a critic."""
        wanted = {*self.baseline.needs, *self.baseline.columns_used(self._features)} - {"critic_value"}
        return wanted if self._trace_dir is None else wanted | {"completion_length", *self._features}

    def columns(self, inputs: list[dict], output: Mapping) -> dict[str, torch.Tensor]:
        """Columns of a generation by name, each of shape (N,), over all processes."""
        gather = self._trainer.accelerator.gather
        # Sorted, so that all processes gather in the same order.
        found = {name: gather(self.column(name, inputs, output)) for name in sorted(self.wanted_columns())}
        if isinstance(self.baseline, CriticBaseline):
            found["critic_value"] = critic_values(self.baseline, self._trainer, output)
        return found

    def column(self, name: str, inputs: list[dict], output: Mapping) -> torch.Tensor:
        """One number for each of the n rollouts of this process: measured, or from the dataset."""
        if name == "completion_length":
            return self._rewards.completion_lengths
        numbers = [example[name] for example in inputs] if name != "score_norm" else self._norms(output)
        return torch.as_tensor(numbers, dtype=torch.float32).detach().to(self._trainer.accelerator.device)

    def _norms(self, output: Mapping) -> torch.Tensor:
        return generation_norms(self._trainer, output, self._score_norms)

    def advantages(
        self, keys: list, rewards: torch.Tensor, columns: Mapping[str, torch.Tensor], own: torch.Tensor
    ) -> torch.Tensor:
        """Advantages of the N rollouts of all processes; the baseline remembers their rewards.

        `own` are those that the trainer gave the n rollouts of this process.
        """
        trainer = self._trainer
        self.generations += 1
        own = trainer.accelerator.gather(own) if self._keeps_own else None
        advantages, metrics = step_advantages(
            self.baseline, keys, rewards, self.generations, trainer.num_generations, columns, own
        )
        for name, number in metrics.items():
            trainer._metrics["train"][f"baseline/{name}"].append(number)
        require_same_advantages(trainer.accelerator, keys, advantages, self.generations)
        return advantages

    def record(self, keys: list, columns: Mapping[str, torch.Tensor]) -> None:
        """Write a generation into the trace, if there is one."""
        if self._trace_dir is None or not self._trainer.accelerator.is_main_process:
            return
        if self._trace_writer is None:
            resumed = self.generations > 1
            self._trace_writer = TraceWriter(self._trace_dir, self.generations - 1 if resumed else None)
        columns = {name: column.cpu().numpy() for name, column in columns.items()}
        optimizer_step = [self._trainer.state.global_step] * len(keys)
        self._trace_writer.write(self.generations, {"prompt_id": keys, **columns, "optimizer_step": optimizer_step})

    def on_train_begin(self, args, state, control, **kwargs):
        """Refuse at once to record over another run; say it if no checkpoint can be written."""
        # Only the process that records looks: of two at once, each would take the other for another run.
        records = self._trace_dir is not None and self._trainer.accelerator.is_main_process
        if records and self.generations == 0:
            TraceWriter(self._trace_dir)
        if args.save_strategy != "no" and self._last_whole(args, state) == 0:
            logger.warning(
                "No checkpoint will be written: the run ends after %d steps, inside its first generation, which serves "
                "more. Raise max_steps, or lower steps_per_generation or num_iterations.", state.max_steps,
            )  # fmt: skip

    def on_step_end(self, args, state, control, **kwargs):
        """Ask for a checkpoint that was due inside a generation, or that would be due in one which the run cuts off."""
        last = self._last_whole(args, state)
        control.should_save |= self._checkpoint_due
        control.should_save |= args.save_strategy != "no" and state.global_step == last < state.max_steps
        return control

    def _last_whole(self, args, state) -> int:
        """The last step of the run that ends a generation."""
        batches = batches_per_generation(args)
        steps = batches // math.gcd(batches, args.gradient_accumulation_steps)
        return state.max_steps // steps * steps

    def _resumable_sampler(self, original, dataset=None) -> Any:
        """The trainer's sampler, or one of the same order that a resumed run continues in later epochs too."""
        sampler = original(dataset)
        if type(sampler) is RepeatSampler:
            sampler = BlockSampler(
                sampler.data_source, sampler.mini_repeat_count, sampler.batch_size, sampler.repeat_count, 1,
                sampler.shuffle, sampler.seed,
            )  # fmt: skip
        self._sampler = sampler if isinstance(sampler, BlockSampler) else None
        return sampler

    def _save_checkpoint(self, original, model, trial) -> None:
        trainer = self._trainer
        # Never inside a generation: a resumed run would sample it again and remember it twice.
        self._checkpoint_due = bool(trainer._step % batches_per_generation(trainer.args))
        if self._checkpoint_due:
            return
        # Before TRL's own files: TRL uploads the folder and removes older ones, and no checkpoint may lack its history.
        if trainer.args.should_save:
            folder = Path(trainer._get_output_dir(trial=trial), f"{PREFIX_CHECKPOINT_DIR}-{trainer.state.global_step}")
            # The loss is not among the metrics: after a resume, transformers averages it over the steps since then.
            metrics, order = trainer._metrics["train"], self._sampler.state_dict() if self._sampler else {}
            written = {
                "run": self._run.run,
                "global_step": trainer.state.global_step,
                "processes": trainer.accelerator.num_processes,
            }
            save_history(folder, self.baseline, self.generations, metrics, order, self.offline_values, written)
        original(model, trial)

    def _load(self, original, checkpoint) -> None:
        if checkpoint is not None:
            check_files(Path(checkpoint))
        original(checkpoint)
        state = load_history(checkpoint, self._trainer.accelerator.num_processes)
        if state is None:
            return
        self._run.run = state.get("run", self._run.run)
        self.generations = state["generations"]
        self.baseline.load_state_dict(state["baseline"])
        self._trainer._metrics["train"].update(state["metrics"])
        self.offline_values = state["offline_values"]
        if self._sampler:
            self._sampler.load_state_dict(state["order"])
