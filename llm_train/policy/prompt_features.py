"""Features by which a baseline can compare prompts: coordinates of the policy's hidden states."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import numpy as np
import torch
from datasets import Dataset
from peft import PeftModel

from llm_train.policy.eval_mode import evaluating

__all__ = ["hidden_states", "last_states", "with_prompt_features"]

_BATCH = 64
# Three quarters of the way up the layers, the answer is mostly settled and its wording is not.
_DEPTH = 0.75


def last_states(model, tokens: torch.Tensor, mask: torch.Tensor, layer: int) -> torch.Tensor:
    """Hidden states of a layer at the last token of each prompt, shape (prompts, hidden size); pad on the left."""
    forward = (model.get_base_model() if isinstance(model, PeftModel) else model).forward
    few_logits = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(forward).parameters else {}
    states = []
    with evaluating(model), torch.no_grad():
        for rows, real in zip(tokens.split(_BATCH), mask.split(_BATCH), strict=True):
            given = {"input_ids": rows, "attention_mask": real, "output_hidden_states": True, "use_cache": False}
            states.append(model(**given, **few_logits).hidden_states[layer][:, -1].float())
    return torch.cat(states)


def hidden_states(model, tokenizer, prompts: Sequence[str | list[dict]]) -> np.ndarray:
    """Hidden states at the end of each prompt, three quarters of the way up the layers, (prompts, hidden size)."""
    texts = [
        prompt
        if isinstance(prompt, str)
        else tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        for prompt in prompts
    ]
    device = next(model.parameters()).device
    layer = round(_DEPTH * model.config.get_text_config().num_hidden_layers)
    states = []
    for start in range(0, len(texts), _BATCH):
        tokens = tokenizer(texts[start : start + _BATCH], padding=True, padding_side="left", return_tensors="pt")
        states.append(last_states(model, tokens["input_ids"].to(device), tokens["attention_mask"].to(device), layer))
    return torch.cat(states).cpu().numpy()


def with_prompt_features(dataset: Dataset, model, tokenizer, n_features: int = 8) -> Dataset:
    """Add the principal coordinates of the prompts' hidden states as columns ``feature_0``, ``feature_1``, ...

    The ``adaptive`` baseline learns from them which prompts resemble each other, so that it can also estimate the value
    of a prompt that it has never seen.

    Parameters
    ----------
    dataset : datasets.Dataset
        The prompts, in the column ``prompt``.
    model : transformers.PreTrainedModel
        The policy at the start of training.
    tokenizer : transformers.PreTrainedTokenizerBase
        The tokenizer of the model.
    n_features : int
        Number of coordinates, at most the number of prompts.

    Returns
    -------
    datasets.Dataset
        The same rows with the further columns.

    Raises
    ------
    ValueError
        If `n_features` is not positive.
    """
    if n_features < 1:
        raise ValueError(f"n_features must be at least 1, got {n_features}")
    states = hidden_states(model, tokenizer, dataset["prompt"])
    centred = states - states.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    coordinates = centred @ directions[:n_features].T
    for k, column in enumerate(coordinates.T):
        dataset = dataset.add_column(f"feature_{k}", column)
    return dataset
