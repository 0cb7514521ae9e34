"""The prompts in the cells of a log: an id for each."""

from __future__ import annotations

import numpy as np

from kvar.readers.prompt_forms import PromptForms
from kvar.readers.table_file import MISSING
from kvar.rollouts.prompt_ids import prompt_key

__all__ = ["prompt_ids", "text_ids"]


def prompt_ids(
    prompts: np.ndarray | list, forms: PromptForms | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A 64-bit integer per prompt, which rows have no prompt, and which have a float that is not exact.

    Whole numbers stay, all else is hashed.
    """
    none = np.zeros(len(prompts), dtype=bool)
    if isinstance(prompts, np.ndarray) and prompts.dtype.kind == "i":
        return prompts.astype(np.int64), none, none
    largest = 2.0**53
    if isinstance(prompts, np.ndarray) and prompts.dtype.kind == "f":
        largest = 2.0 ** (np.finfo(prompts.dtype).nmant + 1)
    values = prompts.tolist() if isinstance(prompts, np.ndarray) else prompts
    if forms is not None:
        forms.begin_piece()
    if set(map(type, values)) == {str} and "" not in (distinct := dict.fromkeys(values)):
        return _ids_of_texts(values, distinct, forms), none, none
    known: dict[object, int | None] = {}
    ids, missing, inexact = np.zeros(len(values), dtype=np.int64), none.copy(), none.copy()
    for k, value in enumerate(values):
        kind = type(value)
        if kind is float and abs(value) >= largest:
            inexact[k] = True
            continue
        # True, 1 and 1.0 are equal, and all have the same id.
        hashable = kind is str or kind in (int, float, bool) or value is None or value is MISSING
        if hashable and value in known:
            found = known[value]
        else:
            found = _id(value)
            if forms is not None and found is not None:
                forms.add(value)
            if hashable:
                known[value] = found
        if found is None:
            missing[k] = True
        else:
            ids[k] = found
    return ids, missing, inexact


def _ids_of_texts(texts: list[str], distinct: dict[str, None], forms: PromptForms | None) -> np.ndarray:
    """An id for each text, and of every text that is new its form."""
    known = {} if forms is None else forms.known
    new = [text for text in distinct if text not in known]
    known.update(zip(new, map(prompt_key, new), strict=True))
    if forms is not None:
        forms.add_texts(distinct, new)
    return np.fromiter(map(known.__getitem__, texts), dtype=np.int64, count=len(texts))


def _id(value) -> int | None:
    if type(value) is str:
        return prompt_key(value) if value else None
    if value is None or value is MISSING or value != value or value in ([], {}):
        return None
    if isinstance(value, (int, float)) and value == value // 1 and -(2**63) <= value < 2**63:
        return int(value)
    if isinstance(value, (int, float)):
        value = str(value)
    try:
        return prompt_key(_canonical(value))
    except (TypeError, RecursionError):
        return prompt_key(str(value))


def _canonical(prompt):
    """A conversation without empty keys, which columns of structures add."""
    if isinstance(prompt, dict):
        return {key: _canonical(value) for key, value in prompt.items() if value is not None}
    if isinstance(prompt, list):
        return [_canonical(value) for value in prompt]
    return prompt


def text_ids(prompts: np.ndarray | list, forms: PromptForms) -> tuple[np.ndarray | list, np.ndarray, np.ndarray]:
    """Ids as they are, numbers or text, which rows have no prompt, and which a float that is not exact.

    Ids of other kinds become numbers.
    """
    if isinstance(prompts, np.ndarray) or not any(isinstance(prompt, str) for prompt in prompts):
        return prompt_ids(prompts, forms)
    missing = np.array([p is None or p is MISSING for p in prompts])
    return list(prompts), missing, np.zeros(len(prompts), dtype=bool)
