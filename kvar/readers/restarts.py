"""Steps that go back: a run that was resumed or started again, whose later reading of a step is the one that counts."""

from __future__ import annotations

import numpy as np

from kvar.readers.read_rows import ReadRows, paired
from kvar.readers.sources import without_rank

__all__ = ["drop_repeated_steps"]


def drop_repeated_steps(rows: ReadRows) -> None:
    """Of a step that was read again after the steps went back, leave out the rows of the earlier reading."""
    reading, back = _readings(rows)
    if not len(back):
        return
    step = rows.step_codes
    n_steps = int(step.max()) + 1
    where = f"at {_place(rows, back[0])}"
    if len(back) > max(n_steps, 20):
        rows.notes.doubt(
            f"Steps go back {len(back):,} times (first {where}): rows are not in the order of steps. If the column "
            "counts turns or samples, name the training step with --columns step=COLUMN."
        )
        return
    last = np.zeros(n_steps, dtype=np.int64)
    np.maximum.at(last, step, reading)
    out = reading < last[step]
    if not out.any():
        return
    if not _is_restart(rows, reading, out):
        rows.notes.remarks.append(f"Rows are not in the order of steps (first {where}); all are used.")
        return
    again = np.unique(rows.step[out])
    span = f"{again[0]:g}" if len(again) == 1 else f"{again[0]:g} to {again[-1]:g}"
    times = "" if len(back) == 1 else f" and {len(back) - 1} more time{'s' if len(back) > 2 else ''}"
    rows.notes.doubt(
        f"Steps go back {where}{times}, as after a resume or with two runs in one log: {len(again):,} steps ({span}) "
        f"were read more than once, and {out.sum():,} rows of the earlier reading are left out. Of two runs, read each "
        "by its own path."
    )
    rows.keep(~out)


def _readings(rows: ReadRows) -> tuple[np.ndarray, np.ndarray]:
    """Number of the reading that each row belongs to, and the rows at which the steps go back.

    Files that are parts of one log by rank or shard were written at the same time.
    """
    goes_back = np.diff(rows.step, prepend=-np.inf) < 0
    reading = np.zeros(len(rows), dtype=np.int64)
    before, level, end = None, 0, 0
    for file in rows.files:
        name = without_rank(file.table.path)
        mine = slice(file.start, file.stop)
        if file.start == file.stop:
            continue
        if name == before:
            goes_back[file.start] = False
        else:
            level = end
        reading[mine] = level + np.cumsum(goes_back[mine])
        if name != before:
            level = int(reading[file.start])
        before, end = name, max(end, int(reading[file.stop - 1]))
    return reading, np.flatnonzero(goes_back)


def _is_restart(rows: ReadRows, reading: np.ndarray, out: np.ndarray) -> bool:
    """Whether steps were read again, and not rows sorted by prompt or written out of order.

    A step that was read again has whole readings, and more rows than one that was not. Where all were, prompts tell: in
    a log sorted by prompt each is in one stretch.
    """
    step = rows.step_codes
    per_step, last = np.bincount(step), np.bincount(step, weights=~out)
    again = last < per_step
    # Stragglers of a step that come late are few.
    if np.median(last[again] / (per_step[again] - last[again])) < 0.3:
        return False
    if (~again).sum() >= max(3, 0.1 * len(per_step)):
        return bool(np.median(per_step[again]) >= 1.5 * np.median(per_step[~again]))
    prompt = rows.prompt_codes
    return int(prompt.max()) == 0 or int(paired(prompt, reading).max()) > int(prompt.max())


def _place(rows: ReadRows, row: int) -> str:
    for file in rows.files:
        if file.start <= row < file.stop:
            return f"row {row - file.start + 1:,} of {file.table.path.name}"
    return f"row {row + 1:,}"
