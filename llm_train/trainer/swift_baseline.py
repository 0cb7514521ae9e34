"""A baseline on the trainer of ms-swift, which has a method of its own for advantages in the place of TRL's."""

from __future__ import annotations

from typing import Any

import torch

from kvar import score_norm_from_logprobs
from llm_train.trainer.attached_baseline import AttachedBaseline
from llm_train.trainer.gathered_rewards import replace_method, total_rewards

__all__ = ["SwiftBaseline", "is_of_swift"]

_METHOD = "_compute_advantages"
_ARGUMENTS = ("samples", "rewards_per_func", "batch_encoded_inputs")


def is_of_swift(trainer: Any) -> bool:
    """Whether advantages are made by the method of ms-swift."""
    return callable(getattr(trainer, _METHOD, None))


class SwiftBaseline(AttachedBaseline):
    """The baseline where ``_compute_advantages`` returns the advantages of all processes.

    An example is the sample's further columns with its ``messages`` up to the answer as the ``prompt``.
    """

    def take_over_advantages(self) -> None:
        """Replace the one method; the order of prompts is that of ms-swift."""
        trainer = self._trainer
        if getattr(trainer, "dynamic_num_samples", False):
            raise ValueError("dynamic_num_samples gives several rows to one rollout: leave it off with a baseline")
        if getattr(trainer, "kl_in_reward", False) and getattr(trainer, "beta", 0.0):
            raise ValueError(
                f"kl_in_reward takes beta={trainer.beta:g} times the KL off the reward, where no baseline sees it: set "
                "kl_in_reward=False"
            )
        self._keeps_own = False
        replace_method(trainer, _METHOD, _ARGUMENTS, self._compute)

    def _compute(self, original, samples, rewards_per_func, batch_encoded_inputs) -> torch.Tensor:
        trainer = self._trainer
        own = original(samples, rewards_per_func, batch_encoded_inputs)
        if not trainer.model.training:
            return own
        examples = [{**sample.extra, "prompt": _prompt(sample.messages)} for sample in samples]
        size = trainer.num_generations
        keys = self._keys.gathered(self._keys.before(examples), [e["prompt"] for e in examples], size)
        rewards = total_rewards(trainer, rewards_per_func)
        columns = self.columns(examples, {"batches": [inputs["grpo_batch"] for inputs in batch_encoded_inputs]})
        advantages = self.advantages(keys, rewards, columns, own).to(own)
        self.record(keys, {"reward": rewards, **columns, "advantage": advantages})
        return advantages

    def column(self, name, inputs, output):
        """As of TRL, with lengths and norms from the batches of ms-swift."""
        if name == "completion_length":
            return torch.cat([batch.completion_mask.sum(dim=1) for batch in output["batches"]])
        return super().column(name, inputs, output)

    def _norms(self, output):
        found = []
        for batch in output["batches"]:
            logprobs = batch.old_per_token_logps
            logprobs = batch.rollout_per_token_logps if logprobs is None else logprobs
            if logprobs is None:
                raise ValueError(
                    f"baseline {self.baseline.name!r} needs score_norm, but this run has no log-probabilities: take "
                    "them from vLLM, or use baseline='adaptive'"
                )
            found.append(score_norm_from_logprobs(logprobs.float(), batch.completion_mask))
        return torch.cat(found)


def _prompt(messages: list[dict]) -> list[dict]:
    """Messages before the answer."""
    return messages[:-1] if messages and messages[-1].get("role") == "assistant" else messages
