"""Reward functions: the same text, equal as mathematics, or the verifier of a task."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["final_answer", "math_reward", "text_reward", "verifier_reward"]

_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_DELIMITERS = ("$", "\\boxed", "\\[", "\\(")


def _text(completion) -> str:
    """The text of a completion, which a chat template makes a list of messages."""
    return completion if isinstance(completion, str) else completion[-1]["content"]


def _boxed(text: str) -> str | None:
    """The content of the last LaTeX box, with balanced braces inside it, or None."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed{")
    for end in range(begin - 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[begin:end]
    return None


def _as_math(text: str) -> str:
    """Text between the delimiters that math-verify looks for, unless it has some of its own."""
    return text if any(mark in text for mark in _DELIMITERS) else f"${text}$"


def final_answer(completion) -> str:
    r"""The answer of a completion: its last <answer> tag, else its last LaTeX box, else its last line.

    Examples
    --------
    >>> final_answer("6 times 7 makes <answer> 42 </answer>")
    '42'
    >>> final_answer("so it is \\boxed{\\frac{1}{2}}.")
    '\\frac{1}{2}'
    >>> final_answer("Let me see.\n42\n")
    '42'
    """
    text = _text(completion)
    tagged = _TAGGED.findall(text)
    if tagged:
        return tagged[-1].strip()
    boxed = _boxed(text)
    if boxed is not None:
        return boxed.strip()
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def text_reward(completions, answer: Sequence[str], **_) -> list[float]:
    """1 where the final answer has the same characters as the right answer, else 0."""
    return [float(final_answer(c) == right.strip()) for c, right in zip(completions, answer, strict=True)]


def math_reward(completions, answer: Sequence[str], **_) -> list[float | None]:
    """1 where math-verify finds the answer equal to the right one, else 0; None where it cannot read the right one."""
    from math_verify import parse, verify

    rewards: list[float | None] = []
    for completion, right in zip(completions, answer, strict=True):
        gold = parse(_as_math(right))
        text = _text(completion)
        tagged = _TAGGED.findall(text)
        given = parse(_as_math(tagged[-1]) if tagged else text)
        rewards.append(float(verify(gold, given)) if gold else None)
    return rewards


def verifier_reward(family, entries: Sequence[dict]):
    """Make the reward function of a reasoning-gym family; `entries` are its questions by number."""

    def verifier_reward_function(completions, entry, **_):
        return [
            float(family.score_answer(final_answer(c), entries[k])) for c, k in zip(completions, entry, strict=True)
        ]

    return verifier_reward_function
