"""TRL's GRPO trainer with measurements: seconds by part, exact values, pass rates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from trl import GRPOTrainer

from llm_train.policy.eval_mode import evaluating
from llm_train.policy.exact_value import pass_rate_func
from llm_train.trainer.gathered_rewards import GatheredRewards, on_rewards
from llm_train.trainer.gradient_parts import GradientParts
from llm_train.trainer.pass_rates import exact_pass_rates, sampled_pass_rates
from llm_train.trainer.prompt_keys import PromptKeys
from llm_train.trainer.step_timing import StepTimer

__all__ = ["MeasuredTrainer"]


class MeasuredTrainer(GRPOTrainer):
    """Measures what `KAETrainer` needs of a step, and evaluates; the parameters are those of `KAETrainer`."""

    def __init__(self, *args, true_value_func: Callable | None, prompt_key_func: Callable | None, **kwargs):
        super().__init__(*args, **kwargs)
        self._true_value_func = true_value_func
        self._keys = PromptKeys(self, self.args.prompt_id_column, prompt_key_func)
        if not hasattr(self, "num_generations_eval"):  # TRL before 0.26
            self.num_generations_eval = self.num_generations
        self._rewards: GatheredRewards | None = None  # of the last generation
        self._evaluated: dict[int | str, list[float]] = {}
        self._evaluation_prefix = "eval"
        self._timer = StepTimer(lambda part, seconds: self._metrics["train"][f"time/{part}"].append(seconds))
        self.add_callback(self._timer)
        self._gradient = GradientParts(self)
        on_rewards(self, self._keep_rewards)

    @property
    def _evaluates_exactly(self) -> bool:
        return pass_rate_func(self._true_value_func) is not None

    def _generate(self, *args, **kwargs):
        with self._timer.part("generation"):
            return super()._generate(*args, **kwargs)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        with self._timer.part("reward"):
            return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)

    def _keep_rewards(self, inputs, rewards: GatheredRewards) -> None:
        self._rewards = rewards

    def _generate_and_score_completions(self, inputs):
        if self.model.training:
            return super()._generate_and_score_completions(inputs)
        known = self._keys.before(inputs)
        output = super()._generate_and_score_completions(inputs)
        keys = self._keys.gathered(known, self._rewards.prompts, self.num_generations_eval)
        samples = self._rewards.total.view(-1, self.num_generations_eval).tolist()
        for key, row in zip(keys[:: self.num_generations_eval], samples, strict=True):
            self._evaluated.setdefault(key, row)  # the last batch is filled up with prompts seen before
        return output

    def prompt_key(self, example: dict) -> int | str:
        """Id by which the history knows the prompt of an example."""
        return self._keys.of_example(example)

    def _exact(self, func: Callable, inputs) -> torch.Tensor:
        """Exact values or pass rates of the n examples, under the policy that samples: without dropout."""
        with evaluating(self.model), torch.no_grad():
            values = torch.as_tensor(func(self.model, inputs), dtype=torch.float32)
        if values.shape != (len(inputs),):
            raise ValueError(f"true_value_func must return {len(inputs)} values, got the shape {tuple(values.shape)}")
        return values.detach().to(self.accelerator.device)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        """As in TRL, with pass@k: from exact values if these are pass rates, else from samples."""
        data = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(data, dict) or not self._evaluates_exactly:
            self._evaluated = {}
            self._evaluation_prefix = metric_key_prefix
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        data = self.eval_dataset[data] if isinstance(data, str) else data
        func = pass_rate_func(self._true_value_func)
        values = torch.cat([self._exact(func, list(chunk)) for chunk in _chunks(data, 256)]).tolist()
        rates = exact_pass_rates(values, self.args.pass_at)
        metrics = {f"{metric_key_prefix}_{name}": rate for name, rate in rates.items()}
        with evaluating(self.model):  # the mode tells TRL that these are metrics of an evaluation
            self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs, start_time=None):
        """As in TRL, with the pass rates of an evaluation that just ended."""
        if self._evaluated:
            rates = sampled_pass_rates(self._evaluated, self.args.pass_at, self.args.pass_reward)
            logs.update({f"{self._evaluation_prefix}_{name}": rate for name, rate in rates.items()})
            self._evaluated = {}
        if self.model.training and (scale := self._gradient.noise_scale()) is not None:
            logs["gradient/noise_scale"] = scale
        super().log(logs, start_time)


def _chunks(data, size: int):
    """Consecutive parts of a dataset, each of at most `size` rows."""
    return (data.select(range(start, min(start + size, len(data)))) for start in range(0, len(data), size))
