"""Read a log on disk, from any trainer, as a trace."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np

from kvar.readers.columns import ColumnMap, guess_notes, listed, map_columns, parse_columns
from kvar.readers.disk_columns import DiskColumns
from kvar.readers.file_types import open_table
from kvar.readers.parse_rows import parse_rows
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.table_file import TableFile, UnreadableError
from kvar.readers.trl_reward_weights import reward_weights
from kvar.rollouts.trace import Trace
from kvar.utils.atomic_files import TEMPORARY_SUFFIX

__all__ = ["RolloutLog", "layout_names", "read_log"]

# Columns by which a layout is recognised; the first that fits is taken, and anything may be a table.
_LAYOUTS = {
    "kvar": {"step", "prompt_id", "reward"},
    "trl": {"step", "prompt", "completion", "advantage"},
    "verl": {"input", "output", "score"},
    "table": set(),
}
_NUMBER = re.compile(r"(\d+)(?!.*\d)")


@dataclass(frozen=True)
class RolloutLog:
    """A log that has been read.

    Attributes
    ----------
    trace : Trace
        Its rollouts.
    notes : ReadingNotes
        How it was read and what was left out.
    layout : str
        Name of its layout, see `layout_names`.
    path : str
        Where it is.
    """

    trace: Trace
    notes: ReadingNotes
    layout: str
    path: str


def layout_names() -> list[str]:
    """Names of the layouts that can be read."""
    return list(_LAYOUTS)


def read_log(
    path: str | os.PathLike,
    format: str = "auto",  # noqa: A002  (the public name)
    columns: Mapping[str, str] | str | None = None,
    keep_text: bool = False,
    max_bad: float = 0.05,
    advance: Callable[[int], object] = lambda n_rows: None,
) -> RolloutLog:
    """Read a log of rollouts from any trainer.

    Parameters
    ----------
    path : path
        A file, a folder, or a pattern such as ``logs/*.jsonl.gz``. In a folder the logs that lie directly in it are
        read, or if there are none, those below it.
    format : str
        Who wrote it: "kvar", "trl" (``completions/*.parquet``), "verl" (``{step}.jsonl``), "table" for any other
        Parquet, CSV or JSON Lines; "auto" decides by the columns.
    columns : mapping of str to str, or str, optional
        Which columns are ``step``, ``prompt`` and ``reward``, if their names do not show it; as a string,
        ``prompt=question,step=iteration,reward=accuracy+0.5*format``. Further names become columns of the trace.
    keep_text : bool
        Keep prompts as a column ``prompt``. By default only a hash of each prompt is kept, see `prompt_key`. In the
        layout "kvar" ids and further columns of text come back as they are.
    max_bad : float
        The largest fraction of rows that may be unusable.
    advance : callable
        Called with the number of rows after each piece.

    Returns
    -------
    RolloutLog
        Rows in the order of files and lines; the numbers of the trace are mapped from temporary files.

    Raises
    ------
    FileNotFoundError
        If there is no file at the path.
    ValueError
        If no file is a log of rollouts, a column is missing, or too many rows are unusable.
    """
    if format != "auto" and format not in _LAYOUTS:
        raise ValueError(f"unknown trace format {format!r}; choose auto, {', '.join(_LAYOUTS)}")
    chosen = parse_columns(columns) if isinstance(columns, str) else dict(columns or {})
    notes = ReadingNotes()
    layout, files = _files(path, format, chosen, notes)
    mapped = _mapped(layout, files, chosen, notes)
    notes.remarks += guess_notes(column_map for _, column_map in mapped)
    batches: dict[str, int] = {}
    with DiskColumns() as disk:
        for table, column_map in mapped:
            for rows in _usable_rows(table, column_map, batches, notes, keep_text):
                disk.append(rows)
                advance(len(rows["step"]))
        notes.n_rows = len(disk)
        _check_bad_rows(notes, max_bad, os.fspath(path))
        if batches.get("repeated"):
            notes.remarks.append(
                f"{batches['repeated']} batches that were logged again at the next step are counted once."
            )
        return RolloutLog(_trace(disk, mapped[0][1], notes), notes, layout, os.fspath(path))


def _check_bad_rows(notes: ReadingNotes, max_bad: float, path: str) -> None:
    total = notes.n_bad + notes.n_rows
    if notes.n_bad > max_bad * total or not notes.n_rows:
        reasons = " ".join(notes.omissions()) or "The files hold no rows."
        limit = f", more than the fraction {max_bad:g} (max_bad, --max-bad)" if notes.n_rows else ""
        raise ValueError(f"{notes.n_bad:,} of {total:,} rows of {path} cannot be used{limit}. {reasons}")


def _log_files(path: str | os.PathLike) -> list[Path]:
    """The files of a path, folder or pattern, in the order of the numbers in their names."""
    text = os.fspath(path)
    place = Path(text)
    if place.is_dir():
        files = _of_folder(place)
    elif place.exists():
        files = [place]
    elif has_magic(text):
        files = [Path(name) for name in glob(text, recursive=True) if Path(name).is_file()]
    else:
        raise FileNotFoundError(f"No file or folder at {text}.")
    if not files:
        raise FileNotFoundError(f"No rollout log in {text} (looked for .parquet, .jsonl, .csv).")
    return sorted(files, key=lambda file: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", str(file))])


def _of_folder(folder: Path) -> list[Path]:
    def visible(file: Path) -> bool:
        return not file.name.startswith(".") and file.suffix != TEMPORARY_SUFFIX and file.is_file()

    direct = [file for file in folder.iterdir() if visible(file)]
    if any(_is_log(file) for file in direct):
        return direct
    below = [file for file in folder.rglob("*") if visible(file) and not any(p.startswith(".") for p in file.parts)]
    logs = [file for file in below if _is_log(file)]
    return logs or direct


def _is_log(file: Path) -> bool:
    """Whether the name is that of a log; the content decides later."""
    name = file.name.removesuffix(".gz").removesuffix(".zst")
    return name.endswith((".parquet", ".jsonl", ".ndjson", ".csv", ".tsv"))


def _files(path, wanted: str, chosen: dict[str, str], notes: ReadingNotes) -> tuple[str, list[TableFile]]:
    """The layout that most files have, and the files that have it."""
    files, layouts = [], []
    for file in _log_files(path):
        try:
            table = open_table(file)
        except UnreadableError as reason:
            notes.refused[file] = str(reason)
            continue
        files.append(table)
        layouts.append(next(name for name, needs in _LAYOUTS.items() if needs <= set(table.columns)))
    if not files:
        reasons = "; ".join(f"{file.name}: {reason}" for file, reason in list(notes.refused.items())[:5])
        raise ValueError(f"No rollout log at {os.fspath(path)}: {reasons}")
    if wanted == "auto":
        # A file of no known layout is more often unrelated than a log.
        known = Counter(layout for layout in layouts if layout != "table")
        wanted = known.most_common(1)[0][0] if known and "reward" not in chosen and "prompt" not in chosen else "table"
    if wanted == "table":
        return wanted, files
    kept = [table for table, layout in zip(files, layouts, strict=True) if layout == wanted]
    for table, layout in zip(files, layouts, strict=True):
        if layout != wanted:
            notes.refused[table.path] = f"it is no {wanted} log; its columns are {listed(table.columns)}"
    if not kept:
        raise ValueError(
            f"No {wanted} log at {os.fspath(path)}: it needs the columns {', '.join(sorted(_LAYOUTS[wanted]))}; "
            f"found {listed(files[0].columns)}"
        )
    return wanted, kept


def _mapped(
    layout: str, files: Sequence[TableFile], chosen: dict[str, str], notes: ReadingNotes
) -> list[tuple[TableFile, ColumnMap]]:
    """Each file with its columns; a file that lacks columns of the others is left out."""
    mapped, first_error = [], None
    # The number in the name of a single file is more often that of a run than that of a step.
    stepped = layout == "verl" or len(files) > 1
    for table in files:
        numbered = stepped and _NUMBER.search(table.path.name) is not None
        try:
            mapped.append((table, map_columns(layout, table.columns, table.numeric, chosen, numbered)))
        except ValueError as error:
            first_error = first_error or error
            notes.refused[table.path] = f"it differs from the other files: {error}"
    if not mapped:
        raise ValueError(str(first_error))
    # The reward must consist of the same columns in all files.
    usual = Counter(tuple(m.rewards) for _, m in mapped).most_common(1)[0][0]
    for table, column_map in mapped:
        if tuple(column_map.rewards) != usual:
            notes.refused[table.path] = f"its rewards are {', '.join(column_map.rewards)}, not {', '.join(usual)}"
    return [(table, column_map) for table, column_map in mapped if tuple(column_map.rewards) == usual]


def _usable_rows(
    table: TableFile, column_map: ColumnMap, batches: dict, notes: ReadingNotes, keep_text: bool
) -> Iterator[dict[str, np.ndarray | list]]:
    """The usable rows of a file, piece by piece."""
    number = _NUMBER.search(table.path.name)
    step = float(number[1]) if number else None
    names = list(dict.fromkeys([*column_map.needed, *column_map.extras.values(), *column_map.texts]))
    if column_map.layout == "trl":
        names.append("completion")
    n_rows = 0
    try:
        for piece in table.tables(names, notes):
            if column_map.layout == "trl" and _seen_before(piece.columns, batches):
                continue
            rows = parse_rows(piece, column_map, step, table.path, notes, keep_text)
            n_rows += len(rows["step"])
            yield rows
    except UnreadableError as reason:
        notes.refused[table.path] = f"{reason} (after {n_rows} rows, which are used)"
    if n_rows:
        notes.used.append(table.path)


def _seen_before(columns: dict, batches: dict) -> bool:
    """Whether TRL has logged this batch at the last step already: one generation may serve several steps."""
    parts = (column if isinstance(column, list) else column.tolist() for n, column in columns.items() if n != "step")
    content = hash(repr(list(parts)))
    repeated = batches.get("last") == content
    batches["last"] = content
    batches["repeated"] = batches.get("repeated", 0) + repeated
    return repeated


def _trace(disk: DiskColumns, column_map: ColumnMap, notes: ReadingNotes) -> Trace:
    columns: dict[str, Any] = disk.columns()
    rewards = {name: columns.pop(f"reward:{name}") for name in column_map.rewards}
    weights = np.array(list(column_map.rewards.values()))
    if column_map.weights_from in columns:
        # The rollouts of a group are consecutive rows.
        change = np.diff(columns["prompt_id"], prepend=0) != 0
        change |= np.diff(columns["step"], prepend=0) != 0
        parts = np.column_stack([column[:20_000] for column in rewards.values()])
        group = np.cumsum(change)[:20_000] - change[0]
        weights, remark = reward_weights(parts, columns[column_map.weights_from][:20_000], group, list(rewards))
        notes.remarks.append(remark)
    columns["reward"] = _weighted(rewards.values(), weights)
    if len(rewards) > 1:
        columns |= rewards
    columns["step"] = _whole_numbers(columns["step"])
    if "rollout" in columns:
        columns["rollout"] = _whole_numbers(columns["rollout"])
        if columns["rollout"].dtype.kind != "i":
            del columns["rollout"]
            notes.remarks.append("The column rollout has gaps and is left out: rollouts are numbered in row order.")
    return Trace.from_columns(columns)


def _weighted(rewards: Iterable[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Weighted sum of rewards; one that is NaN counts 0, unless all are."""
    rewards = list(rewards)
    if len(rewards) == 1 and weights[0] == 1:
        return rewards[0]
    total, known = np.zeros(len(rewards[0])), np.zeros(len(rewards[0]), dtype=bool)
    for reward, weight in zip(rewards, weights, strict=True):
        here = ~np.isnan(reward)
        total[here] += weight * reward[here]
        known |= here
    return np.where(known, total, np.nan)


def _whole_numbers(values: np.ndarray, piece: int = 1_000_000) -> np.ndarray:
    """The values as integers, if all are whole; changed in place, since both types have eight bytes."""
    cuts = [slice(k, k + piece) for k in range(0, len(values), piece)]
    if not all((np.floor(values[cut]) == values[cut]).all() for cut in cuts):
        return values
    for cut in cuts:
        values[cut].view(np.int64)[:] = values[cut].astype(np.int64)
    return values.view(np.int64)
