"""The baseline on a `KAETrainer`, with what that trainer adds to any other."""

# ruff: noqa: D102  (the methods are documented in AttachedBaseline)
from __future__ import annotations

import torch

from kvar import make_baseline
from llm_train.trainer.attached_baseline import AttachedBaseline
from llm_train.trainer.baseline_settings import ORDERS_OF_RATES
from llm_train.trainer.step_advantages import require_rates, whitened

__all__ = ["KAEBaseline"]


class KAEBaseline(AttachedBaseline):
    """What `KAETrainer` adds: exact values, values from before training, whitening, and the order of prompts."""

    def __init__(self, trainer):
        config = trainer.args
        baseline = make_baseline(config.baseline, **config.baseline_kwargs)
        super().__init__(trainer, baseline, trainer._keys, config.kind_of_score_norms, config.trace_dir)

    def wanted_columns(self):
        wanted, trainer = super().wanted_columns(), self._trainer
        if self._trace_dir is not None:
            wanted |= set() if trainer._true_value_func is None else {"true_value"}
            wanted |= set() if trainer.args.score_norms is None else {"score_norm"}
        return wanted

    def columns(self, inputs, output):
        with self._trainer._timer.part("columns"):
            return super().columns(inputs, output)

    def column(self, name, inputs, output):
        if name == "true_value":
            return self._trainer._exact(self._trainer._true_value_func, inputs)
        if name == "offline_value" and self._trainer.args.warm_start_rollouts:
            values = [self.offline_values.get(self._keys.of_example(example), 0.5) for example in inputs]
            return torch.tensor(values, device=self._trainer.accelerator.device)
        return super().column(name, inputs, output)

    def advantages(self, keys, rewards, columns, own):
        config = self._trainer.args
        if config.prompt_order in ORDERS_OF_RATES:
            require_rates(rewards, config.prompt_order)
        with self._trainer._timer.part("baseline"):
            advantages = super().advantages(keys, rewards, columns, own)
        if config.whiten_advantages:
            advantages = whitened(advantages, rewards)
        return advantages * self._weights(keys, advantages) if config.prompt_order == "importance" else advantages

    def _weights(self, keys, like):
        """Weights of the rollouts of this generation, whose prompts were drawn with different probabilities."""
        drawn = self._sampler.of_generation(self.generations - 1, self._trainer.args.block_reuse)
        weights = dict(zip((self._trainer.all_keys[place] for place in drawn.prompts), drawn.weights, strict=True))
        return like.new_tensor([weights[key] for key in keys])
