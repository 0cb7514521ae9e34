"""Prompt ids: a stable one for a prompt that has none, and the form in which they are looked up fastest."""

from __future__ import annotations

import hashlib
import json

import numpy as np

__all__ = ["as_keys", "prompt_key"]


def prompt_key(prompt) -> int:
    """Hash a prompt to a signed 64-bit integer.

    Parameters
    ----------
    prompt : str or JSON-like
        The text, or a conversation as a list of messages.

    Returns
    -------
    int
        The same for the same prompt on every machine and in every run (BLAKE2b), unlike Python's own hash. Two
        different prompts of a million collide with probability 3e-8.

    Raises
    ------
    TypeError
        If the prompt holds something that has no JSON form, such as a picture.

    Examples
    --------
    >>> prompt_key("12+7=")
    -7035351165308369353
    """
    try:
        text = prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True, ensure_ascii=False)
    except TypeError as error:
        raise TypeError(
            f"this prompt is not plain text and messages ({error}); name prompts by a column of ids"
        ) from None
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def as_keys(ids) -> np.ndarray:
    """Prompt ids as they are looked up fastest."""
    if isinstance(ids, np.ndarray):
        return ids
    if set(map(type, ids)) <= {int}:
        try:
            return np.array(ids, dtype=np.int64)
        except OverflowError:
            pass
    return np.array(ids, dtype=object)
