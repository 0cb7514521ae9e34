"""A language model of under a million parameters that learns sums on two CPU cores.

It reads and writes single characters. After a short supervised warm-up, in which small numbers come more often than
large ones, its success rates spread over (0, 1). Reinforcement learning starts from there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from datasets import Dataset
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

__all__ = ["answer_reward", "make_policy", "make_tokenizer", "skewed_sums", "sums"]

_SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
_CHARACTERS = "0123456789+-*= "


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer with one token per character."""
    vocabulary = {token: i for i, token in enumerate((*_SPECIAL, *_CHARACTERS))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex("."), behavior="isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def make_policy(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Make an untrained policy; this also seeds all random generators."""
    set_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config)


def sums(n_prompts: int, largest: int, seed: int, without: Dataset | None = None) -> Dataset:
    """Draw distinct sums of two numbers from 0 to `largest`, none of those in `without`.

    The columns are ``prompt``, such as "2+3=", and ``answer``.
    """
    taken = set(without["prompt"]) if without is not None else ()
    pairs = [divmod(k, largest + 1) for k in range((largest + 1) ** 2)]
    free = [(a, b) for a, b in pairs if f"{a}+{b}=" not in taken]
    if not 1 <= n_prompts <= len(free):
        raise ValueError(
            f"n_prompts must be between 1 and {len(free)} for operands up to {largest}, got {n_prompts}; raise largest"
        )
    drawn = random.Random(seed).sample(free, n_prompts)
    return Dataset.from_dict(
        {"prompt": [f"{a}+{b}=" for a, b in drawn], "answer": [str(a + b) for a, b in drawn]},
    )


def skewed_sums(largest: int, seed: int) -> Iterator[dict]:
    """Draw sums to imitate, without end. Small ones come more often, so that large ones are hardly learned."""
    generator = random.Random(seed)
    while True:
        a, b = (int((largest + 1) * generator.random() ** 3) for _ in range(2))
        yield {"prompt": f"{a}+{b}=", "answer": f"{a + b}"}


def answer_reward(tokenizer, partial: bool = False):
    """Make the reward function of the right answer with its end token: 1 for it, 0 for any other completion.

    With `partial` the reward is the fraction of the right tokens that come before the first wrong one.
    """

    def score(given: list[int], wanted: list[int]) -> float:
        if not partial:
            return float(given == wanted)
        right = [a == b for a, b in zip(given, wanted, strict=False)]
        return (right.index(False) if False in right else len(right)) / len(wanted)

    def answer_reward_function(completion_ids, answer, **_):
        right = [
            [*ids, tokenizer.eos_token_id] for ids in tokenizer(list(answer), add_special_tokens=False)["input_ids"]
        ]
        return [score(list(given), wanted) for given, wanted in zip(completion_ids, right, strict=True)]

    return answer_reward_function
