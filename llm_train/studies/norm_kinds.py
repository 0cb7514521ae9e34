"""The norm of each completion's score by every parameter, and three proxies from forward passes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from kvar import score_norm_from_logprobs
from llm_train.policy.exact_value import answer_log_probabilities
from llm_train.policy.gradient_scores import chosen_parameters, output_norms, score_norms

__all__ = ["EXACT", "NORMS", "distinct_pairs", "norm_columns", "proxy_norms"]

EXACT = "score_norm"
# What each kind of norm is called in a trace.
NORMS = {"sampled": "norm_sampled", "logits": "norm_logits", "head": "norm_head", "exact": EXACT}


def distinct_pairs(prompts: Sequence, completions: Sequence) -> tuple[list, list, np.ndarray]:
    """Prompts and completions without repeated pairs, and the place of each pair among them, shape (N,)."""
    places: dict[tuple, int] = {}
    pairs = zip(map(tuple, prompts), map(tuple, completions), strict=True)
    which = np.array([places.setdefault(pair, len(places)) for pair in pairs])
    return [list(prompt) for prompt, _ in places], [list(completion) for _, completion in places], which


def proxy_norms(model, prompts: Sequence[list[int]], completions: Sequence[list[int]]) -> dict[str, np.ndarray]:
    """Norms of the scores by the logits' gradients: at sampled tokens, at all tokens, and by the head; (N,) each."""
    with torch.no_grad():
        # Past the end of a completion the log-probability is 0, which adds nothing.
        of_sampled = answer_log_probabilities(model, prompts, completions)
    norms = {kind: output_norms(model, kind, prompts, completions) for kind in ("logits", "head")}
    norms["sampled"] = score_norm_from_logprobs(of_sampled)
    return {NORMS[kind]: norms[kind].double().numpy() for kind in ("sampled", "logits", "head")}


def norm_columns(model, prompts: Sequence[list[int]], completions: Sequence[list[int]]) -> dict[str, np.ndarray]:
    """Norms of every kind as columns of a trace, shape (N,) each; equal completions of a prompt cost one."""
    prompts, completions, which = distinct_pairs(prompts, completions)
    exact = score_norms(model, chosen_parameters(model), prompts, completions).double().numpy()
    columns = {**proxy_norms(model, prompts, completions), EXACT: exact}
    return {name: column[which] for name, column in columns.items()}
