"""JSON Lines: one object per line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from kvar.readers.lines import TOO_LONG, CutFileError, first_lines, lines
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.table_file import MISSING, PIECE, PIECE_BYTES, Table, TableFile, UnreadableError
from kvar.readers.token_lists import norm_of

__all__ = ["JsonLinesFile", "parsed"]

_decode = json.JSONDecoder().raw_decode


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
        rows, numbers, size = [], [], 0
        try:
            for number, line in enumerate(lines(self.path, self.max_unpacked, self.span), 1):
                if not line:
                    continue
                row = parsed(line)
                size += len(line)
                if isinstance(row, dict):
                    # Of a row only what is asked for stays in memory.
                    rows.append({n: norm_of(row[n]) if n == logprobs else row[n] for n in names if n in row})
                    numbers.append(number)
                elif line.strip():
                    notes.reject(row, self.path, [number])
                if rows and (len(rows) == PIECE or size >= PIECE_BYTES):
                    yield _table(rows, numbers, names)
                    rows, numbers, size = [], [], 0
        except CutFileError:
            notes.cut.append(self.path)
        except UnreadableError:
            if rows:
                yield _table(rows, numbers, names)
            raise
        if rows:
            yield _table(rows, numbers, names)


def _object(line: bytes):
    """As `json.loads`, which is slower, of a line that begins as those in UTF-8 only do."""
    text = line.decode("utf-8", "surrogatepass")
    row, end = _decode(text)
    return row if end == len(text) else json.loads(text)


def parsed(line: bytes) -> dict | str:
    """Parse one line into an object, or into the reason why it is none."""
    if line is TOO_LONG:
        return "longer than 64 MiB"
    try:
        row = _object(line) if line.startswith(b'{"') else json.loads(line)
    except UnicodeDecodeError:
        return "not UTF-8"
    except (ValueError, RecursionError):
        return "not JSON"
    return row if isinstance(row, dict) else "not a JSON object"


def _is_number(value) -> bool:
    return isinstance(value, (int, float))


def _table(rows: list[dict], numbers: list[int], names: list[str]) -> Table:
    return Table({name: [row.get(name, MISSING) for row in rows] for name in names}, np.array(numbers))
