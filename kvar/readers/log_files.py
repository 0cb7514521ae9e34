"""The files of a log: which there are, who wrote them, and which columns each of them has."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path

from kvar.readers.addresses import LocalCopy
from kvar.readers.columns import ColumnMap, listed, map_columns
from kvar.readers.distinct_files import check_path, distinct_files
from kvar.readers.layouts import LAYOUTS, layout_of
from kvar.readers.list_shapes import check_cells, nested_places, shaped
from kvar.readers.log_names import called_like_a_log
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.runs import refuse_many_runs
from kvar.readers.sources import training_files
from kvar.readers.step_in_name import steps_in_names
from kvar.readers.table_file import TableFile, UnreadableError
from kvar.utils.atomic_files import TEMPORARY_SUFFIX

# Files without the name of a log that are looked into.
_SHOWN = 20
# Folders with the rollouts of a run, of kvar and of TRL.
_OF_ROLLOUTS = ("trace", "completions")

__all__ = ["files_of_log", "map_files", "open_log_files"]


def files_of_log(copy: LocalCopy, notes: ReadingNotes) -> list[Path]:
    """The files of a path, folder or pattern, in the order of the numbers in their names; not those of validation."""
    text = os.fspath(copy.path)
    check_path(text)
    place = Path(text)
    if place.is_dir():
        files = _of_folder(place)
        refuse_many_runs(place, files, copy.source)
    elif place.exists():
        files = [place]
    elif has_magic(text):
        files = [Path(name) for name in glob(text, recursive=True) if Path(name).is_file()]
    else:
        raise FileNotFoundError(f"No file or folder called {text}.")
    if not files:
        raise FileNotFoundError(f"No rollout log in {text} (looked for .parquet, .jsonl, .csv).")
    files = sorted(files, key=lambda file: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", str(file))])
    return training_files(distinct_files(files, notes), notes)


def _written_by_audit(file: Path) -> bool:
    return file.stem == "audit" and all(file.with_suffix(ending).is_file() for ending in (".html", ".json", ".csv"))


def _of_folder(folder: Path) -> list[Path]:
    def visible(file: Path) -> bool:
        usable = not file.name.startswith(".") and file.suffix != TEMPORARY_SUFFIX and file.is_file()
        return usable and not _written_by_audit(file)

    for name in _OF_ROLLOUTS:
        # What lies next to it, such as metrics, is no log of rollouts.
        if (folder / name).is_dir() and (found := _of_folder(folder / name)):
            return found
    direct = [file for file in folder.iterdir() if visible(file)]
    if any(called_like_a_log(file) for file in direct):
        return direct
    below = [file for file in folder.rglob("*") if visible(file) and not any(p.startswith(".") for p in file.parts)]
    documents = [file for file in below if file.suffix == ".json"]
    # Where nothing is called like a log, some of the files show what they are.
    return [file for file in below if called_like_a_log(file)] or direct or documents or sorted(below)[:_SHOWN]


def open_log_files(
    copy: LocalCopy, wanted: str, chosen: dict[str, str], notes: ReadingNotes
) -> tuple[str, list[TableFile]]:
    """The layout that most files have, and the files that have it."""
    files, layouts = [], []
    for file in copy.chosen(files_of_log(copy, notes)):
        try:
            table = copy.open(file)
        except UnreadableError as reason:
            notes.refused[file] = str(reason)
            continue
        files.append(table)
        layouts.append(layout_of(table.columns))
    if not files:
        raise ValueError(f"No rollout log at {copy.source}. {' '.join(notes.omissions()[:5])}")
    if wanted == "auto":
        # A file of no known layout is more often unrelated than a log.
        known = Counter(layout for layout in layouts if layout != "table")
        wanted = known.most_common(1)[0][0] if known else "table"
        # Where a trainer's names are fixed, other columns make it a table like any other.
        if wanted in ("kvar", "trl", "verl") and ("reward" in chosen or "prompt" in chosen):
            wanted = "table"
    if wanted == "table":
        return wanted, files
    kept = [table for table, layout in zip(files, layouts, strict=True) if layout == wanted]
    for table, layout in zip(files, layouts, strict=True):
        if layout != wanted:
            notes.refused[table.path] = f"it is no {wanted} log; its columns are {listed(table.columns)}"
    if not kept:
        raise ValueError(
            f"No {wanted} log at {copy.source}: it needs the columns {', '.join(sorted(LAYOUTS[wanted].needs))}; "
            f"found {listed(files[0].columns)}"
        )
    return wanted, kept


def map_files(
    layout: str,
    files: Sequence[TableFile],
    chosen: dict[str, str],
    notes: ReadingNotes,
    paths: Sequence[Path] | None = None,
) -> list[tuple[TableFile, ColumnMap]]:
    """Each file with its columns; a file that lacks columns of the others is left out.

    The names of all files of the log show which number is the step, so ``paths`` has them where these are only some.
    """
    paths = [file.path for file in files] if paths is None else paths
    if LAYOUTS[layout].refusal and "prompt" not in chosen:
        raise ValueError(LAYOUTS[layout].refusal)
    mapped: list[tuple[TableFile, ColumnMap]] = []
    errors: list[tuple[int, int, ValueError, TableFile]] = []
    seen: set[tuple[str, ...]] = set()
    # The number that is all of the name of a single file is more often that of a run than that of a step.
    bare = LAYOUTS[layout].columns.get("step", "") is None or layout == "verl" or len(paths) > 1
    steps = dict(zip(paths, steps_in_names(paths, bare), strict=True))
    for file in files:
        try:
            table = file
            table = shaped(file, layout, chosen)
            column_map = map_columns(layout, table.columns, table.numeric, table.lists, chosen, steps[file.path])
            if (kind := (*table.columns, *table.numeric)) not in seen:
                check_cells(table, column_map, chosen)
                seen.add(kind)
            mapped.append((table, column_map))
        except UnreadableError as reason:
            notes.refused[file.path] = str(reason)
        except ValueError as error:
            errors.append((len(getattr(error, "missing", ())), -file.path.stat().st_size, error, table))
            notes.refused[file.path] = f"it differs from the other files: {error}"
    if not mapped:
        # Of the file that lacks least, and of these of the largest: the others are no logs.
        if not errors:
            raise ValueError(" ".join(notes.omissions()))
        _, _, first, table = min(errors, key=lambda e: e[:2])
        raise ValueError(str(first) + nested_places(table, getattr(first, "missing", ())))
    notes.remarks += dict.fromkeys(table.remark for table, _ in mapped if table.remark)
    for doubt in dict.fromkeys(table.doubt for table, _ in mapped if table.doubt):
        notes.doubt(doubt)
    # The reward must consist of the same columns in all files.
    usual = Counter(tuple(m.rewards) for _, m in mapped).most_common(1)[0][0]
    for table, column_map in mapped:
        if tuple(column_map.rewards) != usual:
            notes.refused[table.path] = f"its rewards are {', '.join(column_map.rewards)}, not {', '.join(usual)}"
    return [(table, column_map) for table, column_map in mapped if tuple(column_map.rewards) == usual]
