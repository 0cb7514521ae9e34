"""The files of a log: which there are, who wrote them, and which columns each of them has."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path

from kvar.readers.columns import ColumnMap, listed, map_columns
from kvar.readers.file_types import open_table
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.sources import training_files
from kvar.readers.step_in_name import steps_in_names
from kvar.readers.table_file import TableFile, UnreadableError
from kvar.utils.atomic_files import TEMPORARY_SUFFIX

__all__ = ["layout_names", "map_files", "open_log_files"]

# Columns by which a layout is recognised; the first that fits is taken, and anything may be a table.
_LAYOUTS = {
    "kvar": {"step", "prompt_id", "reward"},
    "trl": {"step", "prompt", "completion", "advantage"},
    "verl": {"input", "output", "score"},
    "table": set(),
}


def layout_names() -> list[str]:
    """Names of the layouts that can be read."""
    return list(_LAYOUTS)


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


def open_log_files(
    path: str | os.PathLike, wanted: str, chosen: dict[str, str], notes: ReadingNotes
) -> tuple[str, list[TableFile]]:
    """The layout that most files have, and the files that have it."""
    files, layouts = [], []
    for file in training_files(_log_files(path), notes):
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


def map_files(
    layout: str, files: Sequence[TableFile], chosen: dict[str, str], notes: ReadingNotes
) -> list[tuple[TableFile, ColumnMap]]:
    """Each file with its columns; a file that lacks columns of the others is left out."""
    mapped, first_error = [], None
    # The number that is all of the name of a single file is more often that of a run than that of a step.
    steps = steps_in_names([table.path for table in files], bare=layout == "verl" or len(files) > 1)
    for table, step in zip(files, steps, strict=True):
        try:
            mapped.append((table, map_columns(layout, table.columns, table.numeric, table.lists, chosen, step)))
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
