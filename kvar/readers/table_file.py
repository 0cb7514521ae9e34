"""A file as a table that comes in pieces, whatever it is written in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kvar.readers.reading_notes import ReadingNotes

__all__ = ["MISSING", "PIECE", "TRUTH", "Table", "TableFile", "UnreadableError"]

MISSING = object()
PIECE = 100_000
# How text files write what other tables hold as booleans, in small letters.
TRUTH = {"true": 1.0, "false": 0.0}


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

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    columns : list of str
        Names of its columns.
    numeric : list of str
        Those that hold numbers, as far as can be seen from the beginning.
    """

    columns: list[str]
    numeric: list[str]

    def __init__(self, path: Path):
        self.path = path

    def tables(self, names: Sequence[str], notes: ReadingNotes) -> Iterator[Table]:
        """Read the file piece by piece."""
        return self._tables(list(names), notes)

    @abstractmethod
    def _tables(self, names: list[str], notes: ReadingNotes) -> Iterator[Table]: ...
