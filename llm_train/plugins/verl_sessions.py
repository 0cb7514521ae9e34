"""verl's V1 trainer: ids of prompts that stay, and the output rows of one session as one rollout.

Its queue names a row ``uid_session_output``. It drops everything else that could identify the prompt before advantages
are computed, so the id travels in the uid: a UUID of version 8, whose first 60 free bits are a hash of the prompt. The
other 62 are random, as the queue needs another name for each visit. Rows that fill a batch up are ``pad..._n_0``.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from functools import wraps
from typing import NamedTuple

from kvar.rollouts.prompt_ids import prompt_key

__all__ = ["OutputRow", "final_rows", "output_row", "stable_uids", "uid_of_visit"]

_COLUMNS = ("extra_info", "data_source")
_ROW = re.compile(r"(?P<session>(?P<uid>[0-9a-f-]{36})_\d+)_(?P<output>\d+)")
_PADDING = re.compile(r"pad[0-9a-f]{32}_\d+_0")


class OutputRow(NamedTuple):
    """What the name of a row tells: its prompt, or None for padding, its session, and which output of it this is."""

    prompt: int | str | None
    session: str
    output: int = 0


def uid_of_visit(prompt) -> str:
    """A new name for one visit of a prompt, which is text or JSON-like."""
    hashed = prompt_key(prompt) % 2**60
    bits = (hashed >> 12) << 80 | 8 << 76 | (hashed & 0xFFF) << 64 | 2 << 62 | uuid.uuid4().int % 2**62
    return str(uuid.UUID(int=bits))


def output_row(name: int | str, place: int) -> OutputRow:
    """Read the name of a row; any other name than those of the queue is a prompt, and the row a session of its own."""
    if _PADDING.fullmatch(str(name)):
        return OutputRow(None, str(name))
    if (found := _ROW.fullmatch(str(name))) is None:
        return OutputRow(name, f"row {place}")
    uid = uuid.UUID(found["uid"])
    prompt = (uid.int >> 80) << 12 | (uid.int >> 64) & 0xFFF if uid.version == 8 else found["uid"]
    return OutputRow(prompt, found["session"], int(found["output"]))


def final_rows(rows: Sequence[OutputRow]) -> list[int]:
    """For each row, the place of the last output of its session, from which verl takes the session's reward."""
    last: dict[str, int] = {}
    for place, row in enumerate(rows):
        if row.session not in last or rows[last[row.session]].output < row.output:
            last[row.session] = place
    return [last[row.session] for row in rows]


def stable_uids(fetch: Callable) -> Callable:
    """Give the prompts of a batch uids that hold their id.

    Parameters
    ----------
    fetch : callable
        The method ``_fetch_one_gen_batch(self)`` of verl's V1 trainer.

    Returns
    -------
    callable
        A method with the same signature. A prompt is identified by its ``data_source``, its ``extra_info["index"]`` if
        it has one, and its text. The method raises ValueError if a prompt with pictures has no such number.
    """

    @wraps(fetch)
    def fetch_with_stable_uids(trainer):
        batch = fetch(trainer)
        prompts = list(batch["raw_prompt"])
        infos, sources = (list(batch[name]) if name in batch else [None] * len(prompts) for name in _COLUMNS)
        batch["uid"] = [uid_of_visit(_identity(*row)) for row in zip(prompts, infos, sources, strict=True)]
        return batch

    return fetch_with_stable_uids


def _identity(prompt, info, source) -> list:
    index = (info or {}).get("index")
    try:
        prompt_key(prompt)
    except TypeError:  # pictures
        if index is None:
            raise ValueError(
                "a prompt with pictures has no extra_info['index'], by which the history identifies it: number the "
                "rows of the dataset"
            ) from None
        prompt = None
    return [str(source), str(index), prompt]
