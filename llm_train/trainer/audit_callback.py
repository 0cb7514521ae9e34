"""What another baseline would have done, for any run of TRL's own GRPO trainer.

One line attaches it; nothing about the run changes::

    AuditCallback.attach(trainer)
    trainer.train()

The rewards are picked up where the trainer has gathered them from all processes. TRL's own log of completions would not
do: it holds the last batch of every logging step only, and evaluation writes into it too.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from accelerate.utils import gather_object
from transformers import TrainerCallback
from trl import GRPOTrainer

from kvar import AuditReport, TraceWriter, audit, read_trace
from kvar.rollouts.prompt_ids import prompt_key
from llm_train.trainer.measured_trainer import total_rewards

__all__ = ["AuditCallback"]

logger = logging.getLogger(__name__)


class AuditCallback(TrainerCallback):
    """Records every rollout of a GRPO run, and audits them when it ends.

    Parameters
    ----------
    trace_dir : path, optional
        Where the trace goes, one file a generation. By default into the run's output folder, under ``trace``.
    prompt_id_column : str, optional
        Dataset column with an integer or a string that names the prompt. By default a hash of the prompt's text does.
    print_report : bool
        Print the recommendation and its numbers at the end of training.

    Attributes
    ----------
    report : kvar.AuditReport or None
        What the audit found, once training has ended.
    """

    def __init__(self, trace_dir=None, prompt_id_column: str | None = None, print_report: bool = True):
        self.report: AuditReport | None = None
        self._trace_dir = None if trace_dir is None else Path(trace_dir)
        self._prompt_id_column = prompt_id_column
        self._print_report = print_report
        self._writer: TraceWriter | None = None
        self._generations = 0

    @classmethod
    def attach(cls, trainer: GRPOTrainer, **settings) -> AuditCallback:
        """Record and audit a trainer's run.

        Parameters
        ----------
        trainer : trl.GRPOTrainer
            Before its ``train`` is called.
        **settings
            See the class.

        Returns
        -------
        AuditCallback
            Added to the trainer's callbacks.

        Raises
        ------
        TypeError
            If it is no GRPO trainer of TRL.
        """
        if not isinstance(trainer, GRPOTrainer):
            raise TypeError(f"AuditCallback records a trl.GRPOTrainer, got {type(trainer).__name__}")
        callback = cls(**settings)
        callback._trainer = trainer
        if callback._trace_dir is None:
            callback._trace_dir = Path(trainer.args.output_dir) / "trace"
        calculate_rewards = trainer._calculate_rewards

        def and_record(inputs, prompts, completions, completion_ids_list):
            rewards = calculate_rewards(inputs, prompts, completions, completion_ids_list)
            # Evaluation passes here too.
            if trainer.model.training:
                callback._record(inputs, rewards, completion_ids_list)
            return rewards

        trainer._calculate_rewards = and_record
        trainer.add_callback(callback)
        return callback

    def on_train_begin(self, args, state, control, **kwargs):
        """Open the trace, and go on after what a resumed run has left.

        Parameters
        ----------
        args : transformers.TrainingArguments
            Settings of the run.
        state : transformers.TrainerState
            Where it stands.
        control : transformers.TrainerControl
            Left alone.
        **kwargs
            Ignored.

        Raises
        ------
        FileExistsError
            If there is a trace of another run.
        """
        per_generation = self._trainer.num_iterations * args.steps_per_generation
        self._generations = state.global_step * args.gradient_accumulation_steps // per_generation
        if state.is_world_process_zero:
            self._writer = TraceWriter(self._trace_dir, self._generations or None)

    def _record(self, inputs, rewards: torch.Tensor, completion_ids_list) -> None:
        trainer = self._trainer
        keys = gather_object([self._key(example) for example in inputs])
        lengths = torch.tensor([len(ids) for ids in completion_ids_list], device=rewards.device)
        lengths = trainer.accelerator.gather(lengths)
        self._generations += 1
        if self._writer is None:
            return
        columns = {"reward": total_rewards(rewards, trainer.reward_weights), "completion_length": lengths}
        if rewards.shape[1] > 1:
            columns |= dict(zip(trainer.reward_func_names, rewards.T, strict=True))
        numbers = {name: column.cpu().numpy() for name, column in columns.items()}
        self._writer.write(self._generations, {"prompt_id": keys, **numbers})

    def _key(self, example) -> int | str:
        return prompt_key(example["prompt"]) if self._prompt_id_column is None else example[self._prompt_id_column]

    def on_train_end(self, args, state, control, **kwargs):
        """Audit what was recorded.

        Parameters
        ----------
        args : transformers.TrainingArguments
            Settings of the run.
        state : transformers.TrainerState
            Where it stands.
        control : transformers.TrainerControl
            Left alone.
        **kwargs
            Ignored.
        """
        if self._writer is None or self._generations == 0:
            return
        try:
            self.report = audit(read_trace(self._trace_dir))
        except Exception as error:  # the run is done and its policy still to be saved: an audit can wait
            logger.warning("No audit: %s. What was recorded is there: kvar audit %s", error, self._trace_dir)
            return
        if self._print_report:
            print(f"kvar audit of {self._trace_dir}", self.report.recommendation, *self.report.findings, sep="\n")
            print(f"The whole of it: kvar audit {self._trace_dir}")
