"""Rows that begin alike, such as prompts with the same worked examples: their common start is computed once.

The keys and values of the start are computed for a single row and copied to the others, so that a forward pass and its
gradient cost what the rest of the tokens costs. What comes out is the same up to rounding.
"""

from __future__ import annotations

import functools

import torch
from transformers import DynamicCache, LlamaForCausalLM

__all__ = ["common_start", "share_start"]

_SHORTEST = 8  # A shorter start saves less than the second call costs.


def common_start(tokens: torch.Tensor, mask: torch.Tensor) -> tuple[int, torch.Tensor]:
    """Number of tokens with which all rows begin, and the columns of padding on the left of each row.

    At least one column is left over, so that every row has a token after the start.
    """
    padding = mask.long().argmax(dim=1)
    columns = torch.arange(tokens.shape[1] - int(padding.max()), device=tokens.device)
    rows = tokens.gather(1, padding[:, None] + columns)
    same = ((rows == rows[0]) & mask.bool().gather(1, padding[:, None] + columns)).all(dim=0)
    return min(int(same.long().cumprod(dim=0).sum()), len(columns) - 1), padding


def share_start(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Let a model compute the common start of its rows once; it is changed in place and returned."""
    decoder = model.model
    whole = decoder.forward

    @functools.wraps(whole)
    def forward(input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None, **kwargs):
        given = {"attention_mask": attention_mask, "position_ids": position_ids, "past_key_values": past_key_values}
        begun = past_key_values is not None and past_key_values.get_seq_length() > 0
        shared = 0
        if input_ids is not None and len(input_ids) > 1 and not begun:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            if mask.dim() == 2:
                shared, padding = common_start(input_ids, mask)
        if shared < _SHORTEST:
            return whole(input_ids=input_ids, use_cache=use_cache, **given, **kwargs)
        row, columns = int(padding.argmin()), torch.arange(input_ids.shape[1], device=input_ids.device)
        start = whole(
            input_ids=input_ids[row : row + 1, padding[row] : padding[row] + shared],
            past_key_values=DynamicCache(config=decoder.config),
            use_cache=True,
            **kwargs,
        )
        # Each row has the start behind its own padding; what would lie past the last shared column is computed again.
        positions = (columns - padding[:, None]).clamp(min=0)
        place = positions[:, :shared]
        cache = DynamicCache(config=decoder.config) if past_key_values is None else past_key_values
        for k, layer in enumerate(start.past_key_values.layers):
            keys, values = (part[0][:, place].transpose(0, 1) for part in (layer.keys, layer.values))
            cache.update(keys, values, k)
        rest = whole(
            input_ids=input_ids[:, shared:],
            attention_mask=mask,
            position_ids=positions[:, shared:],
            past_key_values=cache,
            use_cache=True,
            **kwargs,
        )
        rest.last_hidden_state = torch.cat([start.last_hidden_state[0][place], rest.last_hidden_state], dim=1)
        return rest

    decoder.forward = forward
    return model
