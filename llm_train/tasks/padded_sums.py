"""A task of the tiny policy whose right and wrong answers are equally long and uncertain: sums, then any digits.

The reward depends on the first two tokens alone. The digits after them make most of a score's norm, and have as many
right completions as wrong ones: norm and reward are nearly unrelated, as with worked answers of a language model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from datasets import Dataset

from llm_train.policy.tiny import skewed_sums, sums

__all__ = ["LARGEST", "SUM_DIGITS", "first_digits_reward", "padded_demonstrations", "padded_sums"]

LARGEST = 49  # of the operands, for sums of two digits
SUM_DIGITS = 2
_FREE_DIGITS = 6


def padded_sums(n_prompts: int, largest: int, seed: int, without: Dataset | None = None) -> Dataset:
    """Draw distinct sums, none of those in `without`; the answers have two digits, such as "05"."""
    return sums(n_prompts, largest, seed, without).map(lambda row: {"answer": row["answer"].zfill(SUM_DIGITS)})


def padded_demonstrations(largest: int, seed: int) -> Iterator[dict]:
    """Draw sums to imitate, small ones more often, each followed by six digits at random."""
    generator = random.Random(f"digits {seed}")
    for row in skewed_sums(largest, seed):
        digits = "".join(generator.choices("0123456789", k=_FREE_DIGITS))
        yield {"prompt": row["prompt"], "answer": row["answer"].zfill(SUM_DIGITS) + digits}


def first_digits_reward(tokenizer) -> Callable:
    """Make the reward function of completions that begin with the right answer: 1 for each, 0 for others."""

    def first_digits_reward_function(completion_ids, answer, **_):
        right = tokenizer(list(answer), add_special_tokens=False)["input_ids"]
        return [float(list(given[:SUM_DIGITS]) == ids) for given, ids in zip(completion_ids, right, strict=True)]

    return first_digits_reward_function
