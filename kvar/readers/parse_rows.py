"""From the cells of a log to the numbers of a trace; rows that cannot be used are counted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kvar.readers.columns import ColumnMap
from kvar.readers.prompt_cells import prompt_ids, text_ids
from kvar.readers.read_rows import PLACE
from kvar.readers.reading_notes import EXAMPLES, ReadingNotes
from kvar.readers.table_file import MISSING, TRUTH, Table

__all__ = ["parse_rows"]

# A larger reward is an accident, and its square would hide all others; a larger step is not exact in double precision.
_LARGEST_REWARD, _LARGEST_STEP = 1e30, 2.0**53


def parse_rows(
    table: Table, columns: ColumnMap, path: Path, notes: ReadingNotes, keep_text: bool, first: int = 0
) -> dict[str, np.ndarray | list]:
    """Columns of a trace from the usable rows of a table; ``first`` is the place of its first row in the file."""
    n = len(table.rows)
    usable = np.ones(n, dtype=bool)

    def reject(bad: np.ndarray, reason: str, cells: np.ndarray | list | None = None) -> None:
        bad = bad & usable
        shown = [] if cells is None else [cells[k] for k in np.flatnonzero(bad)[:EXAMPLES]]
        notes.reject(reason, path, table.rows[bad].tolist(), shown)
        usable[bad] = False

    if columns.step is None:
        steps = np.full(n, columns.step_of_file)
    else:
        steps, missing, strange = _numbers(table.columns.get(columns.step), n, {})
        reject(missing, f"no {columns.step}")
        reject(strange | ~np.isfinite(steps), f"{columns.step} is not a number")
    with np.errstate(invalid="ignore"):
        reject(np.abs(steps) > _LARGEST_STEP, "its step is beyond 2**53")
    prompts = table.columns.get(columns.prompt, [MISSING] * n)
    ids, missing, inexact = (text_ids if columns.text_ids else prompt_ids)(prompts, notes.prompts)
    if missing.any():
        empty = np.array([not isinstance(p, np.ndarray) and p in ("", [], {}) for p in prompts], dtype=bool)
        reject(empty, f"{columns.prompt} is empty: choose another column with --columns prompt=COLUMN")
    reject(missing, f"no {columns.prompt}")
    reject(inexact, f"{columns.prompt} is a float so large that it stands for several integers", prompts)

    result = {"step": steps, "prompt_id": ids, PLACE: np.arange(first, first + n)}
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
    for name in columns.texts:
        result[name] = cells = list(table.columns.get(name, [None] * n))
        if not all(cell is None or isinstance(cell, str) for cell in cells):
            result[name] = [cell if isinstance(cell, str) else None for cell in cells]
            notes.set_aside |= {name} if any(isinstance(cell, (list, dict)) for cell in cells) else set()
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
