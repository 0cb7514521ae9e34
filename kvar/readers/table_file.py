"""A file as a table that is read in pieces, in any format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kvar.readers.reading_notes import ReadingNotes

__all__ = ["HEAD", "MAX_UNPACKED", "MISSING", "PIECE", "PIECE_BYTES", "TRUTH", "Table", "TableFile", "UnreadableError"]

MISSING = object()
# A piece ends with whichever comes first: memory must not grow with the length of rows.
PIECE, PIECE_BYTES = 100_000, 16 * 2**20
# Rows of a first look.
HEAD = 50
# By default, the number of GiB that a compressed file may unpack to.
MAX_UNPACKED = 64.0
# Booleans as text files write them, in lower case.
TRUTH = {"true": 1.0, "false": 0.0}


class UnreadableError(Exception):
    """The reason why a file cannot be read as a table."""


@dataclass(frozen=True)
class Table:
    """Some rows of a file."""

    # Numbers as arrays, anything else as lists; `MISSING` where a row lacks the column.
    columns: dict[str, np.ndarray | list]
    rows: np.ndarray  # Number of each row's line in a text file, or of the row in another table, from 1 on


class TableFile(ABC):
    """A file that holds a table.

    Attributes
    ----------
    path : Path
        The file.
    kind : str
        Its format.
    columns : list of str
        Names of its columns.
    numeric : list of str
        Columns that hold numbers in the first rows.
    lists : list of str
        Columns that hold lists of numbers in the first rows.
    max_unpacked : float
        Number of GiB that a compressed file may unpack to.
    exploded : frozenset of str
        Columns whose cells are elements of the lists in the file.
    remark : str
        How its rows are understood, where that is not plain.
    doubt : str
        The same, where a reader should check it.
    """

    kind: str = ""
    columns: list[str]
    numeric: list[str]
    lists: list[str]
    max_unpacked: float = MAX_UNPACKED
    exploded: frozenset[str] = frozenset()
    remark: str = ""
    doubt: str = ""

    def __init__(self, path: Path):
        self.path = path

    def tables(self, names: Sequence[str], notes: ReadingNotes, logprobs: str | None = None) -> Iterator[Table]:
        """Read the file piece by piece; lists in the column `logprobs` become score norms one by one."""
        return self._tables(list(names), notes, logprobs)

    def prepare(self, names: Sequence[str]) -> None:  # noqa: B027  (files on this machine are ready)
        """Bring the cells of these columns to this machine, if they are not."""

    @abstractmethod
    def head(self, names: Sequence[str]) -> dict[str, list]:
        """Cells of the first rows, fifty at most, for those of the columns that the file has."""

    @abstractmethod
    def _tables(self, names: list[str], notes: ReadingNotes, logprobs: str | None) -> Iterator[Table]: ...
