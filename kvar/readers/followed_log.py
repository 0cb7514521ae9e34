"""A log of a run that goes on, read on from where it stood."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from kvar.readers.addresses import LocalCopy, is_address
from kvar.readers.columns import parse_columns
from kvar.readers.disk_columns import DiskColumns
from kvar.readers.json_lines_file import JsonLinesFile
from kvar.readers.lines import whole_lines
from kvar.readers.log import RolloutLog, read_log, trace_of, usable_rows
from kvar.readers.log_files import files_of_log, map_files
from kvar.readers.read_rows import PLACE, ReadRows
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.repeated_batches import RepeatedBatches
from kvar.readers.table_file import TableFile, UnreadableError
from kvar.rollouts.trace import Trace, part_of

__all__ = ["FollowedLog"]

# Files to which lines are appended; of others, those are read that are new.
_GROWING = {".jsonl", ".ndjson"}
# Device and number of a file, and up to which byte it is read.
Place = tuple[int, int, int]


class _NotAloneError(Exception):
    """Why rows cannot be read without those before."""


class FollowedLog:
    """Reads a log, and then what is new in it: new files of a folder, and new whole lines of JSON Lines.

    New rows are understood as those before. Whether that is right shows in the light of all rows, so the whole log is
    read again once it has twice as many rows, and always where rows could not be taken as they stand. A file that was
    replaced or is gone, or that is of another format and has changed, leads to a whole reading too.

    Attributes
    ----------
    log : RolloutLog
        The last whole reading, with notes that count the rows since.
    rows : Trace
        After a whole reading all rows, else those after the step that was given to `read`.
    whole : bool
        Which of the two.
    reason : str
        Why the last reading was whole, if that is for what is in the log.
    """

    log: RolloutLog
    rows: Trace
    whole: bool

    def __init__(self, path: str | os.PathLike, **reading):
        if is_address(path):
            raise ValueError(f"{path} is an address, and only a log on this machine can be followed: copy it here")
        self._path, self._reading, self.reason = path, reading, ""
        columns = reading.get("columns") or {}
        self._chosen = parse_columns(columns) if isinstance(columns, str) else dict(columns)
        self._places: dict[Path, Place] = {}
        self._most = 0  # Rows at which the whole log is read again

    def read(self, after: float) -> bool:
        """Read what is new; whether there is any. Of the rows of former readings, those after a step stay."""
        places = self._found()
        if places == self._places:
            return False
        first = not self._places
        try:
            new = None if first or self.log.notes.n_rows >= self._most else self._new_rows(places)
            self.reason = ""
        except (_NotAloneError, ValueError) as reason:
            new, self.reason = None, str(reason)
        self._places = places
        if new is None:
            self.read_all()
        else:
            kept, columns = part_of(self.rows, self.rows.step > after), self.log.file_columns
            numbered = columns is not None and "rollout" in columns.extras
            self.rows, self.whole = _joined(kept, new, numbered), False
        return new is None or len(new) > 0

    def read_all(self) -> None:
        """Read all rows again that are read."""
        copy = _Part(self._path, {file: (0, end) for file, (_, _, end) in self._places.items()})
        self.log = read_log(copy, **self._reading)
        self.rows, self.whole = self.log.trace, True
        self._most = 2 * len(self.rows)

    def _found(self) -> dict[Path, Place]:
        """The files, and up to where each can be read."""
        places = {}
        for file in files_of_log(LocalCopy(self._path), ReadingNotes()):
            status = file.stat()
            place = (status.st_dev, status.st_ino, status.st_size)
            if file.suffix in _GROWING and place != self._places.get(file):
                place = (*place[:2], whole_lines(file, status.st_size))
            if place[2] > 0:
                places[file] = place
        return places

    def _new_rows(self, places: dict[Path, Place]) -> Trace | None:
        """The rows that were not read yet; files that cannot be read yet leave the places."""
        columns = self.log.file_columns
        if columns is None:
            raise _NotAloneError("rows of this log are judged in the light of each other")
        if gone := self._places.keys() - places.keys():
            raise _NotAloneError(f"{min(gone).name} is gone")
        spans = {}
        for file, (*number, end) in places.items():
            *number_before, end_before = self._places.get(file, (*number, 0))
            if number != number_before or end < end_before or (end != end_before > 0 and file.suffix not in _GROWING):
                raise _NotAloneError(f"{file.name} was written anew")
            if end > end_before:
                spans[file] = (end_before, end)
        part, notes, batches, tables = _Part(self._path, spans), ReadingNotes(), RepeatedBatches(), []
        for file in spans:
            try:
                tables.append(part.open(file))
            except UnreadableError:  # as one that is being written; the next look tries again
                del places[file]
        mapped = map_files(self.log.layout, tables, self._chosen, notes, list(places)) if tables else []
        if self.log.layout == "trl":  # which may log a batch again
            batches.begin_file()
            for piece in LocalCopy(self._path).open([*self._places][-1]).tables(columns.read, notes):
                batches.seen(piece.columns)
        with DiskColumns() as disk:
            for table, column_map in mapped:
                if replace(column_map, step_of_file=None) != replace(columns, step_of_file=None):
                    raise _NotAloneError(f"{table.path.name} has other columns than the files before")
                for usable in usable_rows(table, column_map, batches, notes, keep_text=False):
                    disk.append(usable)
            rows = ReadRows(disk.columns(), [], self._chosen, notes)
            rows.columns.pop(PLACE, None)
            trace = trace_of(rows, columns) if len(disk) else part_of(self.rows, slice(0))
        known = set(self.log.notes.remarks)
        if notes.omissions() or batches.n or notes.n_joined or not known.issuperset(notes.remarks):
            raise _NotAloneError(f"new rows need a closer look: {' '.join([*notes.omissions(), *notes.remarks])}")
        # Of the last step rows are always left, since more of it may come.
        if (np.diff(trace.step, prepend=self.rows.step.max()) < 0).any():
            raise _NotAloneError("steps go back")
        self.log.notes.n_rows += len(trace)
        self.log.notes.used += [file for file in notes.used if file not in self.log.notes.used]
        return trace


class _Part(LocalCopy):
    """Some of the files of a log, and of JSON Lines some of the lines."""

    def __init__(self, path: str | os.PathLike, spans: Mapping[Path, tuple[int, int]]):
        super().__init__(path)
        self._spans = spans

    def chosen(self, files: list[Path]) -> list[Path]:
        """The files that are read, of those that are there."""
        return [file for file in files if file in self._spans]

    def open(self, file: Path) -> TableFile:
        """Open one of the files."""
        table = super().open(file)
        if isinstance(table, JsonLinesFile) and file.suffix in _GROWING:
            table.span = self._spans[file]
        return table


def _joined(first: Trace, second: Trace, numbered: bool) -> Trace:
    """Rows of two traces with the same columns; rollouts that the log does not number are numbered in their order."""
    rest = second.columns
    columns = {name: np.concatenate([column, rest[name]]) for name, column in first.columns.items()}
    if not numbered:
        del columns["rollout"]
    return Trace.from_columns(columns)
