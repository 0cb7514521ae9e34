"""TRL's GRPO trainer with a baseline of our own in place of the group mean.

Left as TRL has it: generation, rewards, clipping, loss, logging, vLLM, distribution. Replaced: the advantages, and the
order in which prompts come. TRL offers no hook for the first, so the gathered rewards are picked up on their way
through `_calculate_rewards` and the advantages are replaced in what `_generate_and_score_completions` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate.utils import gather_object
from datasets import IterableDataset
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import logging
from trl import GRPOTrainer

from kvar import TraceWriter, make_baseline
from kvar.features import feature_columns
from kvar.prompt_keys import prompt_key
from llm_train.config import KAEConfig
from llm_train.schedule import BlockSampler, IndependentSampler
from llm_train.state_file import load_state, save_state

__all__ = ["KAETrainer"]

logger = logging.get_logger(__name__)

_STATE_FILE = "baseline.safetensors"


class KAETrainer(GRPOTrainer):
    """Policy gradients with a baseline that remembers each prompt's past rewards.

    A drop-in for TRL's ``GRPOTrainer``: same arguments, with a `KAEConfig`. One rollout a prompt is enough.

    Parameters
    ----------
    *args
        As for ``GRPOTrainer``.
    true_value_func : callable, optional
        ``true_value_func(model, examples) -> sequence of float``: the exact value of each example of the local batch
        under the current policy. Recorded in the trace, and given to the baseline if it is the oracle.
    **kwargs
        As for ``GRPOTrainer``.

    Attributes
    ----------
    baseline : kvar.Baseline
        With the history of the run; the same on every process, since rewards are gathered before it sees them.

    Notes
    -----
    The clock of the history counts generations, not optimiser steps: a generation that serves several optimiser
    steps is one visit, and a bandwidth of 10 means ten samplings of the policy. Evaluation leaves the history alone.
    """

    _tag_names: Sequence[str] = ["trl", "kvar"]
    _name = "KAE"

    def __init__(self, *args, true_value_func: Callable | None = None, **kwargs):
        config = kwargs.get("args", args[2] if len(args) > 2 else None)
        if not isinstance(config, KAEConfig):
            raise TypeError(f"KAETrainer takes args=KAEConfig(...), got {type(config).__name__}")
        super().__init__(*args, **kwargs)
        own_order = config.block_reuse > 1 or config.prompt_order != "epochs"
        if own_order and isinstance(self.train_dataset, IterableDataset):
            raise ValueError(
                "block_reuse and prompt_order need a dataset with a length; a streamed one comes in its own order"
            )
        self.baseline = make_baseline(config.baseline, **config.baseline_kwargs)
        pictures = {"image", "images"} & set(self.train_dataset.column_names or ())
        if config.prompt_id_column is None and (pictures or self.environments is not None):
            raise ValueError(
                "prompts with pictures or from an environment are not told apart by their text: name a column of ids "
                "by prompt_id_column"
            )
        if "true_value" in self.baseline.needs and true_value_func is None:
            raise ValueError(f"baseline {config.baseline!r} needs true values: pass true_value_func")
        known = {"true_value", "completion_length", *(self.train_dataset.column_names or ())}
        self._feature_columns = feature_columns(known)
        missing = [name for name in self.baseline.needs if name not in known]
        if missing:
            raise ValueError(f"baseline {config.baseline!r} needs {missing[0]!r}: add it as a column of the dataset")
        self._true_value_func = true_value_func
        self._generations = 0
        self._trace_writer: TraceWriter | None = None
        self._gathered_rewards: torch.Tensor | None = None

    def _get_train_sampler(self, dataset=None):
        sampler = IndependentSampler if self.args.prompt_order == "independent" else BlockSampler
        return sampler(
            self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            steps_per_batch=self.num_iterations * self.args.steps_per_generation,
            block_reuse=self.args.block_reuse,
            shuffle=self.shuffle_dataset,
            seed=self.args.seed,
        )

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._gathered_rewards = rewards
        # From the tokens: masks may leave truncated completions out.
        self._completion_lengths = torch.tensor([len(ids) for ids in completion_ids_list], device=rewards.device)
        return rewards

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return output
        rewards = self._total_rewards()
        keys = gather_object([self._prompt_key(example) for example in inputs])
        columns = self._columns(inputs)
        self._generations += 1
        # TRL's samplers put the rollouts of a prompt side by side, over all processes taken together.
        groups = (-1, self.num_generations)
        advantages = self.baseline.advantages(
            keys[:: self.num_generations],
            rewards.view(groups),
            self._generations,
            **{name: column.view(groups) for name, column in columns.items()},
        ).flatten()

        start = self.accelerator.process_index * len(inputs)
        output["advantages"] = advantages[start : start + len(inputs)]
        logged = self._logs["advantages"]
        for _ in range(min(len(advantages), len(logged))):
            logged.pop()
        logged.extend(advantages.tolist())
        if self.args.trace_dir is not None:
            self._record(keys, rewards, {**columns, "advantage": advantages})
        return output

    def _columns(self, inputs) -> dict[str, torch.Tensor]:
        """What the baseline needs beside the rewards, and what a recorded run is to hold, over all processes."""
        wanted = {*self.baseline.needs, *self.baseline.columns_used(self._feature_columns)}
        if self.args.trace_dir is not None:
            wanted |= {"completion_length", *self._feature_columns}
            wanted |= set() if self._true_value_func is None else {"true_value"}
        # In one order on all processes, since each column is gathered from all of them.
        return {name: self.accelerator.gather(self._column(name, inputs)) for name in sorted(wanted)}

    def _column(self, name, inputs) -> torch.Tensor:
        if name == "completion_length":
            return self._completion_lengths
        if name == "true_value":
            return self._true_values(inputs)
        numbers = [example[name] for example in inputs]
        return torch.tensor(numbers, dtype=torch.float32, device=self.accelerator.device)

    def _true_values(self, inputs) -> torch.Tensor:
        """True values of the local batch, of the policy as it samples: without dropout."""
        self.model.eval()
        try:
            with torch.no_grad():
                values = torch.as_tensor(self._true_value_func(self.model, inputs), dtype=torch.float32)
        finally:
            self.model.train()
        if values.shape != (len(inputs),):
            raise ValueError(f"true_value_func must return {len(inputs)} values, got the shape {tuple(values.shape)}")
        return values.detach().to(self.accelerator.device)

    def _total_rewards(self) -> torch.Tensor:
        """Weighted sum over reward functions for all processes; NaN where none could score the completion."""
        weighted = self._gathered_rewards * self.reward_weights.to(self._gathered_rewards.device)
        unscorable = torch.isnan(self._gathered_rewards).all(dim=1)
        return torch.where(unscorable, torch.nan, weighted.nansum(dim=1))

    def _prompt_key(self, example) -> int | str:
        column = self.args.prompt_id_column
        if column is None:
            return prompt_key(example["prompt"])
        try:
            return example[column]
        except KeyError:
            raise ValueError(f"prompt_id_column={column!r} is no column of the dataset: {', '.join(example)}") from None

    def _record(self, keys, rewards, columns) -> None:
        if not self.accelerator.is_main_process:
            return
        if self._trace_writer is None:
            resumed = self._generations > 1
            self._trace_writer = TraceWriter(self.args.trace_dir, self._generations - 1 if resumed else None)
        numbers = {name: column.cpu().numpy() for name, column in {"reward": rewards, **columns}.items()}
        numbers["optimizer_step"] = [self.state.global_step] * len(keys)
        self._trace_writer.write(self._generations, {"prompt_id": keys, **numbers})

    def train(self, resume_from_checkpoint=None, **kwargs):
        """As in TRL; refuses at once to record over another run.

        Parameters
        ----------
        resume_from_checkpoint : str or bool, optional
            As in TRL.
        **kwargs
            As in TRL.

        Returns
        -------
        transformers.trainer_utils.TrainOutput
            As in TRL.
        """
        if self.args.trace_dir is not None and not resume_from_checkpoint and self._generations == 0:
            TraceWriter(self.args.trace_dir)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def _save_checkpoint(self, model, trial):
        per_generation = self.args.steps_per_generation * self.num_iterations
        if self._step % per_generation:
            logger.warning(
                "This checkpoint falls inside a generation, which a resumed run will sample anew and remember twice. "
                "Choose save_steps so that save_steps * gradient_accumulation_steps is a multiple of %d.",
                per_generation,
            )
        # Before the rest, which uploads the folder and removes older ones: a checkpoint never stands without history.
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
            state = {"generations": self._generations, "baseline": self.baseline.state_dict()}
            save_state(state, folder / _STATE_FILE)
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path = Path(checkpoint, _STATE_FILE)
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is missing: this checkpoint was not written by KAETrainer, and training on it would silently "
                "start with an empty history; start from its weights instead"
            )
        state = load_state(path)
        self._generations = state["generations"]
        self.baseline.load_state_dict(state["baseline"])
