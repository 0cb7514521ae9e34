"""Delimited text: CSV, and the same with tabs, semicolons or bars."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kvar.readers.lines import CutFileError, first_bytes, lines
from kvar.readers.notes import ReadingNotes
from kvar.readers.tables import PIECE, TRUTH, Table, TableFile, UnreadableError

__all__ = ["CsvFile"]

_PEEK, _PEEKED_BYTES = 50, 65_536
_LONGEST_FIELD = 2**22


class CsvFile(TableFile):
    """Delimited text with a header; quoted fields may hold line ends, and an empty field is None.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        head = first_bytes(path, _PEEKED_BYTES)
        try:
            # What is peeked at may end within a character.
            text = head.decode("utf-8-sig", "strict" if len(head) < _PEEKED_BYTES else "ignore")
        except UnicodeDecodeError:
            raise UnreadableError("it is neither Parquet, nor JSON Lines, nor CSV in UTF-8") from None
        header = (text.splitlines() or [""])[0]
        self._delimiter = max(",\t;|", key=header.count)
        self.columns = next(csv.reader([header], delimiter=self._delimiter))
        if len(self.columns) < 2 or len(set(self.columns)) < len(self.columns):
            raise UnreadableError("it is neither Parquet, nor JSON Lines, nor CSV with a header")
        self.numeric = []
        for row in csv.DictReader(text.splitlines()[:_PEEK], delimiter=self._delimiter):
            self.numeric += [n for n, value in row.items() if n and n not in self.numeric and _is_number(value)]

    def _tables(self, names: list[str], notes: ReadingNotes) -> Iterator[Table]:
        places = {name: self.columns.index(name) for name in names if name in self.columns}
        rows, numbers = [], []
        for number, row in self._rows(notes):
            rows.append(row)
            numbers.append(number)
            if len(rows) == PIECE:
                yield _table(rows, numbers, places)
                rows, numbers = [], []
        if rows:
            yield _table(rows, numbers, places)

    def _rows(self, notes: ReadingNotes) -> Iterator[tuple[int, list[str]]]:
        """Rows with as many fields as the header, and the line that each begins in."""
        csv.field_size_limit(_LONGEST_FIELD)
        source = _Lines(self.path, notes)
        if next(source, None) is None:
            return
        while True:
            begin = source.number + 1
            source.mark()
            try:
                row = next(csv.reader(source, delimiter=self._delimiter))
            except StopIteration:
                return
            except csv.Error as error:
                row, reason = [""], f"not CSV: {error}"
            else:
                reason = f"{len(row)} fields instead of {len(self.columns)}"
            if len(row) == len(self.columns):
                notes.n_joined += source.number - begin
                yield begin, row
            elif row != []:
                # A stray quote swallows what follows: only its own line is given up.
                source.back_to_second()
                notes.reject(reason, self.path, [begin])


class _Lines:
    """Decoded lines of a file that can be gone back to."""

    def __init__(self, path: Path, notes: ReadingNotes):
        self._path, self._notes = path, notes
        self._lines = lines(path)
        self._again: deque[str] = deque()
        self._since: list[str] = []
        self.number = 0

    def __iter__(self):
        return self

    def mark(self) -> None:
        self._since = []

    def back_to_second(self) -> None:
        repeated = self._since[1:]
        self._again.extendleft(reversed(repeated))
        self.number -= len(repeated)

    def __next__(self) -> str:
        while not self._again:
            try:
                line = next(self._lines)
            except CutFileError:
                self._notes.cut.append(self._path)
                raise StopIteration from None
            try:
                self._again.append(line.decode("utf-8-sig" if self.number == 0 else "utf-8"))
            except UnicodeDecodeError:
                self.number += 1
                self._notes.reject("not UTF-8", self._path, [self.number])
        self.number += 1
        self._since.append(self._again.popleft())
        return self._since[-1] + "\n"


def _table(rows: list[list[str]], numbers: list[int], places: dict[str, int]) -> Table:
    return Table({name: [row[k] or None for row in rows] for name, k in places.items()}, np.array(numbers))


def _is_number(value) -> bool:
    if isinstance(value, str) and value.strip().lower() in TRUTH:
        return True
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
