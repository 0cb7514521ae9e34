"""JSON documents: an array of objects, a table of columns and rows, or objects that span several lines."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from kvar.readers.cells import is_message
from kvar.readers.columns import guess
from kvar.readers.json_lines_file import parsed
from kvar.readers.lines import CutFileError, chunks, lines
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.table_file import HEAD, MISSING, PIECE, PIECE_BYTES, Table, TableFile, UnreadableError
from kvar.readers.token_lists import norm_of

__all__ = ["JsonFile", "is_wrapped"]

# One value is in memory as a whole.
_LONGEST_VALUE = 2**28
_BETWEEN = " \t\r\n,"
# Names under which a document keeps its rows next to other things.
_ROWS = (
    "data",
    "rows",
    "records",
    "rollouts",
    "samples",
    "trajectories",
    "episodes",
    "results",
    "completions",
    "items",
)


class JsonFile(TableFile):
    """Rows inside JSON values: in a document, whose outer array is read element by element, or in one value a line.

    A document that breaks off is read up to there.
    """

    kind = "JSON"

    def __init__(self, path: Path, by_line: bool = False):
        super().__init__(path)
        self._values = _values_of_lines if by_line else _values
        rows = self._first_rows()
        if not rows:
            raise UnreadableError("it is no JSON with an object for each row")
        self.columns = list(dict.fromkeys(name for row in rows for name in row))
        cells = {name: [row[name] for row in rows if name in row] for name in self.columns}
        self.numeric = [name for name, found in cells.items() if any(map(_is_number, found))]
        lists = {name: [cell for cell in found if isinstance(cell, list)] for name, found in cells.items()}
        self.lists = [name for name, found in lists.items() if any(any(map(_is_number, cell)) for cell in found)]

    def head(self, names: Sequence[str]) -> dict[str, list]:
        """Cells of the first rows."""
        rows = self._first_rows()
        return {name: [row.get(name, MISSING) for row in rows] for name in names if name in self.columns}

    def _first_rows(self) -> list[dict]:
        rows = (row for _, _, row in self._rows(ReadingNotes()) if isinstance(row, dict))
        return list(islice(rows, HEAD))

    def _rows(self, notes: ReadingNotes) -> Iterator[tuple[int, int, object]]:
        """Rows with the number and the length of the line or value that they come from."""
        for number, length, value in self._values(self.path, notes, self.max_unpacked):
            for row in _unwrapped(value) if isinstance(value, dict) else [value]:
                yield number, length, row

    def _tables(self, names: list[str], notes: ReadingNotes, logprobs: str | None) -> Iterator[Table]:
        rows: list[dict] = []
        numbers: list[int] = []
        size = last = 0
        for number, length, row in self._rows(notes):
            if number != last and (len(rows) >= PIECE or size >= PIECE_BYTES):
                yield _table(rows, numbers, names)
                rows, numbers, size = [], [], 0
            size += length if number != last else 0
            last = number
            if isinstance(row, dict):
                rows.append({n: norm_of(row[n]) if n == logprobs else row[n] for n in names if n in row})
                numbers.append(number)
            else:
                notes.reject("not a JSON object", self.path, [number])
        if rows:
            yield _table(rows, numbers, names)


def is_wrapped(value: dict) -> bool:
    """Whether an object holds a table rather than one row of it."""
    return next(_unwrapped(value), None) is not value


def _values(path: Path, notes: ReadingNotes, max_unpacked: float) -> Iterator[tuple[int, int, object]]:
    """The JSON values of a file, the elements of arrays one by one, with their numbers from 1 on and their lengths."""
    parse = json.JSONDecoder().raw_decode
    text, start, number, in_array = "", 0, 0, False
    source = _text(path, notes, max_unpacked)
    wanted, ended = 1, False
    while True:
        while start < len(text) and text[start] in _BETWEEN:
            start += 1
        if start < len(text):
            if text[start] == "]" if in_array else text[start] == "[":
                in_array, start = not in_array, start + 1
                continue
            try:
                value, end = parse(text, start)
                number, wanted = number + 1, 1
                yield number, end - start, value
                start = end
                continue
            except (ValueError, RecursionError):
                if len(text) - start > _LONGEST_VALUE:
                    raise UnreadableError("a value in it is longer than 256 MiB: write JSON Lines") from None
                # It may go on in the next piece, unless the file ends here.
                if ended:
                    notes.cut.append(path)
                    return
                wanted = len(text) - start
        elif ended:
            if in_array and path not in notes.cut:
                notes.cut.append(path)
            return
        parts, size = [text[start:]], 0
        # Twice as much as failed, so that a long value takes linear time.
        while size < wanted and not ended:
            part = next(source, None)
            ended = part is None
            parts.append(part or "")
            size += len(parts[-1])
        text, start = "".join(parts), 0


def _text(path: Path, notes: ReadingNotes, max_unpacked: float) -> Iterator[str]:
    decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
    try:
        for part in chunks(path, max_unpacked):
            yield decode(part)
    except CutFileError:
        notes.cut.append(path)
    yield decode(b"", final=True)


def _values_of_lines(path: Path, notes: ReadingNotes, max_unpacked: float) -> Iterator[tuple[int, int, object]]:
    try:
        for number, line in enumerate(lines(path, max_unpacked), 1):
            row = parsed(line)
            if isinstance(row, dict):
                yield number, len(line), row
            elif line.strip():
                notes.reject(row, path, [number])
    except CutFileError:
        notes.cut.append(path)


def _unwrapped(value: dict) -> Iterator[dict]:
    """The rows that an object holds, or the object itself."""
    names, data = value.get("columns"), value.get("data")
    if isinstance(names, list) and isinstance(data, list) and all(isinstance(row, list) for row in data):
        # A table of wandb, and what pandas writes with orient="split".
        yield from (dict(zip(map(str, names), row, strict=False)) for row in data)
    elif _is_grid(value) and all(key.isdecimal() for key in value):
        yield from value.values()
    elif _is_grid(value) and all(key.isdecimal() for key in next(iter(value.values()))):
        # What pandas writes by default: for each column an object from the number of the row to its cell.
        yield from ({name: column[key] for name, column in value.items()} for key in next(iter(value.values())))
    elif name := next((name for name in _ROWS if _are_rollouts(value, name)), None):
        # A row for each rollout, with what they have in common.
        yield from ({**{n: v for n, v in value.items() if n != name}, **row} for row in value[name])
    else:
        yield value


def _is_grid(value: dict) -> bool:
    """Whether all values are objects with the same keys."""
    cells = list(value.values())
    if len(cells) < 2 or not all(isinstance(cell, dict) for cell in cells):
        return False
    return bool(cells[0]) and all(cell.keys() == cells[0].keys() for cell in cells)


def _are_rollouts(value: dict, name: str) -> bool:
    rows = value.get(name)
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) and not is_message(row) for row in rows)):
        return False
    return guess("reward", list(rows[0])) is not None and guess("reward", list(value)) is None


def _is_number(value) -> bool:
    return isinstance(value, (int, float))


def _table(rows: list[dict], numbers: list[int], names: list[str]) -> Table:
    return Table({name: [row.get(name, MISSING) for row in rows] for name in names}, np.array(numbers))
