"""Word problems with a worked example before each: a small language model answers in a sentence or two.

A comparison asks who has more, and SmolLM2-135M is right more than a third of the time; an addition asks how many,
which it hardly ever finds.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from datasets import Dataset

__all__ = ["comparison_or_addition", "is_last_answer", "last_answer_reward", "word_problems"]

_COMPARED = """\
Question: Tom has 5 apples and buys 3 more. Lisa has 9 apples and eats 4. Who has more apples?
Answer: Tom has 5 + 3 = 8 apples. Lisa has 9 - 4 = 5 apples. 8 is more than 5. The answer is Tom.
"""
_ADDED = """\
Question: Tom has 5 apples and buys 3 more. Then he finds out how many he has. How many apples does he have?
Answer: Tom starts with 5 apples. He buys 3 more apples, so he has 5 + 3 = 8 apples. The answer is 8.
"""
_THINGS = ("coins", "pens", "books", "cards", "oranges", "cakes")


def _comparison(generator: random.Random) -> tuple[str, str]:
    things, names = generator.choice(_THINGS), generator.sample(("Anna", "Ben", "Maria", "Sam"), 2)
    a, b, c, d = (generator.randint(*limits) for limits in ((1, 5), (1, 3), (6, 9), (1, 3)))
    c += a + b == c - d
    told = f"{names[0]} has {a} {things} and buys {b} more. {names[1]} has {c} {things} and loses {d}."
    answer = names[0] if a + b > c - d else names[1]
    return f"{_COMPARED}Question: {told} Who has more {things}?\nAnswer:", answer


def _addition(generator: random.Random) -> tuple[str, str]:
    things, name = generator.choice(_THINGS), generator.choice(("Ben", "Sam"))
    a, b = generator.randint(1, 4), generator.randint(1, 4)
    told = f"{name} has {a} {things} and buys {b} more. Then he finds out how many he has."
    return f"{_ADDED}Question: {told} How many {things} does he have?\nAnswer:", str(a + b)


def comparison_or_addition(generator: random.Random) -> tuple[str, str]:
    """A prompt with its answer, of one of both kinds."""
    return generator.choice((_comparison, _addition))(generator)


def is_last_answer(completion: str, answer: str) -> bool:
    """Whether the last name, or the last number where the answer is one, is right."""
    kind = r"\d+" if answer.isdecimal() else "Anna|Ben|Maria|Sam"
    return (re.findall(kind, completion) or [None])[-1] == answer


def last_answer_reward(completions: Sequence[str], answer: Sequence[str], **_) -> list[float]:
    """1 where the last answer in the first line of a completion is right, else 0."""
    lines = [completion.partition("\n")[0] for completion in completions]
    return [float(is_last_answer(line, right)) for line, right in zip(lines, answer, strict=True)]


def word_problems(n_prompts: int, seed: int) -> Dataset:
    """Draw distinct problems; the columns are ``prompt`` and ``answer``."""
    generator, found = random.Random(seed), {}
    while len(found) < n_prompts:
        prompt, answer = comparison_or_addition(generator)
        found[prompt] = answer
    return Dataset.from_dict({"prompt": list(found), "answer": list(found.values())})
