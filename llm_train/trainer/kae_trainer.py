"""TRL's GRPO trainer with a baseline of our own in place of the group mean.

Left as TRL has it: generation, rewards, clipping, loss, logging, vLLM, distribution. Replaced: the advantages, and the
order in which prompts come. TRL offers no hook for the first, so the gathered rewards are picked up on their way
through `_calculate_rewards` and the advantages are replaced in what `_generate_and_score_completions` returns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import gather_object
from datasets import IterableDataset
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import logging
from trl.trainer.utils import nanstd

from kvar import TraceWriter, make_baseline
from kvar.online.feature_prior import feature_columns
from llm_train.policy.scores import chosen_parameters, score_norms
from llm_train.trainer.baseline_metrics import baseline_metrics
from llm_train.trainer.config import KAEConfig
from llm_train.trainer.critic import CriticBaseline
from llm_train.trainer.measured_trainer import MeasuringTrainer
from llm_train.trainer.prompt_samplers import BlockSampler, IndependentSampler, VarianceSampler
from llm_train.trainer.rank_consistency import require_same_advantages, require_same_file
from llm_train.trainer.state_file import load_state, save_state
from llm_train.trainer.warm_start import warm_start

__all__ = ["KAETrainer"]

logger = logging.get_logger(__name__)

_STATE_FILE = "baseline.safetensors"
_DEVIATION_FLOOR = 1e-4  # as in TRL
_ROUNDING = 1e-6  # of a weighted sum of rewards, in single precision
_SAMPLERS = {"epochs": BlockSampler, "independent": IndependentSampler, "variance": VarianceSampler}


class _WarmStart(TrainerCallback):
    """Before the first step, once the policy can sample; a resumed run has it behind it."""

    def __init__(self, trainer):
        self._trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0:
            self._trainer.offline_values = warm_start(self._trainer, args.warm_start_rollouts)


class _SaveWhatIsDue(TrainerCallback):
    """At the end of a generation, if a checkpoint was to be written inside it."""

    def __init__(self, trainer):
        self._trainer = trainer

    def on_step_end(self, args, state, control, **kwargs):
        control.should_save |= self._trainer._checkpoint_due
        return control


class KAETrainer(MeasuringTrainer):
    """Policy gradients with a baseline that remembers each prompt's past rewards.

    A drop-in for TRL's ``GRPOTrainer``: same arguments, with a `KAEConfig`. One rollout a prompt is enough.

    Parameters
    ----------
    *args
        As for ``GRPOTrainer``.
    true_value_func : callable, optional
        ``true_value_func(model, examples) -> sequence of float``: the exact value of each example of the local batch
        under the current policy. Recorded in the trace, given to the baseline if it is the oracle, and used for
        evaluation in place of sampling if it has an attribute ``is_pass_rate`` that is true.
    **kwargs
        As for ``GRPOTrainer``.

    Attributes
    ----------
    baseline : kvar.Baseline
        With the history of the run; the same on every process, since rewards are gathered before it sees them.
    offline_values : dict
        Mean reward of each prompt over ``warm_start_rollouts``.

    Notes
    -----
    The clock of the history counts generations, not optimiser steps: a generation that serves several optimiser
    steps is one visit, and a bandwidth of 10 means ten samplings of the policy. Evaluation leaves the history alone. A
    checkpoint that falls inside a generation is written at its end.
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
        self._check_data()
        self._check_last_checkpoint()
        self._generations = 0
        self._sampler: BlockSampler | None = None
        self._all_keys: list[int | str] | None = None
        self._trace_writer: TraceWriter | None = None
        self._checkpoint_due = False
        self.add_callback(_SaveWhatIsDue(self))
        if isinstance(self.baseline, CriticBaseline):
            policy = self.accelerator.unwrap_model(self.model)
            self.baseline.build(policy, self.accelerator.device, config.seed)
        if config.warm_start_rollouts:
            self.add_callback(_WarmStart(self))

    def _check_data(self) -> None:
        """Refuse what the baseline or the order of prompts cannot work with."""
        config, data = self.args, self.train_dataset
        if isinstance(data, IterableDataset):
            if config.block_reuse > 1 or config.prompt_order != "epochs" or config.warm_start_rollouts:
                raise ValueError(
                    "block_reuse, prompt_order and warm_start_rollouts need a dataset with a length; a streamed one "
                    "comes in its own order"
                )
        elif len(data) < (needed := config.generation_batch_size // self.num_generations):
            raise ValueError(
                f"one generation takes {needed} different prompts, but the dataset has {len(data)}: lower "
                "per_device_train_batch_size or gradient_accumulation_steps, or raise num_generations"
            )
        else:
            self._say_if_no_past(len(data) // needed)
        pictures = {"image", "images"} & set(data.column_names or ())
        if config.prompt_id_column is None and (pictures or self.environments is not None):
            raise ValueError(
                "prompts with pictures or from an environment are not told apart by their text: name a column of ids "
                "by prompt_id_column"
            )
        samples_needed = 1 if self._evaluates_exactly else max(config.pass_at, default=1)
        if self.eval_dataset is not None and self.num_generations_eval < samples_needed:
            raise ValueError(
                f"pass@{samples_needed} needs {samples_needed} samples a prompt, but evaluation draws "
                f"{self.num_generations_eval}: raise num_generations_eval"
            )
        needs = self.baseline.needs
        if "true_value" in needs and self._true_value_func is None:
            raise ValueError(f"baseline {config.baseline!r} needs true values: pass true_value_func")
        known = {"true_value", "completion_length", "critic_value", "score_norm", *(data.column_names or ())}
        if config.warm_start_rollouts:
            known.add("offline_value")
        self._feature_columns = feature_columns(known)
        missing = [name for name in needs if name not in known]
        if missing:
            raise ValueError(f"baseline {config.baseline!r} needs {missing[0]!r}: add it as a column of the dataset")

    @property
    def _batches_a_generation(self) -> int:
        """Batches that one generation serves, of which a step takes gradient_accumulation_steps."""
        return self.args.steps_per_generation * self.args.num_iterations

    def _check_last_checkpoint(self) -> None:
        """Refuse a last step inside a generation, at whose end its checkpoint would have been written."""
        config, batches = self.args, self._batches_a_generation
        if config.save_strategy == "no" or config.max_steps <= 0:
            return
        if config.max_steps * config.gradient_accumulation_steps % batches:
            raise ValueError(
                f"max_steps={config.max_steps} ends inside a generation, where no checkpoint is written: take a "
                f"multiple of {batches // math.gcd(batches, config.gradient_accumulation_steps)}, or "
                "save_strategy='no'"
            )

    def _say_if_no_past(self, epoch: int) -> None:
        """Warn of a window in which no prompt comes back; an epoch is given in generations."""
        given, config = self.baseline.parameters, self.args
        window = given.get("bandwidth")
        in_steps = isinstance(window, int | float) and given.get("clock", "steps") == "steps"
        if in_steps and config.prompt_order == "epochs" and config.block_reuse == 1 and epoch >= window:
            logger.warning(
                "No prompt comes back within the window of %g steps, since an epoch has %d: baseline %r is then the "
                "mean of the others in the group. Set block_reuse, a longer bandwidth, or baseline='adaptive'.",
                window, epoch, config.baseline,
            )  # fmt: skip

    def _get_train_sampler(self, dataset=None):
        order = self.args.prompt_order
        self._sampler = _SAMPLERS[order](
            self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            steps_per_batch=self._batches_a_generation,
            block_reuse=self.args.block_reuse,
            shuffle=self.shuffle_dataset,
            seed=self.args.seed,
            **({"assess": self._assess_all} if order == "variance" else {}),
        )
        return self._sampler

    def _assess_all(self):
        """What the history says of every prompt of the training set, without any reward of the step."""
        with self._clock.part("baseline", of_next_step=True):
            data = self.train_dataset
            if self._all_keys is None:
                self._all_keys = [self.prompt_key(example) for example in data]
            columns = {name: np.asarray(data[name]) for name in self.baseline.columns_used(self._feature_columns)}
            nothing = np.full(len(self._all_keys), np.nan)
            found = self.baseline.estimate(self._all_keys, nothing, self._generations + 1, return_info=True, **columns)
            return found.values, found.standard_error

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return output
        keys = gather_object([self.prompt_key(example) for example in inputs])
        rewards = self._total_rewards()
        with self._clock.part("truth"):
            columns = self._columns(inputs, output)
        with self._clock.part("baseline"):
            columns |= self._critic_column(output)
            advantages = self._advantages(keys, rewards, columns)

        start = self.accelerator.process_index * len(inputs)
        output["advantages"] = advantages[start : start + len(inputs)]
        logged = self._logs["advantages"]
        for _ in range(min(len(advantages), len(logged))):
            logged.pop()
        logged.extend(advantages.tolist())
        if self.args.trace_dir is not None:
            self._record(keys, rewards, {**columns, "advantage": advantages})
        return output

    def _advantages(self, keys, rewards, columns) -> torch.Tensor:
        """Advantages of all processes' rollouts, and the metrics of the baseline that gave them."""
        self._check_range(rewards)
        self._generations += 1
        # TRL's samplers put the rollouts of a prompt side by side, over all processes taken together.
        groups = (-1, self.num_generations)
        step = (keys[:: self.num_generations], rewards.view(groups), self._generations)
        columns = {name: column.view(groups) for name, column in columns.items()}
        advantages, info = self.baseline.advantages(*step, return_info=True, **columns)
        numbers = baseline_metrics(info, step[1], advantages, columns.get("true_value"))
        for name, number in {**numbers, "window": self.baseline.window_in_use}.items():
            self._metrics["train"][f"baseline/{name}"].append(number)
        if self.args.scale_rewards == "group":
            deviation = nanstd(step[1], dim=1, keepdim=True).nan_to_num()  # of a single reward there is none
            advantages = advantages / (deviation + _DEVIATION_FLOOR)
        advantages = advantages.flatten()
        require_same_advantages(self.accelerator, keys, advantages, self._generations)
        scored = ~torch.isnan(rewards)
        if self.args.whiten_advantages and scored.any():
            level, spread = advantages[scored].mean(), advantages[scored].std(correction=0)
            advantages = torch.where(scored, (advantages - level) / (spread + 1e-8), 0.0)
        return advantages

    def _check_range(self, rewards) -> None:
        """Refuse rewards whose variance is not the v(1-v) that the order of prompts goes by; NaN is no reward."""
        outside = rewards[(rewards < -_ROUNDING) | (rewards > 1 + _ROUNDING)]
        if self.args.prompt_order == "variance" and len(outside):
            raise ValueError(
                f"prompt_order='variance' takes rewards from 0 to 1, got {outside[0].item():g}: scale them, or choose "
                "another prompt_order"
            )

    def _critic_column(self, output) -> dict[str, torch.Tensor]:
        """Values of all processes' prompts by the critic, if that is the baseline."""
        return self._read_by(self.baseline, output) if isinstance(self.baseline, CriticBaseline) else {}

    def _read_by(self, critic: CriticBaseline, output) -> dict[str, torch.Tensor]:
        def gather(features):
            if critic.kind == "network":  # reads the tokens themselves, of which processes have more or fewer
                features = self.accelerator.pad_across_processes(features, dim=1, pad_first=True)
            return self.accelerator.gather(features)

        return {"critic_value": critic.read(self.model, output["prompt_ids"], output["prompt_mask"], gather)}

    def sample(self, inputs: list[dict], n_rollouts: int):
        """Sample and score completions outside of training."""
        usual, self.num_generations_eval = self.num_generations_eval, n_rollouts
        self.model.eval()
        try:
            output = super()._generate_and_score_completions(inputs)
            columns = self._columns(inputs, output) | self._critic_column(output)
        finally:
            self.model.train()
            self.num_generations_eval = usual
            self._metrics["eval"].clear()
            self._evaluated.clear()
        return self._total_rewards(), columns

    def _columns(self, inputs, output) -> dict[str, torch.Tensor]:
        """What the baseline needs beside the rewards, and what a recorded run is to hold, over all processes."""
        wanted = {*self.baseline.needs, *self.baseline.columns_used(self._feature_columns)} - {"critic_value"}
        if self.args.trace_dir is not None:
            wanted |= {"completion_length", *self._feature_columns}
            wanted |= set() if self._true_value_func is None else {"true_value"}
            wanted |= set() if self.args.score_norms is None else {"score_norm"}
        # In one order on all processes, since each column is gathered from all of them.
        return {name: self.accelerator.gather(self._column(name, inputs, output)) for name in sorted(wanted)}

    def _column(self, name, inputs, output) -> torch.Tensor:
        if name == "completion_length":
            return self._completion_lengths
        if name == "score_norm":
            return self._score_norms(output)
        if name == "true_value":
            return self._true_values(inputs)
        if name == "offline_value" and self.args.warm_start_rollouts:
            numbers = [self.offline_values.get(self.prompt_key(example), 0.5) for example in inputs]
        else:
            numbers = [example[name] for example in inputs]
        return torch.tensor(numbers, dtype=torch.float32, device=self.accelerator.device)

    def _score_norms(self, output) -> torch.Tensor:
        """Norm of the score of each completion of the local batch."""
        model = self.accelerator.unwrap_model(self.model)
        sides = ("prompt", "completion")
        rows = [zip(output[f"{side}_ids"], output[f"{side}_mask"].bool(), strict=True) for side in sides]
        prompts, completions = ([ids[real].tolist() for ids, real in side] for side in rows)
        parameters = chosen_parameters(model, self.args.score_norms or "all")
        return score_norms(model, parameters, prompts, completions, temperature=self.temperature)

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
        """As in TRL; refuses at once to record over another run."""
        # The process that records looks: two that look at once would take each other for another run.
        records = self.args.trace_dir is not None and self.accelerator.is_main_process
        if records and not resume_from_checkpoint and self._generations == 0:
            TraceWriter(self.args.trace_dir)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def _save_checkpoint(self, model, trial):
        # Not inside a generation, which a resumed run would sample anew and remember twice.
        self._checkpoint_due = bool(self._step % self._batches_a_generation)
        if self._checkpoint_due:
            return
        # Before the rest, which uploads the folder and removes older ones: a checkpoint never stands without history.
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial), f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")
            state = {
                "generations": self._generations,
                "baseline": self.baseline.state_dict(),
                "offline_values": [list(self.offline_values), list(self.offline_values.values())],
                "order": self._sampler.state_dict() if self._sampler else {},
                # Not logged yet. The loss is averaged by transformers, after a resume over the steps since here alone.
                "metrics": {name: [float(v) for v in values] for name, values in self._metrics["train"].items()},
            }
            save_state(state, folder / _STATE_FILE)
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        path = None if checkpoint is None else Path(checkpoint, _STATE_FILE)
        require_same_file(path)
        if path is None:
            return
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is missing: this checkpoint was not written by KAETrainer, and training on it would silently "
                "start with an empty history; start from its weights instead"
            )
        state = load_state(path)
        self._generations = state["generations"]
        baseline = state["baseline"]
        if network := state.get("critic"):  # as files of older versions have it
            baseline = {**baseline, "state": network}
        self.baseline.load_state_dict(baseline)
        self.offline_values = dict(zip(*state["offline_values"], strict=True))
        if self._sampler:
            self._sampler.load_state_dict(state["order"])
        self._metrics["train"].update(state.get("metrics", {}))  # not in files of older versions
