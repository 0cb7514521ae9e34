"""Norms of the scores of a generation, from what TRL has of it or from a pass of the policy.

They are norms of the score that TRL's loss differentiates: at the temperature of the sampling and over the whole
vocabulary, also where top-p, top-k, min-p or a repetition penalty restrict the sampling. Tokens that the loss leaves
out are left out here: padding, the output of tools and completions masked because they were truncated.
"""

from __future__ import annotations

import inspect

import torch

from kvar import score_norm_from_logprobs
from llm_train.policy.eval_mode import evaluating
from llm_train.policy.gradient_scores import chosen_parameters, output_norms, score_norms
from llm_train.policy.norm_names import OUTPUT_NORMS

__all__ = ["PLAIN_SAMPLING", "generation_norms"]

PLAIN_SAMPLING = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}


def generation_norms(trainer, output, kind: str) -> torch.Tensor:
    """Norm of the score of each of the n completions of this process."""
    written = output.get("tool_mask")
    if kind == "sampled":
        mask = output["completion_mask"] if written is None else output["completion_mask"] * written
        return score_norm_from_logprobs(_log_probabilities(trainer, output).float(), mask)
    if "pixel_values" in output:
        raise ValueError(f"score_norms={kind!r} cannot pass images through the policy: use 'sampled'")
    real = output["completion_mask"].bool()
    prompts = _real_ones(output["prompt_ids"], output["prompt_mask"].bool())
    completions = _real_ones(output["completion_ids"], real)
    written = None if written is None else _real_ones(written, real)
    model = trainer.accelerator.unwrap_model(trainer.model)
    settings = {"temperature": trainer.temperature, "written": written}
    if kind in OUTPUT_NORMS:
        return output_norms(model, kind, prompts, completions, **settings)
    return score_norms(model, chosen_parameters(model, kind), prompts, completions, **settings)


def _real_ones(rows, mask) -> list[list[int]]:
    return [row[real].tolist() for row, real in zip(rows, mask, strict=True)]


def _log_probabilities(trainer, output) -> torch.Tensor:
    """Log-probabilities of the sampled tokens, shape (n, T): the trainer's or vLLM's, else from one forward pass."""
    if "old_per_token_logps" in output:
        return output["old_per_token_logps"]
    config = trainer.args
    # top_k = None is what 0 is, in older versions.
    plain = all((getattr(config, name) or value) == value for name, value in PLAIN_SAMPLING.items())
    # Under other sampling vLLM's are of the restricted distribution, or a server's are of temperature 1.
    if "sampling_per_token_logps" in output and plain and not config.generation_kwargs:
        return output["sampling_per_token_logps"]
    tokens, mask = (torch.cat([output[f"prompt_{of}"], output[f"completion_{of}"]], dim=1) for of in ("ids", "mask"))
    # What the policy reads besides tokens, such as images, has the same names there and here.
    taken = inspect.signature(trainer._get_per_token_logps_and_entropies).parameters
    with evaluating(trainer.model), torch.no_grad():
        return trainer._get_per_token_logps_and_entropies(
            trainer.model, tokens, mask, output["completion_ids"].shape[1], config.per_device_train_batch_size,
            **{name: value for name, value in output.items() if name in taken},
        )[0]  # fmt: skip
