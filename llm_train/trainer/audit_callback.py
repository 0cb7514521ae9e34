"""Which baseline would have served a run of TRL's own GRPO trainer better.

One line attaches the callback, and nothing about the run changes::

    AuditCallback.attach(trainer)
    trainer.train()

TRL's own log of completions would not do: it holds the last batch of each logging step only, and evaluation writes into
it too.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from kvar import AuditReport, TraceWriter, audit, read_trace
from kvar.utils.checks import require_choice
from llm_train.trainer.gathered_rewards import GatheredRewards, on_rewards, replace_method
from llm_train.trainer.prompt_keys import PromptKeys

__all__ = ["AuditCallback"]

logger = logging.getLogger(__name__)


class AuditCallback(TrainerCallback):
    """Records every rollout of a GRPO run, and audits the run when it ends.

    Parameters
    ----------
    trace_dir : path, optional
        Folder of the trace, one file per generation. By default ``trace`` in the output folder of the run.
    prompt_id_column : str, optional
        Dataset column with an integer or a string that identifies the prompt. By default it is identified by a hash of
        its text.
    print_report : bool
        Print the recommendation and its numbers at the end of training.
    report_to : {"none", "trainer"}
        With "trainer", key figures of the audit go to the trainer's log as ``audit/...``, and with it to its trackers,
        such as TensorBoard, wandb or trackio.

    Attributes
    ----------
    report : kvar.AuditReport or None
        The audit, once training has ended.
    """

    def __init__(
        self,
        trace_dir=None,
        prompt_id_column: str | None = None,
        print_report: bool = True,
        report_to: str = "none",
    ):
        require_choice("report_to", report_to, ("none", "trainer"))
        self.report: AuditReport | None = None
        self._trace_dir = None if trace_dir is None else Path(trace_dir)
        self._prompt_id_column = prompt_id_column
        self._print_report = print_report
        self._report_to = report_to
        self._writer: TraceWriter | None = None
        self._rewards: GatheredRewards | None = None  # of the last generation
        self._generations = 0

    @classmethod
    def attach(cls, trainer: Any, **settings) -> AuditCallback:
        """Record and audit a trainer's run.

        Parameters
        ----------
        trainer : trl.GRPOTrainer, trl.RLOOTrainer, or like them
            A trainer whose ``train`` has not been called yet, with TRL's two methods ``_calculate_rewards`` and
            ``_generate_and_score_completions``.
        **settings
            Parameters of `AuditCallback`.

        Returns
        -------
        AuditCallback
            The callback, added to the trainer's.

        Raises
        ------
        TypeError
            If the trainer lacks one of the methods; the message names it.
        """
        callback = cls(**settings)
        callback._trainer, callback._keys = trainer, PromptKeys(trainer, callback._prompt_id_column)
        on_rewards(trainer, callback._receive)
        replace_method(trainer, "_generate_and_score_completions", ("inputs",), callback._generate)
        if callback._trace_dir is None:
            callback._trace_dir = Path(trainer.args.output_dir) / "trace"
        trainer.add_callback(callback)
        return callback

    def on_train_begin(self, args, state, control, **kwargs):
        """Open the trace, after the last generation of a resumed run; FileExistsError if it is of another run."""
        per_generation = self._trainer.num_iterations * args.steps_per_generation
        self._generations = state.global_step * args.gradient_accumulation_steps // per_generation
        if state.is_world_process_zero:
            self._writer = TraceWriter(self._trace_dir, self._generations or None)

    def _receive(self, inputs: list[dict], rewards: GatheredRewards) -> None:
        self._rewards = rewards

    def _generate(self, original, inputs: list[dict]) -> dict:
        if not self._trainer.model.training:  # an evaluation
            return original(inputs)
        known = self._keys.before(inputs)
        output = original(inputs)
        self._record(self._keys.gathered(known, self._rewards.prompts, self._trainer.num_generations))
        return output

    def _record(self, keys: list) -> None:
        trainer, rewards = self._trainer, self._rewards
        lengths = trainer.accelerator.gather(rewards.completion_lengths)
        self._generations += 1
        if self._writer is None:
            return
        columns = {"reward": rewards.total, "completion_length": lengths}
        if rewards.by_function.shape[1] > 1:
            columns |= dict(zip(trainer.reward_func_names, rewards.by_function.T, strict=True))
        columns = {name: column.cpu().numpy() for name, column in columns.items()}
        self._writer.write(self._generations, {"prompt_id": keys, **columns})

    def on_train_end(self, args, state, control, **kwargs):
        """Audit what was recorded."""
        if self._writer is None or self._generations == 0:
            return
        try:
            self.report = audit(read_trace(self._trace_dir))
        except Exception as error:  # the trained policy is still to be saved, and the audit can be repeated
            logger.warning("The audit failed: %s. Repeat it from the trace: kvar audit %s", error, self._trace_dir)
            return
        if self._report_to == "trainer":
            self._trainer.log({f"audit/{name}": number for name, number in self.report.key_figures.items()})
        if self._print_report:
            print(f"kvar audit of {self._trace_dir}", self.report.recommendation, *self.report.findings, sep="\n")
            print(f"Full report: kvar audit {self._trace_dir}")
