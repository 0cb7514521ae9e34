"""From the cells of a log to the numbers of a trace; rows that cannot be used are counted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kvar.readers.columns import ColumnMap
from kvar.readers.reading_notes import EXAMPLES, ReadingNotes
from kvar.readers.table_file import MISSING, TRUTH, Table
from kvar.rollouts.prompt_ids import prompt_key

__all__ = ["parse_rows"]

# A larger reward is an accident, and its square would hide all others; a larger step is not exact in double precision.
_LARGEST_REWARD, _LARGEST_STEP = 1e30, 2.0**53


def parse_rows(
    table: Table, columns: ColumnMap, step: float | None, path: Path, notes: ReadingNotes, keep_text: bool
) -> dict[str, np.ndarray | list]:
    """Columns of a trace from the usable rows of a table; ``step`` is that of the file, where no column holds it."""
    n = len(table.rows)
    usable = np.ones(n, dtype=bool)

    def reject(bad: np.ndarray, reason: str, cells: np.ndarray | list | None = None) -> None:
        bad = bad & usable
        shown = [] if cells is None else [cells[k] for k in np.flatnonzero(bad)[:EXAMPLES]]
        notes.reject(reason, path, table.rows[bad].tolist(), shown)
        usable[bad] = False

    if columns.step is None:
        steps = np.full(n, step)
    else:
        steps, missing, strange = _numbers(table.columns.get(columns.step), n, {})
        reject(missing, f"no {columns.step}")
        reject(strange | ~np.isfinite(steps), f"{columns.step} is not a number")
    with np.errstate(invalid="ignore"):
        reject(np.abs(steps) > _LARGEST_STEP, "its step is beyond 2**53")
    prompts = table.columns.get(columns.prompt, [MISSING] * n)
    ids, missing, inexact = _text_ids(prompts) if columns.text_ids else _ids(prompts)
    reject(missing, f"no {columns.prompt}")
    reject(inexact, f"{columns.prompt} is a float so large that it stands for several integers", prompts)

    result = {"step": steps, "prompt_id": ids}
    for name in columns.rewards:
        cells = table.columns.get(name)
        reward, missing, strange = _numbers(cells, n, TRUTH)
        reject(missing, f"no {name}")
        if cells is not None:
            reject(_lists(cells, strange), f"{name} is a list: write one row per rollout")
        # The cell is shown with the examples and not in the reason, of which there would be one for every word.
        reject(strange, f"{name} is not a number: convert it, or choose another column with --columns", cells)
        reject(np.isinf(reward), f"{name} is infinite")
        with np.errstate(invalid="ignore"):
            reject(np.abs(reward) > _LARGEST_REWARD, f"{name} is beyond 1e30")
        result[f"reward:{name}"] = reward
    for name, column in columns.extras.items():
        numbers, _, _ = _numbers(table.columns.get(column), n, TRUTH)
        result[name] = np.where(np.isfinite(numbers), numbers, np.nan)
    result |= {name: list(table.columns.get(name, [None] * n)) for name in columns.texts}
    if keep_text:
        result["prompt"] = [p if isinstance(p, str) else str(p) for p in prompts]
    if usable.all():
        return result
    kept = np.flatnonzero(usable)
    return {n: c[kept] if isinstance(c, np.ndarray) else [c[k] for k in kept] for n, c in result.items()}


def _numbers(
    values: np.ndarray | list | None, n: int, words: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, whether the cell is missing, and whether it is no number; None and NaN are NaN and neither."""
    none = np.zeros(n, dtype=bool)
    if values is None:
        return np.full(n, np.nan), ~none, none
    if isinstance(values, np.ndarray):
        return values.astype(np.float64), none, none
    try:
        return np.array(values, dtype=np.float64).reshape(n), none, none
    except (TypeError, ValueError, OverflowError):
        # Some are no numbers, so each is parsed by itself, ten times slower.
        pass
    numbers, missing, strange = np.full(n, np.nan), none.copy(), none.copy()
    for k, value in enumerate(values):
        if value is MISSING:
            missing[k] = True
        elif value is not None:
            number = _number(value, words)
            if number is None:
                strange[k] = True
            else:
                numbers[k] = number
    return numbers, missing, strange


def _number(value, words: Mapping[str, float]) -> float | None:
    """The number in a cell, or None; a list of one element stands for its element."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    try:
        return float(value)
    except OverflowError:
        return np.inf
    except (TypeError, ValueError):
        return words.get(value.strip().lower()) if isinstance(value, str) else None


def _lists(values: np.ndarray | list, strange: np.ndarray) -> np.ndarray:
    """Whether each cell is a list, for cells that are no numbers."""
    lists = np.zeros(len(strange), dtype=bool)
    for k in np.flatnonzero(strange):
        lists[k] = isinstance(values[k], list)
    return lists


def _ids(prompts: np.ndarray | list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    known: dict[object, int | None] = {}
    ids, missing, inexact = np.zeros(len(values), dtype=np.int64), none.copy(), none.copy()
    for k, value in enumerate(values):
        if isinstance(value, float) and abs(value) >= largest:
            inexact[k] = True
            continue
        hashable = isinstance(value, (str, int, float)) or value is None or value is MISSING
        if not hashable:
            found = _id(value)
        # True, 1 and 1.0 are equal, and all have the same id.
        elif value in known:
            found = known[value]
        else:
            found = known[value] = _id(value)
        if found is None:
            missing[k] = True
        else:
            ids[k] = found
    return ids, missing, inexact


def _id(value) -> int | None:
    if value is None or value is MISSING or value != value:
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


def _text_ids(prompts: np.ndarray | list) -> tuple[np.ndarray | list, np.ndarray, np.ndarray]:
    """Ids as they are, numbers or text, which rows have no prompt, and which a float that is not exact."""
    if isinstance(prompts, np.ndarray) or not any(isinstance(prompt, str) for prompt in prompts):
        return _ids(prompts)
    missing = np.array([p is None or p is MISSING for p in prompts])
    return list(prompts), missing, np.zeros(len(prompts), dtype=bool)
