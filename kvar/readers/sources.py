"""Files that hold the same rollouts again, or those of validation, beside the files of training."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kvar.readers.read_rows import ReadRows, codes, paired
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.table_file import MISSING

__all__ = ["drop_copies", "drop_validation_rows", "training_files", "without_rank"]

_VALIDATION = {"val", "valid", "validation", "eval", "evals", "evaluation", "evaluations", "validate", "test", "dev"}
_VALIDATION |= {"heldout", "holdout"}
_RANK = re.compile(
    r"(?<![a-z])(rank|shard|worker|proc|process|part|node|gpu|dp|tp|replica|actor|host|chunk|server)[-_.]?\d+"
    r"|\d+[-_]of[-_]\d+",
    re.IGNORECASE,
)
_KINDS_OF_ROW = ("split", "data_split", "phase", "mode", "stage", "subset")
_FLAGS = ("is_eval", "is_validation", "is_val", "is_test", "validate", "validation", "eval")
_FLAGS_OF_TRAINING = ("is_train", "is_training")
# Enough rows for a reading that is the same by chance to be out of the question.
_FEW_ROWS = 20
_MOST_FAMILIES = 20


def without_rank(path: Path) -> str:
    """The path without the numbers of ranks and shards, the same for files that are parts of one log."""
    return _RANK.sub("#", str(path))


def training_files(files: Sequence[Path], notes: ReadingNotes) -> list[Path]:
    """The files whose names do not say that they are of validation, unless all do."""
    if len(files) < 2:
        return list(files)
    root = Path(os.path.commonpath([file.parent for file in files]))
    kept = [file for file in files if not _of_validation(file.relative_to(root))]
    if not kept or len(kept) == len(files):
        return list(files)
    out = next(file for file in files if file not in kept)
    number = len(files) - len(kept)
    notes.doubt(
        f"{number:,} file{'s are' if number > 1 else ' is'} left out as validation by name (first "
        f"{out.relative_to(root)}). To read them, give their own path."
    )
    return kept


def _of_validation(path: Path) -> bool:
    return not _VALIDATION.isdisjoint(re.split("[^a-z]+", str(path).lower()))


def drop_validation_rows(rows: ReadRows) -> None:
    """Leave out rows that a column marks as validation, where other rows are not."""
    for names, flag in ((_FLAGS, 1.0), (_FLAGS_OF_TRAINING, 0.0)):
        for name, values in rows.numbers(names):
            if set(np.unique(values)) == {0.0, 1.0}:
                _drop_validation(rows, values == flag, name)
                return
    for name in rows.in_files(_KINDS_OF_ROW):
        (kinds,) = rows.read_column(name, lambda cells, n: [_validation_flags(cells, n)], 1)
        if (kinds == 1).any() and (kinds == 0).any():
            _drop_validation(rows, kinds == 1, name)
            return


def _validation_flags(cells, n: int) -> np.ndarray:
    known: dict[object, bool] = {}
    texts = [cell if isinstance(cell, str) else "" for cell in ([MISSING] * n if cells is None else cells)]
    for text in set(texts):
        known[text] = text.strip().lower() in _VALIDATION
    return np.array([known[text] for text in texts], dtype=np.int64)


def _drop_validation(rows: ReadRows, out: np.ndarray, name: str) -> None:
    rows.notes.doubt(f"{out.sum():,} rows of validation by the column {name} are left out.")
    rows.keep(~out)


def drop_copies(rows: ReadRows) -> None:
    """Leave out files whose rollouts are all in other files: the same ones written twice, or a selection of them."""
    family = _families(rows.paths())
    if len(set(family)) < 2 or len(set(family)) > _MOST_FAMILIES:
        return
    family_of_row = codes(family)[rows.file_of_row()]
    rewards = [column for name, column in rows.columns.items() if name.startswith("reward:")]
    content = rows.groups
    for reward in rewards:
        content = paired(content, codes(reward))
    n_contents = int(content.max(initial=0)) + 1
    names = sorted(set(family))
    counts = {k: np.bincount(content[family_of_row == k], minlength=n_contents) for k in range(len(names))}
    out = np.zeros(len(names), dtype=bool)
    # The largest first, so that a selection is left out and not what it was selected from; of equals the last.
    order = sorted(counts, key=lambda k: (counts[k].sum(), k))
    for place, k in enumerate(order):
        total = counts[k].sum()
        for other in order[place + 1 :]:
            if total >= _FEW_ROWS and np.minimum(counts[k], counts[other]).sum() >= 0.99 * total:
                out[k] = True
                rows.notes.doubt(
                    f"The {total:,} rollouts of {names[k]} are all in {names[other]} too, and are counted once."
                )
                break
    if out.any():
        rows.keep(~out[family_of_row])


def _families(files: Sequence[Path]) -> list[str]:
    """The path of each file with numbers masked, below the folder that all files share."""
    root = Path(os.path.commonpath([file.parent for file in files]))
    return [re.sub(r"\d+", "#", str(file.relative_to(root))) for file in files]
