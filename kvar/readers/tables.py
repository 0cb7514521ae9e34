"""Files as tables that come in pieces, whatever they are written in: Parquet, JSON Lines, CSV."""

from __future__ import annotations

import csv
import json
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kvar.readers.lines import CutFileError, first_bytes, lines
from kvar.readers.notes import ReadingNotes

__all__ = ["MISSING", "Table", "TableFile", "UnreadableError", "open_table"]

MISSING = object()
_PIECE = 100_000
_PEEK = 50
_LONGEST_FIELD = 2**22
_PARQUET = b"PAR1"
_CONTROL = bytes(k for k in range(32) if k not in b"\t\n\r\f\v")


class UnreadableError(Exception):
    """A file that holds no table, and why."""


@dataclass(frozen=True)
class Table:
    """Some rows of a file.

    Attributes
    ----------
    columns : dict of str to ndarray or list
        Numbers as arrays, anything else as lists; `MISSING` where a row lacks the column.
    rows : ndarray of int
        Line of each row in a text file, number of it in a table, from 1 on.
    """

    columns: dict[str, np.ndarray | list]
    rows: np.ndarray


class TableFile(ABC):
    """A file that was found to hold a table.

    Attributes
    ----------
    path : Path
        The file.
    columns : list of str
        Names of its columns.
    numeric : list of str
        Those that hold numbers, as far as can be seen from the beginning.
    """

    path: Path
    columns: list[str]
    numeric: list[str]

    @abstractmethod
    def tables(self, names: Sequence[str], notes: ReadingNotes) -> Iterator[Table]:
        """Read the file piece by piece.

        Parameters
        ----------
        names : sequence of str
            Which columns.
        notes : ReadingNotes
            Where lines that cannot be read are put down.

        Yields
        ------
        Table
            With these columns.

        Raises
        ------
        UnreadableError
            If the file turns out to be broken; what came before it stands.
        """


def open_table(path: Path) -> TableFile:
    """Find out what a file is by what it begins with.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    TableFile
        Ready to be read.

    Raises
    ------
    UnreadableError
        If it is empty, binary, broken or no table.
    """
    try:
        head = first_bytes(path)
    except OSError as error:
        raise UnreadableError(f"it cannot be read: {error.strerror or error}") from None
    if not head:
        raise UnreadableError(
            "it is empty" if path.stat().st_size == 0 else "it is compressed, and broken from the start"
        )
    if head.startswith(_PARQUET):
        return ParquetFile(path)
    # Text has few control characters; what is damaged may have some.
    if len(head.translate(None, _CONTROL)) < 0.95 * len(head):
        raise UnreadableError("it is binary and not Parquet")
    if any(isinstance(_parsed(line), dict) for line in head.splitlines()[:_PEEK]):
        return JsonLinesFile(path)
    return CsvFile(path)


class ParquetFile(TableFile):
    """Parquet, read in slices of rows."""

    def __init__(self, path: Path):
        self.path = path
        self._frame = self._guarded(lambda pl: pl.scan_parquet(path, hive_partitioning=False))
        schema = self._guarded(lambda pl: self._frame.collect_schema())
        self.columns = schema.names()
        self.numeric = [name for name, kind in schema.items() if kind.is_numeric() or str(kind) == "Boolean"]

    @staticmethod
    def _guarded(call):
        try:
            import polars
        except ImportError:
            raise ImportError("logs on disk need polars: pip install 'kvar[report]'") from None
        try:
            with _silent():
                return call(polars)
        except (polars.exceptions.PolarsError, polars.exceptions.PanicException, OSError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UnreadableError(f"it is not a readable Parquet file: {first}") from None

    def tables(self, names: Sequence[str], notes: ReadingNotes) -> Iterator[Table]:
        """Read the file in slices, see `TableFile.tables`.

        Parameters
        ----------
        names : sequence of str
            Which columns.
        notes : ReadingNotes
            Not needed: a row of Parquet is whole or the file is broken.

        Yields
        ------
        Table
            With these columns.
        """
        present = [name for name in names if name in self.columns]
        start = 0
        while True:
            piece = self._guarded(lambda pl: self._frame.select(present).slice(start, _PIECE).collect())  # noqa: B023
            if len(piece) == 0:
                return
            columns = {name: self._guarded(lambda pl: _values(piece[name], pl)) for name in present}  # noqa: B023
            yield Table(columns, np.arange(start + 1, start + len(piece) + 1))
            start += len(piece)


@contextmanager
def _silent() -> Iterator[None]:
    """Without what a panic of the reader writes past Python; its message comes back as an exception."""
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _values(series, polars) -> np.ndarray | list:
    if series.dtype.is_integer() and series.null_count() == 0:
        return series.to_numpy()
    if series.dtype.is_float() or series.dtype == polars.Boolean or series.dtype.is_integer():
        return series.cast(polars.Float64).to_numpy()
    return series.to_list()


class JsonLinesFile(TableFile):
    """One JSON object a line; a last line without an end is whole, or is counted as bad."""

    def __init__(self, path: Path):
        self.path = path
        seen: dict[str, list] = {}
        for number, line in enumerate(first_bytes(path).splitlines()):
            if number == _PEEK:
                break
            row = _parsed(line)
            if isinstance(row, dict):
                for name, value in row.items():
                    seen.setdefault(name, []).append(value)
        self.columns = list(seen)
        self.numeric = [name for name, values in seen.items() if any(isinstance(v, (int, float)) for v in values)]

    def tables(self, names: Sequence[str], notes: ReadingNotes) -> Iterator[Table]:
        """Read the file line by line, see `TableFile.tables`.

        Parameters
        ----------
        names : sequence of str
            Which columns.
        notes : ReadingNotes
            Where bad lines are put down.

        Yields
        ------
        Table
            With these columns.
        """
        rows, numbers, number = [], [], 0
        try:
            for number, line in enumerate(lines(self.path), 1):
                row = _parsed(line)
                if isinstance(row, dict):
                    rows.append(row)
                    numbers.append(number)
                elif line.strip():
                    notes.reject(row if isinstance(row, str) else "not a JSON object", self.path, [number])
                if len(rows) == _PIECE:
                    yield _table(rows, numbers, names)
                    rows, numbers = [], []
        except CutFileError:
            notes.cut.append(self.path)
        if rows:
            yield _table(rows, numbers, names)


def _parsed(line: bytes):
    """The object in a line, or in words why there is none."""
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        return "not UTF-8"
    except (ValueError, RecursionError):
        return "not JSON"
    return row if isinstance(row, dict) else None


def _table(rows: list[dict], numbers: list[int], names: Sequence[str]) -> Table:
    return Table({name: [row.get(name, MISSING) for row in rows] for name in names}, np.array(numbers))


class CsvFile(TableFile):
    """Delimited text with a header; quoted fields may hold line ends."""

    def __init__(self, path: Path):
        self.path = path
        head = first_bytes(path)
        try:
            text = head.decode("utf-8-sig", "strict" if len(head) < 65_536 else "ignore")
        except UnicodeDecodeError:
            raise UnreadableError("it is neither Parquet, nor JSON Lines, nor CSV in UTF-8") from None
        header = text.splitlines()[0]
        self._delimiter = max(",\t;|", key=header.count)
        self.columns = next(csv.reader([header], delimiter=self._delimiter, strict=False))
        if len(self.columns) < 2 or len(set(self.columns)) < len(self.columns):
            raise UnreadableError("it is neither Parquet, nor JSON Lines, nor CSV with a header")
        self.numeric = []
        for row in csv.DictReader(text.splitlines()[:_PEEK], delimiter=self._delimiter):
            self.numeric += [n for n, value in row.items() if n and n not in self.numeric and _is_number(value)]

    def tables(self, names: Sequence[str], notes: ReadingNotes) -> Iterator[Table]:
        """Read the file row by row, see `TableFile.tables`.

        Parameters
        ----------
        names : sequence of str
            Which columns.
        notes : ReadingNotes
            Where bad rows are put down.

        Yields
        ------
        Table
            With these columns; empty fields are None.
        """
        places = {name: self.columns.index(name) for name in names if name in self.columns}
        rows, numbers = [], []
        for number, row in self._rows(notes):
            rows.append(row)
            numbers.append(number)
            if len(rows) == _PIECE:
                yield Table({n: [row[k] or None for row in rows] for n, k in places.items()}, np.array(numbers))
                rows, numbers = [], []
        if rows:
            yield Table({n: [row[k] or None for row in rows] for n, k in places.items()}, np.array(numbers))

    def _rows(self, notes: ReadingNotes) -> Iterator[tuple[int, list[str]]]:
        """Rows with as many fields as the header, and the line that each begins in."""
        csv.field_size_limit(_LONGEST_FIELD)
        source = _Lines(self.path, notes)
        next(source)
        while True:
            begin = source.number + 1
            source.mark()
            try:
                row = next(csv.reader(source, delimiter=self._delimiter))
            except StopIteration:
                return
            except csv.Error as error:
                row, reason = None, f"not CSV: {error}"
            else:
                reason = f"{len(row)} fields instead of {len(self.columns)}"
            if row is not None and len(row) == len(self.columns):
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


def _is_number(value) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
