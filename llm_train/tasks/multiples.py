"""A task of the tiny policy with many right completions, all of which are known: multiples of a number."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from datasets import Dataset

from llm_train.policy.exact_value import ExactValue

__all__ = ["ExactSums", "demonstrated_multiples", "multiples", "one_of_answers_reward"]

_LARGEST = 99
_STEPS = range(2, 32)


def _prompt(step: int, rest: int) -> str:
    return f"{step}*+{rest}="


def multiples(n_prompts: int, seed: int) -> Dataset:
    """Draw distinct questions such as "7*+3=", for any multiple of 7 plus 3 below 100.

    The columns are ``prompt``, ``answers`` with all that are right, and ``answer`` with the least of them.
    """
    pairs = [(step, rest) for step in _STEPS for rest in range(step)]
    if not 1 <= n_prompts <= len(pairs):
        raise ValueError(f"n_prompts must be between 1 and {len(pairs)} for task 'multiples', got {n_prompts}")
    drawn = random.Random(seed).sample(pairs, n_prompts)
    answers = [[str(y) for y in range(rest, _LARGEST + 1, step)] for step, rest in drawn]
    prompts = [_prompt(*pair) for pair in drawn]
    return Dataset.from_dict({"prompt": prompts, "answers": answers, "answer": [right[0] for right in answers]})


def demonstrated_multiples(seed: int) -> Iterator[dict]:
    """Draw multiples to imitate, without end. Those of small numbers come more often."""
    generator = random.Random(seed)
    while True:
        step = _STEPS[int(len(_STEPS) * generator.random() ** 2)]
        rest = generator.randrange(step)
        yield {"prompt": _prompt(step, rest), "answer": str(generator.choice(range(rest, _LARGEST + 1, step)))}


def one_of_answers_reward(tokenizer) -> Callable:
    """Make the reward function of several right answers with their end token: 1 for each, 0 for others."""

    def one_of_answers_reward_function(completion_ids, answers, **_):
        right = [tokenizer(list(some), add_special_tokens=False)["input_ids"] for some in answers]
        return [
            float(list(given) in [[*ids, tokenizer.eos_token_id] for ids in some])
            for given, some in zip(completion_ids, right, strict=True)
        ]

    return one_of_answers_reward_function


class ExactSums:
    """Exact values for a dataset with columns ``prompt`` and ``answers``: sums of probabilities."""

    is_pass_rate = True

    def __init__(self, tokenizer):
        self._single = ExactValue(tokenizer)

    def __call__(self, model, examples: Sequence[dict]) -> list[float]:
        """Values of the examples under a model."""
        pairs = [{"prompt": row["prompt"], "answer": y} for row in examples for y in row["answers"]]
        found = iter(self._single(model, pairs))
        return [sum(next(found) for _ in row["answers"]) for row in examples]
