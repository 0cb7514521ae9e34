"""Paths into nested cells, such as ``traces[0].rewards.correct``, ``rewards[]`` for each element, ``sum(score)``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kvar.readers.cells import as_value
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.table_file import MISSING, Table, TableFile
from kvar.readers.token_lists import norm_of

__all__ = ["CellPath", "NestedFile", "parse_path", "paths_to"]

_STEP = re.compile(r"\.([^.\[\]()]+)|\[(-?\d*)\]")
# Cells and elements that are looked into for paths, and how deep.
_LOOKED_INTO, _DEEPEST = 3, 4
_SUM = re.compile(r"sum\((.+)\)")


@dataclass(frozen=True)
class CellPath:
    """A way from the cell of a column to a value inside it."""

    text: str  # As it was written; the name of the column that it makes
    head: str  # The column that it begins in
    steps: tuple[str | int | None, ...]  # Keys of objects, positions in lists; None for each element of a list
    total: bool = False  # Whether the numbers found are added up, for each element by itself

    @property
    def is_list(self) -> bool:
        """Whether it gives an element for each rollout of a row."""
        return None in self.steps

    def value(self, cell):
        """What is found in a cell; `MISSING` if the path does not lead anywhere."""
        found = _walk(cell, self.steps)
        finish = _total if self.total else _weighted
        return [finish(element) for element in found] if self.is_list and isinstance(found, list) else finish(found)


def parse_path(text: str, columns: Sequence[str]) -> CellPath | None:
    """The path that a text stands for, or None if it does not begin with a column."""
    within = _SUM.fullmatch(text)
    inner = within.group(1).strip() if within else text
    # A name may have dots and brackets itself: the longest column that fits is taken.
    for head in sorted(columns, key=len, reverse=True):
        rest = inner[len(head) :]
        if inner.startswith(head) and (rest or within) and _STEP.sub("", rest) == "":
            steps = [key or (int(position) if position else None) for key, position in _STEP.findall(rest)]
            return CellPath(text, head, tuple(steps), within is not None)
    return None


def _walk(cell, steps: Sequence[str | int | None]):
    value = as_value(cell)
    for k, step in enumerate(steps):
        if step is None:
            return [_walk(item, steps[k + 1 :]) for item in value] if isinstance(value, list) else MISSING
        try:
            value = as_value(value[step] if isinstance(value, dict) == isinstance(step, str) else MISSING)
        except (LookupError, TypeError):
            return MISSING
    return value


def _weighted(value):
    """A reward that is stored with its weight, as the product of the two."""
    if isinstance(value, dict) and value.keys() == {"score", "weight"}:
        try:
            return float(value["score"]) * float(value["weight"])
        except (TypeError, ValueError):
            return value
    return value


def _total(value):
    """Sum of the numbers in a list or an object, in which some may be None; of anything else, the thing itself."""
    items = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(items, list):
        return value
    numbers = [_weighted(item) for item in items if item is not None]
    return sum(map(float, numbers)) if all(isinstance(n, (int, float)) for n in numbers) else value


def paths_to(names: Sequence[str], columns: Mapping[str, Sequence]) -> list[str]:
    """Paths to values with one of some names inside the cells of columns, outer ones first."""
    found: dict[str, None] = {}
    level = [(column, cell) for column, cells in columns.items() for cell in cells[:_LOOKED_INTO]]
    for _ in range(_DEEPEST):
        inside: list[tuple[str, object]] = []
        for path, cell in level:
            value = as_value(cell)
            if isinstance(value, dict):
                inside += [(f"{path}.{key}", item) for key, item in value.items() if _STEP.fullmatch(f".{key}")]
            elif isinstance(value, list):
                inside += [(f"{path}[]", item) for item in value[:_LOOKED_INTO]]
        found |= dict.fromkeys(path for path, _ in inside if path.rpartition(".")[2].lower() in names)
        level = inside
    return list(found)


class NestedFile(TableFile):
    """A file with further columns, which are values inside the cells of others."""

    def __init__(self, inner: TableFile, paths: Sequence[CellPath]):
        super().__init__(inner.path)
        self._inner = inner
        self._paths = {path.text: path for path in paths}
        self.columns = [*inner.columns, *self._paths]
        sample = self.head(list(self._paths))
        numbers = [n for n, cells in sample.items() if any(isinstance(cell, (int, float)) for cell in cells)]
        lists = [n for n, cells in sample.items() if any(isinstance(cell, list) for cell in cells)]
        self.numeric, self.lists = [*inner.numeric, *numbers], [*inner.lists, *lists]

    def prepare(self, names: Sequence[str]) -> None:
        """Bring the cells that the columns are made of here."""
        self._inner.prepare(self._heads(names))

    def head(self, names: Sequence[str]) -> dict[str, list]:
        """Cells of the first rows."""
        cells = self._inner.head(self._heads(names))
        return self._with_values(cells, names)

    def _heads(self, names: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(self._paths[name].head if name in self._paths else name for name in names))

    def _with_values(self, cells: dict, names: Sequence[str]) -> dict:
        values = {}
        for name in names:
            path = self._paths.get(name)
            if path is None and name in cells:
                values[name] = cells[name]
            elif path is not None and path.head in cells:
                values[name] = [path.value(cell) for cell in cells[path.head]]
        return values

    def _tables(self, names: list[str], notes: ReadingNotes, logprobs: str | None) -> Iterator[Table]:
        self._inner.max_unpacked = self.max_unpacked
        inside = logprobs in self._paths
        for piece in self._inner.tables(self._heads(names), notes, None if inside else logprobs):
            columns = self._with_values(piece.columns, names)
            if inside and logprobs in columns:
                columns[logprobs] = np.array(list(map(norm_of, columns[logprobs])))
            yield Table(columns, piece.rows)
