"""Every file of a log once, whatever links or patterns lead to it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kvar.readers.reading_notes import ReadingNotes

__all__ = ["check_path", "distinct_files"]


def check_path(text: str) -> None:
    """Refuse what is no place of a log: opening a pipe would wait for a writer, and no path is no folder."""
    if not text.strip():
        raise ValueError(f"the path of the log is {text!r}: give a file, a folder or a pattern ('.' for this folder)")
    place = Path(text)
    if place.exists() and not place.is_dir() and not place.is_file():
        raise ValueError(f"{text} is not a regular file but a pipe, a socket or a device: save the log as a file first")


def distinct_files(files: Sequence[Path], notes: ReadingNotes) -> list[Path]:
    """The files in their order, each under one name; one without links in it comes before the others."""
    names: dict[tuple[int, int], list[Path]] = {}
    for file in files:
        try:
            found = file.stat()
        except OSError:
            # It has just vanished; opening it will say so.
            names[-1, len(names)] = [file]
        else:
            names.setdefault((found.st_dev, found.st_ino), []).append(file)
    # `False` sorts before `True`, and the first of equals is taken.
    kept = {min(same, key=lambda file: os.path.realpath(file) != os.path.abspath(file)) for same in names.values()}
    if other := [file.name for file in files if file not in kept]:
        names_of = "further name of" if len(other) == 1 else "further names of"
        notes.remarks.append(f"{len(other):,} {names_of} the same files (first {other[0]}): each file is read once.")
    return [file for file in files if file in kept]
