"""Prompts as text: without the date of the day, without padding, without the marks of a chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress

__all__ = ["first_date", "is_conversation", "plain_text", "tokens_of", "without_dates", "without_padding"]

_HEAD = 2000
_MONTH = r"(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*\.?"
_DATE = re.compile(
    rf"\b(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,?\s+)?"
    rf"(?P<day>20\d\d-\d\d?-\d\d?|\d\d?(?:st|nd|rd|th)?[ -]{_MONTH},?[ -]20\d\d"
    rf"|{_MONTH}\s+\d\d?(?:st|nd|rd|th)?,?\s+20\d\d"
    r"|\d\d?[/.]\d\d?[/.]20\d\d|20\d\d[/.]\d\d?[/.]\d\d?|20\d\d年\d\d?月\d\d?日)"
    r"(?:(?:T|,?\s+(?:at\s+)?)\d\d?:\d\d(?::\d\d(?:\.\d+)?)?(?:\s?[AP]M\b|Z\b|\+\d\d:\d\d)?)?",
    re.IGNORECASE,
)
_TOKENS = re.compile(r"\[\d+(?:, *\d+)*\]")
_TEMPLATE = re.compile(r"<\|[^|>]*\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<bos>|<eos>")
_ROLE = re.compile(r"^\s*(?:system|user|assistant|human|model|developer)\s*:?\s*$", re.IGNORECASE | re.MULTILINE)


def first_date(prompt) -> str | None:
    """The first date near the beginning of a text, or of the messages of a conversation."""
    if isinstance(prompt, str):
        head = prompt[:_HEAD]
        found = _DATE.search(head) if "20" in head else None
        return None if found is None else found["day"]
    parts = prompt.values() if isinstance(prompt, dict) else prompt if isinstance(prompt, list) else ()
    return next((date for part in parts if (date := first_date(part)) is not None), None)


def without_dates(prompt):
    """The same prompt with dates near the beginning of its texts masked."""
    return _changed(prompt, lambda text: _DATE.sub("#", text[:_HEAD]) + text[_HEAD:])


def is_conversation(prompt) -> bool:
    """Whether a prompt is a conversation, as messages or as their JSON text."""
    return not isinstance(prompt, str) or (prompt.lstrip().startswith(("[{", "{")) and '"content"' in prompt)


def tokens_of(prompt) -> list | None:
    """The tokens in a list or in its JSON text, or None."""
    if isinstance(prompt, str) and _TOKENS.fullmatch(prompt):
        prompt = json.loads(prompt)
    return prompt if isinstance(prompt, list) and prompt and isinstance(prompt[0], (int, float)) else None


def without_padding(prompt, token):
    """A list of tokens, or its JSON text, without the copies of one token at its ends."""
    prompt = tokens_of(prompt) or prompt
    if not isinstance(prompt, list):
        return prompt
    start, stop = 0, len(prompt)
    while start < stop and prompt[start] == token:
        start += 1
    while stop > start and prompt[stop - 1] == token:
        stop -= 1
    return prompt[start:stop]


def plain_text(prompt) -> str:
    """What a text or a conversation says, without roles, marks of a template and space."""
    if isinstance(prompt, str) and is_conversation(prompt):
        with suppress(ValueError, RecursionError):
            prompt = json.loads(prompt)
    text = prompt if isinstance(prompt, str) else "".join(_contents(prompt))
    return "".join(_ROLE.sub("", _TEMPLATE.sub("\n", text)).split())


def _contents(prompt):
    if isinstance(prompt, str):
        yield prompt + "\n"
    elif isinstance(prompt, list):
        for part in prompt:
            yield from _contents(part)
    elif isinstance(prompt, dict):
        for name in ("content", "text", "value"):
            yield from _contents(prompt.get(name))


def _changed(prompt, change: Callable[[str], str]):
    if isinstance(prompt, str):
        return change(prompt)
    if isinstance(prompt, list):
        return [_changed(part, change) for part in prompt]
    if isinstance(prompt, dict):
        return {name: _changed(part, change) for name, part in prompt.items()}
    return prompt
