"""Rows that are there twice at a step: repeated to fill a batch, or a log that was written twice."""

from __future__ import annotations

import numpy as np

from kvar.readers.read_rows import PLACE, FileRows, ReadRows, codes, paired
from kvar.readers.table_file import MISSING, Table

__all__ = ["drop_identical_rows"]

_FEW_GROUPS = 100


def drop_identical_rows(rows: ReadRows) -> None:
    """Count rows once that are identical to an earlier one of their step, where groups show that they are copies.

    Short answers are often the same. But copies make some groups larger than the others, or all of them twice as large.
    """
    group = rows.groups
    sizes = np.bincount(group)
    usual = _usual(sizes)
    if not _may_have_copies(rows, group, sizes, usual):
        return
    texts = _columns_of_text(rows)
    if not texts and not any(name not in _own(rows) for name in rows.columns):
        return
    # Numbers may count the rows of the log, copies among them: then the texts tell.
    contents = rows.read_again(lambda file: file.table.columns, _row_hashes, 2)
    n_identical = 0
    for k, content in enumerate(contents):
        _, first = np.unique(paired(group, codes(content)), return_index=True)
        kept = np.zeros(len(rows), dtype=bool)
        kept[first] = True
        # Texts that are rarely the same in different groups are not the same by chance in one.
        differs = len(np.unique(content)) > 0.8 * len(first)
        if kept.all() or (k == 1 and not (texts and differs)):
            continue
        after = np.bincount(group[kept])
        regular = (after == usual).mean() > (1 + (sizes == usual).mean()) / 2
        if regular or (k == 0 and 2 * len(first) <= 1.02 * len(rows)):
            rows.notes.n_copies += int((~kept).sum())
            rows.notes.doubt(
                f"{(~kept).sum():,} rows are identical to an earlier one of their step, as where a batch is filled up "
                "or a log was written twice. They are counted once."
            )
            rows.keep(kept)
            return
        n_identical = n_identical or (int((~kept).sum()) if differs else 0)
    if n_identical:
        rows.notes.remarks.append(
            f"{n_identical:,} rows are identical to an earlier one of their step. They are used: identical answers, or "
            "rows repeated to fill a batch?"
        )


def _usual(sizes: np.ndarray) -> int:
    """The commonest size of a group, or half of it where all groups have the one or the other."""
    usual = int(np.bincount(sizes).argmax())
    return usual // 2 if usual % 2 == 0 and set(np.unique(sizes)) == {usual // 2, usual} else usual


def _may_have_copies(rows: ReadRows, group: np.ndarray, sizes: np.ndarray, usual: int) -> bool:
    """Whether groups are larger than usual, and not because their prompt was drawn twice, by the rewards alone."""
    if (sizes == usual).all():
        # A few groups tell of most logs that they have none.
        asked = [np.arange(len(sizes)) < most for most in (_FEW_GROUPS, len(sizes))]
        even = usual % 2 == 0 and len(sizes) >= 10
        return bool(even and all(_repeated(rows, group, sizes, usual // 2, some).all() for some in asked))
    over = sizes > usual
    if (sizes[over] % usual).any():
        return bool(over.mean() > 0.005)
    return bool(over.any() and _repeated(rows, group, sizes, usual, over).mean() > 0.9)


def _repeated(rows: ReadRows, group: np.ndarray, sizes: np.ndarray, size: int, asked: np.ndarray) -> np.ndarray:
    """Whether the rewards of each group asked for are the same ones over and over, in blocks of rows or row by row."""
    order = np.flatnonzero(asked[group])
    order = order[np.argsort(group[order], kind="stable")]
    sizes = sizes[asked]
    start = np.cumsum(sizes) - sizes
    place = np.arange(len(order)) - np.repeat(start, sizes)
    copies = np.repeat(sizes // size, sizes)
    same = []
    for source in (place % size, place // np.maximum(copies, 1) * copies):
        wrong = np.zeros(len(order), dtype=bool)
        for name, column in rows.columns.items():
            if name.startswith("reward:"):
                value = np.nan_to_num(column[order], nan=-1e300)
                wrong |= value != value[np.minimum(np.repeat(start, sizes) + source, len(order) - 1)]
        same.append(~np.logical_or.reduceat(wrong, start))
    return same[0] | same[1]


def _own(rows: ReadRows) -> set[str]:
    used = {file.columns.prompt for file in rows.files}
    return {"step", "prompt_id", PLACE, *used, *(name for name in rows.columns if name.startswith("reward:"))}


def _columns_of_text(rows: ReadRows) -> list[str]:
    """Columns of the files other than numbers that rows may differ in."""
    found = {name for file in rows.files for name in file.table.columns if name not in file.table.numeric}
    return sorted(found - {file.columns.prompt for file in rows.files} - {file.columns.step for file in rows.files})


def _row_hashes(file: FileRows, piece: Table) -> list[np.ndarray]:
    """A hash of all cells of each row, and one of those that are neither numbers nor the prompt."""
    names = sorted(piece.columns)
    texts = [name for name in names if name not in file.table.numeric and name != file.columns.prompt]
    return [_hashes([piece.columns[name] for name in some], len(piece.rows)) for some in (names, texts)]


def _hashes(columns: list, n: int) -> np.ndarray:
    cells = [column.tolist() if isinstance(column, np.ndarray) else column for column in columns]
    rows = (tuple(map(_content, row)) for row in zip(*cells, strict=True))
    return np.array([hash(row) for row in rows] if cells else [0] * n, dtype=np.int64)


def _content(cell) -> object:
    """What equal cells share and others do not: text as it is, whose hash is fast, all else in brackets as printed."""
    return cell if type(cell) is str else (repr(None if cell is MISSING else cell),)
