"""Delimited text: CSV, and the same with tabs, semicolons or bars."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np

from kvar.readers.cells import as_list, is_numbers
from kvar.readers.lines import LONGEST, TOO_LONG, CutFileError, first_lines, lines
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.table_file import HEAD, PIECE, PIECE_BYTES, TRUTH, Table, TableFile, UnreadableError
from kvar.readers.token_lists import norm_of

__all__ = ["CsvFile"]

_LONGEST_FIELD = 2**22
# Bytes that stray quotes may swallow and that are read again, for each of them; after that a row is one line.
_MOST_REREAD = 64 * 2**20


class CsvFile(TableFile):
    """Delimited text with a header; quoted fields may hold line ends, and an empty field is None."""

    kind = "CSV"

    def __init__(self, path: Path):
        super().__init__(path)
        csv.field_size_limit(_LONGEST_FIELD)
        head = list(first_lines(path)) or [b""]
        try:
            header = head[0].decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UnreadableError("it is neither Parquet, nor JSON Lines, nor CSV in UTF-8") from None
        if "\r" in header:
            raise UnreadableError("its lines end with a carriage return alone; convert the line ends")
        self._delimiter = max(",\t;|", key=header.count)
        try:
            self.columns = next(csv.reader([header], delimiter=self._delimiter))
        except csv.Error as error:
            raise UnreadableError(f"it is neither Parquet, nor JSON Lines, nor CSV: {error}") from None
        if len(self.columns) < 2 or len(set(self.columns)) < len(self.columns):
            raise UnreadableError("it is neither Parquet, nor JSON Lines, nor CSV with a header")
        self.numeric, self.lists = [], []
        rows = (line.decode("utf-8", "replace") + "\n" for line in head[1:])
        # A field beyond the limit ends this first look; reading rejects its line.
        with suppress(csv.Error):
            for row in csv.DictReader(rows, self.columns, delimiter=self._delimiter):
                self.numeric += [n for n, value in row.items() if n and n not in self.numeric and _is_number(value)]
                self.lists += [n for n, value in row.items() if n and n not in self.lists and is_numbers(value)]

    def head(self, names: Sequence[str]) -> dict[str, list]:
        """Cells of the first rows."""
        rows = [row for _, row in islice(self._rows(ReadingNotes()), HEAD)]
        return {name: [row[k] or None for row in rows] for k, name in enumerate(self.columns) if name in names}

    def _tables(self, names: list[str], notes: ReadingNotes, logprobs: str | None) -> Iterator[Table]:
        places = {name: self.columns.index(name) for name in names if name in self.columns}
        rows, numbers, size = [], [], 0
        try:
            for number, row in self._rows(notes):
                rows.append([row[k] or None for k in places.values()])
                numbers.append(number)
                size += sum(map(len, row))
                if len(rows) == PIECE or size >= PIECE_BYTES:
                    yield _table(rows, numbers, list(places), logprobs)
                    rows, numbers, size = [], [], 0
        except UnreadableError:
            if rows:
                yield _table(rows, numbers, list(places), logprobs)
            raise
        if rows:
            yield _table(rows, numbers, list(places), logprobs)

    def _rows(self, notes: ReadingNotes) -> Iterator[tuple[int, list[str]]]:
        """Rows with as many fields as the header, each with the number of the line that it begins in."""
        source = _Lines(self.path, notes, self.max_unpacked)
        if next(source, None) is None:
            return
        while True:
            source.mark()
            cells: list = []
            try:
                row = next(csv.reader(source, delimiter=self._delimiter))
            except StopIteration:
                return
            except csv.Error as error:
                row, reason, cells = [""], "not CSV", [str(error)]
            else:
                # One reason, whatever the number: a damaged file may have a thousand of them.
                reason, cells = f"the number of fields is not {len(self.columns)}", [len(row)]
            if source.broke_off:
                reason, cells = "a quoted field does not end", []
            elif len(row) == len(self.columns):
                notes.n_joined += len(source.since) - 1
                yield source.since[0][0], row
                continue
            if row != []:
                # A stray quote swallows the lines after it: only its own line is rejected.
                begin = source.reread_from_second()
                notes.reject(reason, self.path, [begin], cells)


class _Lines:
    """Decoded lines of a file that can be read again; lines that are not UTF-8 are rejected and end a row."""

    def __init__(self, path: Path, notes: ReadingNotes, max_unpacked: float):
        self._path, self._notes = path, notes
        self._lines = enumerate(lines(path, max_unpacked), 1)
        self._again: deque[tuple[int, str]] = deque()
        self._n_reread = 0
        self.mark()

    def __iter__(self):
        return self

    def mark(self) -> None:
        """Begin a row."""
        self.since: list[tuple[int, str]] = []
        self._size = 0
        self.broke_off = False  # Whether the row would have gone on

    def reread_from_second(self) -> int:
        """Go back to the second line of the row, and return the number of the first."""
        self._n_reread += self._size
        self._again.extendleft(reversed(self.since[1:]))
        return self.since[0][0]

    def __next__(self) -> str:
        if self._size > (0 if self._n_reread > _MOST_REREAD else LONGEST):
            self._break_off()
        while not self._again:
            try:
                number, line = next(self._lines)
            except StopIteration:
                self._break_off()
            except CutFileError:
                self._notes.cut.append(self._path)
                self._break_off()
            try:
                if not line and not self.since:
                    continue
                if line is not TOO_LONG:
                    self._again.append((number, line.decode("utf-8-sig" if number == 1 else "utf-8")))
                    break
                self._notes.reject("longer than 64 MiB", self._path, [number])
            except UnicodeDecodeError:
                self._notes.reject("not UTF-8", self._path, [number])
            if self.since:
                self._break_off()
        self.since.append(self._again.popleft())
        self._size += len(self.since[-1][1]) + 1
        return self.since[-1][1] + "\n"

    def _break_off(self):
        self.broke_off = bool(self.since)
        raise StopIteration


def _table(rows: list[list[str | None]], numbers: list[int], names: list[str], logprobs: str | None) -> Table:
    columns: dict[str, np.ndarray | list] = {name: [row[k] for row in rows] for k, name in enumerate(names)}
    if logprobs in columns:
        columns[logprobs] = np.array([norm_of(as_list(cell)) for cell in columns[logprobs]])
    return Table(columns, np.array(numbers))


def _is_number(value) -> bool:
    if isinstance(value, str) and value.strip().lower() in TRUTH:
        return True
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
