"""Rows that are there twice at a step: repeated to fill a batch, or a log that was written twice."""

from __future__ import annotations

import numpy as np

from kvar.readers.read_rows import PLACE, ReadRows, codes, paired
from kvar.readers.table_file import MISSING

__all__ = ["drop_identical_rows"]


def drop_identical_rows(rows: ReadRows) -> None:
    """Count rows once that are identical to an earlier one of their step, where groups show that they are copies.

    Short answers are often the same. But copies make some groups larger than the others, or all of them twice as large.
    """
    group = paired(rows.step_codes, rows.prompt_codes)
    sizes = np.bincount(group)
    usual = int(np.bincount(sizes).argmax())
    if not (sizes > usual).any() and not _halves_agree(rows, group, sizes):
        return
    texts = _columns_of_text(rows)
    if not texts and not any(name not in _own(rows) for name in rows.columns):
        return
    (content,) = rows.read_again(lambda file: file.table.columns, _row_hashes, 1)
    found = paired(group, codes(content))
    _, first = np.unique(found, return_index=True)
    kept = np.zeros(len(rows), dtype=bool)
    kept[first] = True
    if kept.all():
        return
    number, after = int((~kept).sum()), np.bincount(group[kept])
    regular = (after == usual).mean() > (1 + (sizes == usual).mean()) / 2
    if regular or 2 * number >= 0.98 * len(rows):
        rows.notes.doubt(
            f"{number:,} rows are identical to an earlier one of their step, as where a batch is filled up or a log "
            "was written twice. They are counted once."
        )
        rows.keep(kept)
    elif (sizes > usual).any():
        rows.notes.remarks.append(
            f"{number:,} rows are identical to an earlier one of their step. They are used: identical answers, or rows "
            "repeated to fill a batch?"
        )


def _halves_agree(rows: ReadRows, group: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether every group of rewards is the same one twice, the halves one after the other or row by row."""
    if (sizes % 2).any() or len(sizes) < 10:
        return False
    rewards = [column for name, column in rows.columns.items() if name.startswith("reward:")]
    order = np.argsort(group, kind="stable")
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    half = np.repeat(sizes // 2, sizes)
    values = [np.nan_to_num(reward, nan=-1e300)[order] for reward in rewards]
    front = np.flatnonzero(place < half)
    even = np.flatnonzero(place % 2 == 0)
    return any(
        all((value[left] == value[right]).all() for value in values)
        for left, right in ((front, front + half[front]), (even, even + 1))
    )


def _own(rows: ReadRows) -> set[str]:
    used = {file.columns.prompt for file in rows.files}
    return {"step", "prompt_id", PLACE, *used, *(name for name in rows.columns if name.startswith("reward:"))}


def _columns_of_text(rows: ReadRows) -> list[str]:
    """Columns of the files other than numbers that rows may differ in."""
    found = {name for file in rows.files for name in file.table.columns if name not in file.table.numeric}
    return sorted(found - {file.columns.prompt for file in rows.files} - {file.columns.step for file in rows.files})


def _row_hashes(file, piece) -> list[np.ndarray]:
    names = sorted(piece.columns)
    cells = [c.tolist() if isinstance(c, np.ndarray) else c for c in (piece.columns[name] for name in names)]
    rows = ([None if cell is MISSING else cell for cell in row] for row in zip(*cells, strict=True))
    return [np.array([hash(repr(row)) for row in rows], dtype=np.int64)]
