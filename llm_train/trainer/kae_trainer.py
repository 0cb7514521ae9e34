"""TRL's GRPO trainer with a baseline of `kvar` in place of the group mean.

Left as TRL has it: generation, rewards, clipping, loss, logging, vLLM, distribution. Replaced: the advantages, and the
order in which prompts come. TRL has no hook for the advantages. The rewards are picked up by
`llm_train.trainer.gathered_rewards`, and what `_generate_and_score_completions` returns is given other advantages.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import gather_object
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

from kvar import TraceWriter, make_baseline
from kvar.online.feature_prior import feature_columns
from llm_train.trainer.checkpoint_checks import RunName, check_files
from llm_train.trainer.checkpoint_history import load_history, save_history
from llm_train.trainer.config import KAEConfig
from llm_train.trainer.critic import CriticBaseline
from llm_train.trainer.measured_trainer import MeasuredTrainer
from llm_train.trainer.prompt_samplers import BlockSampler, IndependentSampler, VarianceSampler
from llm_train.trainer.rank_consistency import require_same_advantages
from llm_train.trainer.setting_checks import batches_per_generation, check_settings, prompts_per_generation
from llm_train.trainer.step_advantages import require_rates, step_advantages, whitened
from llm_train.trainer.warm_start import WarmStart

__all__ = ["KAETrainer"]

_SAMPLERS = {"epochs": BlockSampler, "independent": IndependentSampler, "variance": VarianceSampler}


class _SaveAfterGeneration(TrainerCallback):
    """Asks for the checkpoint that was due inside a generation, once the generation ends."""

    def __init__(self, trainer):
        self._trainer = trainer

    def on_step_end(self, args, state, control, **kwargs):
        control.should_save |= self._trainer._checkpoint_due
        return control


class KAETrainer(MeasuredTrainer):
    """Policy gradients with a baseline that remembers each prompt's past rewards.

    A drop-in for TRL's ``GRPOTrainer``: the same arguments, with a `KAEConfig`. One rollout per prompt is enough.

    Parameters
    ----------
    *args
        As for ``GRPOTrainer``.
    true_value_func : callable, optional
        ``true_value_func(model, examples) -> sequence of float``: the exact value of each example of this process under
        the current policy. It is recorded in the trace, and the oracle baseline uses it. If it has a true attribute
        ``is_pass_rate``, evaluation uses it instead of samples.
    **kwargs
        As for ``GRPOTrainer``.

    Attributes
    ----------
    baseline : kvar.Baseline
        With the history of the run. It is the same on every process, because it sees the rewards of all processes.
    offline_values : dict
        Mean reward of each prompt over its ``warm_start_rollouts``.

    Raises
    ------
    TypeError
        If `args` is no `KAEConfig`.
    ValueError
        If the settings cannot work with the dataset or the baseline.

    Notes
    -----
    The history counts generations, not optimizer steps: a generation that serves several optimizer steps is one visit,
    and a bandwidth of 10 means ten samplings of the policy. Evaluation leaves the history unchanged. A checkpoint that
    falls inside a generation is written at its end.
    """

    _tag_names: Sequence[str] = ["trl", "kvar"]
    _name = "KAE"

    def __init__(self, *args, true_value_func: Callable | None = None, **kwargs):
        config = kwargs.get("args", args[2] if len(args) > 2 else None)
        if not isinstance(config, KAEConfig):
            raise TypeError(f"KAETrainer takes args=KAEConfig(...), got {type(config).__name__}")
        super().__init__(*args, true_value_func=true_value_func, **kwargs)
        self.baseline = make_baseline(config.baseline, **config.baseline_kwargs)
        self.offline_values: dict[int | str, float] = {}
        samples = None if self.eval_dataset is None or self._evaluates_exactly else self.num_generations_eval
        check_settings(
            config, self.baseline, self.train_dataset, has_environments=self.environments is not None,
            has_true_values=true_value_func is not None, evaluation_samples=samples,
        )  # fmt: skip
        self._feature_columns = feature_columns(self.train_dataset.column_names or ())
        self._generations = 0
        self._sampler: BlockSampler | None = None
        self._all_keys: list[int | str] | None = None
        self._trace_writer: TraceWriter | None = None
        self._checkpoint_due = False
        self._run = RunName(os.urandom(8).hex())
        self.add_callback(self._run)
        self.add_callback(_SaveAfterGeneration(self))
        if isinstance(self.baseline, CriticBaseline):
            policy = self.accelerator.unwrap_model(self.model)
            self.baseline.build(policy, self.accelerator.device, config.seed)
        if config.warm_start_rollouts:
            self.add_callback(WarmStart(self))

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return output
        keys = gather_object([self.prompt_key(example) for example in inputs])
        rewards = self._rewards.total
        with self._timer.part("truth"):
            columns = self._columns(self._wanted_columns(), inputs, output)
        with self._timer.part("baseline"):
            columns |= self._critic_column(output)
            advantages = self._advantages(keys, rewards, columns)

        start = self.accelerator.process_index * len(inputs)
        output["advantages"] = advantages[start : start + len(inputs)]
        logged = self._logs["advantages"]
        for _ in range(min(len(advantages), len(logged))):
            logged.pop()
        logged.extend(advantages.tolist())
        if self.args.trace_dir is not None and self.accelerator.is_main_process:
            self._record(keys, {"reward": rewards, **columns, "advantage": advantages})
        return output

    def _wanted_columns(self) -> set[str]:
        """Columns that the baseline uses and that the trace records, but for those of a critic."""
        wanted = {*self.baseline.needs, *self.baseline.columns_used(self._feature_columns)} - {"critic_value"}
        if self.args.trace_dir is not None:
            wanted |= {"completion_length", *self._feature_columns}
            wanted |= set() if self._true_value_func is None else {"true_value"}
            wanted |= set() if self.args.score_norms is None else {"score_norm"}
        return wanted

    def _column(self, name, inputs, output) -> torch.Tensor:
        if name == "offline_value" and self.args.warm_start_rollouts:
            return self._to_device([self.offline_values.get(self.prompt_key(example), 0.5) for example in inputs])
        return super()._column(name, inputs, output)

    def _critic_column(self, output) -> dict[str, torch.Tensor]:
        return self._read_by(self.baseline, output) if isinstance(self.baseline, CriticBaseline) else {}

    def _advantages(self, keys, rewards, columns) -> torch.Tensor:
        """Advantages of the N rollouts of all processes; the baseline remembers their rewards."""
        config = self.args
        if config.prompt_order == "variance":
            require_rates(rewards)
        self._generations += 1
        advantages, metrics = step_advantages(
            self.baseline, keys, rewards, self._generations, self.num_generations, columns,
            scale_by_group=config.scale_rewards == "group",
        )  # fmt: skip
        for name, number in metrics.items():
            self._metrics["train"][f"baseline/{name}"].append(number)
        require_same_advantages(self.accelerator, keys, advantages, self._generations)
        return whitened(advantages, rewards) if config.whiten_advantages else advantages

    def sample(self, inputs: list[dict], n_rollouts: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Rewards of shape (N,) and columns of completions sampled outside of training.

        `inputs` are the examples of this process, each repeated `n_rollouts` times in consecutive places.
        """
        usual, self.num_generations_eval = self.num_generations_eval, n_rollouts
        self.model.eval()
        try:
            output = super()._generate_and_score_completions(inputs)
            columns = self._columns(self._wanted_columns(), inputs, output) | self._critic_column(output)
        finally:
            self.model.train()
            self.num_generations_eval = usual
            self._metrics["eval"].clear()
            self._evaluated.clear()
        return self._rewards.total, columns

    def _get_train_sampler(self, dataset=None):
        order = self.args.prompt_order
        self._sampler = _SAMPLERS[order](
            self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=prompts_per_generation(self.args),
            steps_per_batch=batches_per_generation(self.args),
            block_reuse=self.args.block_reuse,
            shuffle=self.shuffle_dataset,
            seed=self.args.seed,
            **({"assess": self._assess_all} if order == "variance" else {}),
        )
        return self._sampler

    def _assess_all(self) -> tuple[np.ndarray, np.ndarray]:
        """Values and standard errors of every prompt of the training set, from the history alone."""
        with self._timer.part("baseline", of_next_step=True):
            data = self.train_dataset
            if self._all_keys is None:
                self._all_keys = [self.prompt_key(example) for example in data]
            columns = {name: np.asarray(data[name]) for name in self.baseline.columns_used(self._feature_columns)}
            nothing = np.full(len(self._all_keys), np.nan)
            found = self.baseline.estimate(self._all_keys, nothing, self._generations + 1, return_info=True, **columns)
            return found.values, found.standard_error

    def _record(self, keys, columns) -> None:
        if self._trace_writer is None:
            resumed = self._generations > 1
            self._trace_writer = TraceWriter(self.args.trace_dir, self._generations - 1 if resumed else None)
        columns = {name: column.cpu().numpy() for name, column in columns.items()}
        optimizer_step = [self.state.global_step] * len(keys)
        self._trace_writer.write(self._generations, {"prompt_id": keys, **columns, "optimizer_step": optimizer_step})

    def train(self, resume_from_checkpoint=None, **kwargs):
        """As in TRL; refuses at once to record over another run."""
        # Only the process that records looks: of two at once, each would take the other for another run.
        records = self.args.trace_dir is not None and self.accelerator.is_main_process
        if records and not resume_from_checkpoint and self._generations == 0:
            TraceWriter(self.args.trace_dir)
        checkpoint = resume_from_checkpoint
        if checkpoint is True:
            checkpoint = get_last_checkpoint(self.args.output_dir)
        if checkpoint:
            check_files(Path(checkpoint))
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def _save_checkpoint(self, model, trial):
        # Never inside a generation: a resumed run would sample it again and remember it twice.
        self._checkpoint_due = bool(self._step % batches_per_generation(self.args))
        if self._checkpoint_due:
            return
        # Before TRL's own files: TRL uploads the folder and removes older ones, and no checkpoint may lack its history.
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
            order = self._sampler.state_dict() if self._sampler else {}
            # The loss is not among the metrics: after a resume, transformers averages it over the steps since then.
            metrics = self._metrics["train"]
            written = {
                "run": self._run.run,
                "global_step": self.state.global_step,
                "processes": self.accelerator.num_processes,
            }
            save_history(folder, self.baseline, self._generations, self.offline_values, order, metrics, written)
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        state = load_history(checkpoint, self.accelerator.num_processes)
        if state is None:
            return
        self._run.run = state.get("run", self._run.run)
        self._generations, self.offline_values = state["generations"], state["offline_values"]
        self.baseline.load_state_dict(state["baseline"])
        if self._sampler:
            self._sampler.load_state_dict(state["order"])
        self._metrics["train"].update(state["metrics"])
