"""TRL's GRPO trainer with measurements: seconds of a step in parts, rewards as they came, pass rates, exact values."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate.utils import gather_object
from trl import GRPOTrainer

from kvar.rollouts.prompt_ids import prompt_key
from llm_train.policy.eval_mode import evaluating
from llm_train.trainer.pass_rates import exact_pass_rates, sampled_pass_rates
from llm_train.trainer.step_timing import StepClock

__all__ = ["MeasuringTrainer", "total_rewards"]


def total_rewards(rewards: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted sum over reward functions, as TRL takes it."""
    weighted = rewards * weights.to(rewards.device)
    return torch.where(torch.isnan(rewards).all(dim=1), torch.nan, weighted.nansum(dim=1))


class MeasuringTrainer(GRPOTrainer):
    """What `KAETrainer` needs to know of a step, and how it evaluates.

    Parameters
    ----------
    *args
        As for ``GRPOTrainer``.
    true_value_func : callable, optional
        As for `KAETrainer`.
    **kwargs
        As for ``GRPOTrainer``.
    """

    def __init__(self, *args, true_value_func: Callable | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self._true_value_func = true_value_func
        self._gathered_rewards: torch.Tensor | None = None
        self._evaluated: dict[int | str, list[float]] = {}
        self._evaluation_prefix = "eval"
        self._clock = StepClock(lambda part, seconds: self._metrics["train"][f"time/{part}"].append(seconds))
        self.add_callback(self._clock)

    @property
    def _evaluates_exactly(self) -> bool:
        return getattr(self._true_value_func, "is_pass_rate", False)

    def _generate(self, prompts):
        with self._clock.part("generation"):
            return super()._generate(prompts)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        with self._clock.part("reward"):
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._gathered_rewards = rewards
        # From the tokens: masks may leave truncated completions out.
        self._completion_lengths = torch.tensor([len(ids) for ids in completion_ids_list], device=rewards.device)
        return rewards

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            keys = gather_object([self.prompt_key(example) for example in inputs])
            samples = self._total_rewards().view(-1, self.num_generations_eval).tolist()
            for key, row in zip(keys[:: self.num_generations_eval], samples, strict=True):
                self._evaluated.setdefault(key, row)  # processes fill the last batch up with prompts seen before
        return output

    def _true_values(self, inputs) -> torch.Tensor:
        """True values of the local batch, of the policy as it samples: without dropout."""
        with evaluating(self.model), torch.no_grad():
            values = torch.as_tensor(self._true_value_func(self.model, inputs), dtype=torch.float32)
        if values.shape != (len(inputs),):
            raise ValueError(f"true_value_func must return {len(inputs)} values, got the shape {tuple(values.shape)}")
        return values.detach().to(self.accelerator.device)

    def _total_rewards(self) -> torch.Tensor:
        """Of the last generation, for all processes."""
        return total_rewards(self._gathered_rewards, self.reward_weights)

    def prompt_key(self, example: dict) -> int | str:
        """Under which name the history knows a prompt."""
        column = self.args.prompt_id_column
        if column is None:
            return prompt_key(example["prompt"])
        try:
            return example[column]
        except KeyError:
            raise ValueError(f"prompt_id_column={column!r} is no column of the dataset: {', '.join(example)}") from None

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """As in TRL, with pass@k; by exact values instead of samples where they are pass rates."""
        data = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(data, dict) or not self._evaluates_exactly:
            self._evaluated = {}
            self._evaluation_prefix = metric_key_prefix
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        data = self.eval_dataset[data] if isinstance(data, str) else data
        values = torch.cat([self._true_values(list(chunk)) for chunk in _chunks(data, 256)]).tolist()
        rates = exact_pass_rates(values, self.args.pass_at)
        metrics = {f"{metric_key_prefix}_{name}": rate for name, rate in rates.items()}
        with evaluating(self.model):  # by which TRL tells whose metrics they are
            self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs, start_time=None):
        """As in TRL, with the pass rates of an evaluation that just ended."""
        if self._evaluated:
            rates = sampled_pass_rates(self._evaluated, self.args.pass_at, self.args.pass_reward)
            logs.update({f"{self._evaluation_prefix}_{name}": rate for name, rate in rates.items()})
            self._evaluated = {}
        super().log(logs, start_time)


def _chunks(data, size: int):
    """Rows of a dataset, a few at a time."""
    return (data.select(range(start, min(start + size, len(data)))) for start in range(0, len(data), size))
