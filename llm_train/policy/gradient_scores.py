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
from llm_train.policy.norm_names import SCORE_PARAMETERS

__all__ = ["chosen_parameters", "output_norms", "score_norms", "scores"]

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
    written: Sequence[list[int]] | None = None,
) -> torch.Tensor:
    """Score of each completion, given its prompt, shape (completions, entries of all parameters).

    `written` has 0 for each token of a completion that the policy did not write, such as the output of a tool.
    """
    tokens, counted = _rows(model, prompts, completions, written)

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
    written: Sequence[list[int]] | None = None,
) -> torch.Tensor:
    """Norm of the score of each completion, in chunks whose scores fit into one gibibyte."""
    entries = sum(parameter.numel() for parameter in parameters.values())
    chunk = max(1, min(chunk, _MOST_ENTRIES // entries))
    parts = []
    for k in range(0, len(prompts), chunk):
        some = slice(k, k + chunk)
        own = None if written is None else written[some]
        parts.append(scores(model, parameters, prompts[some], completions[some], chunk, temperature, own).norm(dim=1))
    return torch.cat(parts)


def output_norms(
    model,
    which: str,
    prompts: Sequence[list[int]],
    completions: Sequence[list[int]],
    temperature: float = 1.0,
    written: Sequence[list[int]] | None = None,
) -> torch.Tensor:
    """Norm of the gradient of each completion's log-probability at the output of the model, from one forward pass.

    With p_t the distribution of token t, e_t the unit vector of the token itself and h_t what the output head reads:
    "logits" is ``sqrt(sum_t |e_t - p_t|^2)``, "head" the norm of the head's own gradient ``sum_t (e_t - p_t) h_t'``.
    """
    if which == "head" and getattr(model.config.get_text_config(), "final_logit_softcapping", None):
        raise ValueError("score_norms='head' does not know soft-capped logits: use 'logits' or 'sampled'")
    tokens, counted = _rows(model, prompts, completions, written)
    read: dict[str, torch.Tensor] = {}
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: read.update(hidden=inputs[0]))
    norms = []
    try:
        with evaluating(model), torch.no_grad():
            for some in torch.arange(len(tokens)).split(rows_at_once(model, tokens.shape[1])):
                logits = model(input_ids=tokens[some]).logits[:, :-1].double() / temperature
                errors = -torch.softmax(logits, -1)
                errors.scatter_add_(2, tokens[some, 1:, None], torch.ones_like(errors[..., :1]))
                errors *= counted[some, 1:, None]
                if which == "logits":
                    square = errors.square().sum(dim=(1, 2))
                else:
                    # The gradient has as many entries as the head; the products of its factors are tokens by tokens.
                    hidden = read["hidden"][:, :-1].double()
                    square = ((errors @ errors.mT) * (hidden @ hidden.mT)).sum(dim=(1, 2)) / temperature**2
                norms.append(square.clamp(min=0).sqrt())
    finally:
        hook.remove()
    return torch.cat(norms)


def _rows(model, prompts, completions, written) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of prompts with completions, padded on the right, and which of them count."""
    device = next(model.parameters()).device
    written = [[1] * len(completion) for completion in completions] if written is None else written
    rows = [torch.tensor([*prompt, *completion]) for prompt, completion in zip(prompts, completions, strict=True)]
    counted = [torch.tensor([*[0] * len(prompt), *own]) for prompt, own in zip(prompts, written, strict=True)]
    # Causal attention never sees the padding on the right, and the padding's own tokens are not counted.
    tokens, counted = (torch.nn.utils.rnn.pad_sequence(side, batch_first=True) for side in (rows, counted))
    return tokens.to(device), counted.bool().to(device)
