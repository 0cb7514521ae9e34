"""JSON Lines: one object per line."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from itertools import compress
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from kvar.readers.lines import TOO_LONG, CutFileError, first_lines, line_blocks
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.table_file import MISSING, PIECE, PIECE_BYTES, Table, TableFile, UnreadableError
from kvar.readers.token_lists import norm_of

__all__ = ["JsonLinesFile", "parsed"]

_NO_OBJECT = "not a JSON object"
# What stands between lines that are parsed together, and the bytes of them at most.
_MARK = secrets.token_hex(8)
_BETWEEN, _MOST_TOGETHER = f',"{_MARK}",'.encode(), 2**22


class JsonLinesFile(TableFile):
    """A file of JSON objects, one per line, whose first fifty lines show the columns; a cut last line counts as bad."""

    kind = "JSON Lines"
    span: tuple[int, int] | None = None  # First byte to read, and the one to stop at, if not all is read

    def __init__(self, path: Path):
        super().__init__(path)
        seen: dict[str, list] = {}
        for row in map(parsed, first_lines(path)):
            if isinstance(row, dict):
                for name, value in row.items():
                    seen.setdefault(name, []).append(value)
        self.columns = list(seen)
        self.numeric = [name for name, values in seen.items() if any(map(_is_number, values))]
        lists = {name: [value for value in values if isinstance(value, list)] for name, values in seen.items()}
        self.lists = [name for name, values in lists.items() if any(any(map(_is_number, value)) for value in values)]

    def head(self, names: Sequence[str]) -> dict[str, list]:
        """Cells of the first rows."""
        rows = [row for row in map(parsed, first_lines(self.path)) if isinstance(row, dict)]
        return {name: [row.get(name, MISSING) for row in rows] for name in names if name in self.columns}

    def _tables(self, names: list[str], notes: ReadingNotes, logprobs: str | None) -> Iterator[Table]:
        columns: dict[str, Any] = {name: [] for name in names}
        numbers: list[int] = []
        n_lines = size = 0
        try:
            for block in line_blocks(self.path, self.max_unpacked, self.span):
                places: Sequence[int] = range(n_lines + 1, n_lines + 1 + len(block))
                rows = _all_parsed(block)
                if set(map(type, rows)) != {dict}:
                    for row, line, place in zip(rows, block, places, strict=True):
                        if isinstance(row, str) and line.strip():
                            notes.reject(row, self.path, [place])
                    good = [isinstance(row, dict) for row in rows]
                    rows, places = list(compress(rows, good)), list(compress(places, good))
                # Of a row only what is asked for stays in memory.
                for name, cells in columns.items():
                    found = _cells(rows, name)
                    cells += map(_norm, found) if name == logprobs else found
                numbers += places
                n_lines, size = n_lines + len(block), size + sum(map(len, block))
                if numbers and (len(numbers) >= PIECE or size >= PIECE_BYTES):
                    yield Table(columns, np.array(numbers))
                    columns, numbers, size = {name: [] for name in names}, [], 0
        except CutFileError:
            notes.cut.append(self.path)
        except UnreadableError:
            if numbers:
                yield Table(columns, np.array(numbers))
            raise
        if numbers:
            yield Table(columns, np.array(numbers))


def _cells(rows: list[dict], name: str) -> list:
    try:
        return list(map(itemgetter(name), rows))
    except KeyError:
        return [row.get(name, MISSING) for row in rows]


def _norm(cell):
    return cell if cell is MISSING else norm_of(cell)


def _all_parsed(block: list[bytes]) -> list:
    """As `parsed` of each line; where all are JSON they are parsed as one array, which takes less time."""
    if block and sum(map(len, block)) < _MOST_TOGETHER:
        try:
            # The brackets go into the join, which saves a copy of the text.
            together = _BETWEEN.join([b"[" + block[0], *block[1:], b"0]"])
            found = json.loads(together.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError):
            found = []
        # Nobody knows what stands between, so that no line can end within another one.
        if len(found) == 2 * len(block) + 1 and found[1::2] == [_MARK] * len(block):
            rows = found[:-1:2]
            return rows if set(map(type, rows)) == {dict} else [_object(row) for row in rows]
    return list(map(parsed, block))


def parsed(line: bytes) -> dict | str:
    """Parse one line into an object, or into the reason why it is none."""
    if line is TOO_LONG:
        return "longer than 64 MiB"
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        return "not UTF-8"
    except (ValueError, RecursionError):
        return "not JSON"
    return _object(row)


def _object(row) -> dict | str:
    return row if isinstance(row, dict) else _NO_OBJECT


def _is_number(value) -> bool:
    return isinstance(value, (int, float))
