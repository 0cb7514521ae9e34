"""Scores, the gradients of the log-probabilities of single completions.

The gradient estimate of a step is ``(1/BG) sum A s`` with the score ``s = grad log pi(y|x)`` of each completion. Given
all scores, one product gives the estimate of every baseline on the same rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from llm_train.policy.eval_mode import evaluating
from llm_train.policy.exact_value import rows_at_once

__all__ = ["SCORE_PARAMETERS", "chosen_parameters", "score_norms", "scores"]

SCORE_PARAMETERS = ("all", "last-layer", "lora")
_CHUNK = 32
_MOST_ENTRIES = 2**28  # one gibibyte in single precision


def chosen_parameters(model, which: str = "all") -> dict[str, torch.nn.Parameter]:
    """Parameters to differentiate by: only trained ones, so that LoRA's frozen weights are left out."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if which == "all":
        found = named
    elif which == "lora":
        found = {name: p for name, p in named.items() if "lora_" in name}
    elif which == "last-layer":
        last = f".layers.{model.config.get_text_config().num_hidden_layers - 1}."
        found = {name: p for name, p in named.items() if last in f".{name}"}
    else:
        raise ValueError(f"the parameters of scores must be one of {', '.join(SCORE_PARAMETERS)}, got {which!r}")
    if not found:
        raise ValueError(
            f"the model trains no parameters of the kind {which!r}: choose another of {', '.join(SCORE_PARAMETERS)}"
        )
    return found


def scores(
    model,
    parameters: dict,
    prompts: Sequence[list[int]],
    completions: Sequence[list[int]],
    chunk: int = _CHUNK,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Score of each completion, given its prompt, shape (completions, entries of all parameters)."""
    rows = [torch.tensor([*prompt, *completion]) for prompt, completion in zip(prompts, completions, strict=True)]
    device = next(iter(parameters.values())).device
    # Causal attention never sees the padding on the right, and the padding's own tokens are not counted.
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
    position = torch.arange(tokens.shape[1])
    start = torch.tensor([len(prompt) for prompt in prompts])[:, None]
    end = torch.tensor([len(row) for row in rows])[:, None]
    counted = ((position >= start) & (position < end)).to(device)

    def log_probability(weights, row, mask):
        logits = functional_call(model, weights, (row[None],)).logits[0, :-1].double() / temperature
        return (torch.log_softmax(logits, -1).gather(1, row[1:, None])[:, 0] * mask[1:]).sum()

    chunk = min(chunk, rows_at_once(model, tokens.shape[1]))
    weights = {name: parameter.detach() for name, parameter in parameters.items()}
    # Among the attention kernels, only the plain one supports per-sample gradients by vmap.
    with evaluating(model), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        score = vmap(grad(log_probability), in_dims=(None, 0, 0), chunk_size=chunk)(weights, tokens, counted)
    return torch.cat([score[name].flatten(1) for name in weights], dim=1)


def score_norms(
    model,
    parameters: dict,
    prompts: Sequence[list[int]],
    completions: Sequence[list[int]],
    chunk: int = _CHUNK,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Norm of the score of each completion, in chunks whose scores fit into one gibibyte."""
    entries = sum(parameter.numel() for parameter in parameters.values())
    chunk = max(1, min(chunk, _MOST_ENTRIES // entries))
    starts = range(0, len(prompts), chunk)
    parts = (
        scores(model, parameters, prompts[k : k + chunk], completions[k : k + chunk], chunk, temperature)
        for k in starts
    )
    return torch.cat([part.norm(dim=1) for part in parts])
