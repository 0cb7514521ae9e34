"""The rows of a log as they were read, before it is settled what they mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from kvar.readers.columns import ColumnMap
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.table_file import Table, TableFile, UnreadableError

__all__ = ["PLACE", "TURN", "FileRows", "ReadRows", "codes", "paired"]

# Column of the place of a row among all rows of its file.
PLACE = "place:"
# Column of what looked like the step and counts the turns of a rollout.
TURN = "turn:"
_PIECE = 1_000_000


@dataclass
class FileRows:
    """A file and its rows, from ``start`` up to ``stop``."""

    table: TableFile
    columns: ColumnMap
    start: int
    stop: int


@dataclass
class ReadRows:
    """Columns of all rows in the order in which they were read."""

    columns: dict[str, np.ndarray | list]
    files: list[FileRows]
    chosen: dict[str, str]  # Columns that the user has named
    notes: ReadingNotes
    plain: bool = True  # Whether each row is a rollout as it stands, whatever the other rows are

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.columns["step"])

    @property
    def step(self) -> np.ndarray:
        """Step of each row."""
        return self.columns["step"]  # type: ignore[return-value]

    @cached_property
    def step_codes(self) -> np.ndarray:
        """Number of each row's step, from 0 in the order of steps."""
        return codes(self.columns["step"])

    @cached_property
    def prompt_codes(self) -> np.ndarray:
        """Number of each row's prompt, from 0."""
        return codes(self.columns["prompt_id"])

    @cached_property
    def groups(self) -> np.ndarray:
        """Number of each row's pair of step and prompt, from 0."""
        return paired(self.step_codes, self.prompt_codes)

    def replace(self, name: str, column: np.ndarray) -> None:
        """Put another column in place of one."""
        self.columns[name] = column
        self.plain = False
        self._forget()

    def keep(self, kept: np.ndarray) -> None:
        """Leave out all other rows; columns that are mapped from disk are packed in place."""
        self.notes.n_left_out += int((~kept).sum())
        self.plain = False
        n_before = np.concatenate([[0], np.cumsum(kept)])
        for name, column in self.columns.items():
            self.columns[name] = _packed(column, kept)
        for file in self.files:
            file.start, file.stop = int(n_before[file.start]), int(n_before[file.stop])
        self._forget()

    def _forget(self) -> None:
        for name in ("step_codes", "prompt_codes", "groups"):
            self.__dict__.pop(name, None)

    def numbers(self, names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Columns of numbers with one of some names, in lower case, in the order of the names."""
        lower = {name.lower(): name for name in reversed(self.columns)}
        for name in names:
            if (found := lower.get(name)) is not None and isinstance(column := self.columns[found], np.ndarray):
                yield found, column

    def in_files(self, names: Sequence[str]) -> list[str]:
        """Columns of the files with one of some names, in lower case, in the order of the names."""
        lower = {name.lower(): name for file in reversed(self.files) for name in reversed(file.table.columns)}
        return [lower[name] for name in names if name in lower]

    def file_of_row(self) -> np.ndarray:
        """Number of each row's file."""
        return np.repeat(np.arange(len(self.files)), [file.stop - file.start for file in self.files])

    def paths(self) -> list[Path]:
        """The files."""
        return [file.table.path for file in self.files]

    def read_column(
        self, name: str, make: Callable[[np.ndarray | list | None, int], Sequence[np.ndarray]], n_made: int
    ) -> list[np.ndarray]:
        """As `read_again`, of one column alone: its cells, None where a file lacks it, and the number of rows."""

        def of_file(file: FileRows) -> list[str]:
            return [name]

        def made(file: FileRows, piece: Table) -> Sequence[np.ndarray]:
            return make(piece.columns.get(name), len(piece.rows))

        return self.read_again(of_file, made, n_made)

    def read_again(
        self,
        names: Callable[[FileRows], list[str]],
        make: Callable[[FileRows, Table], Sequence[np.ndarray]],
        n_made: int,
    ) -> list[np.ndarray]:
        """Integers made of further columns, for each row: a second look at the files, for logs that are in doubt."""
        made = [np.zeros(len(self), dtype=np.int64) for _ in range(n_made)]
        places: np.ndarray = self.columns[PLACE]  # type: ignore[assignment]
        for file in self.files:
            mine, seen = places[file.start : file.stop], 0
            # With the lists by which rows are taken apart, so that they are the same rows again.
            asked = list(dict.fromkeys([*file.columns.needed, *names(file)]))
            try:
                file.table.prepare(asked)
                for piece in file.table.tables(asked, ReadingNotes()):
                    first, last = np.searchsorted(mine, [seen, seen + len(piece.rows)])
                    if first < last:
                        rows = mine[first:last] - seen
                        for target, values in zip(made, make(file, piece), strict=True):
                            target[file.start + first : file.start + last] = values[rows]
                    seen += len(piece.rows)
            except UnreadableError:
                # The first reading has ended there too, and said so.
                continue
        return made


def codes(values) -> np.ndarray:
    """Number of each value among the different ones in their order."""
    values = np.asarray(values)
    # The rollouts of a group are neighbours: of equal neighbours, only the first is sorted.
    starts = np.flatnonzero(np.append(len(values) > 0, values[1:] != values[:-1]))
    heads = values[starts]
    rises = values.dtype.kind in "if" and (heads[1:] > heads[:-1]).all()
    number = np.arange(len(heads)) if rises else np.unique(heads, return_inverse=True)[1]
    # Three of these columns are kept while a log is settled, half as wide as other integers.
    number = number.astype(np.int32 if len(values) < 2**31 else np.int64)
    return np.repeat(number, np.diff(starts, append=len(values)))


def paired(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Number of each pair among the different pairs of two columns of numbers from 0."""
    return codes(first.astype(np.int64) * (int(second.max(initial=0)) + 1) + second)


def _packed(column: np.ndarray | list, kept: np.ndarray) -> np.ndarray | list:
    if isinstance(column, list):
        return [column[k] for k in np.flatnonzero(kept)]
    end = 0
    for k in range(0, len(column), _PIECE):
        piece = column[k : k + _PIECE][kept[k : k + _PIECE]]
        column[end : end + len(piece)] = piece
        end += len(piece)
    return column[:end]
