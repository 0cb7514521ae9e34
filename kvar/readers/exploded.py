"""Files whose rows hold lists with an element a rollout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from kvar.readers.cells import as_list, is_numbers
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.table_file import MISSING, Table, TableFile
from kvar.readers.token_lists import norm_of

__all__ = ["ExplodedFile"]


class ExplodedFile(TableFile):
    """A file as the table that has a row for each element of its lists; cells that are no list are repeated."""

    def __init__(self, inner: TableFile, exploded: Sequence[str], sample: dict[str, list], sure: bool):
        super().__init__(inner.path)
        self._inner, self.exploded = inner, frozenset(exploded)
        self.remark = f"Each row holds lists with an element a rollout ({', '.join(exploded)}), which are taken apart."
        if not sure:
            self.doubt = (
                f"Lists in {', '.join(exploded)} are taken apart as those of several rollouts, since nothing says what "
                "else they are of. If of tokens, turns or reward functions, choose with --columns "
                f"'reward={exploded[0]}[-1]' or 'reward=sum({exploded[0]})'."
            )
            self.remark = ""
        self.columns = inner.columns
        elements = {name: [e for cell in sample[name] for e in as_list(cell) or []] for name in exploded}
        numbers = [name for name, found in elements.items() if any(isinstance(e, (int, float)) for e in found)]
        lists = [name for name, found in elements.items() if any(map(is_numbers, found))]
        self.numeric = [*(name for name in inner.numeric if name not in self.exploded), *numbers]
        self.lists = [*(name for name in inner.lists if name not in self.exploded), *lists]

    def prepare(self, names: Sequence[str]) -> None:
        """Bring the columns here."""
        self._inner.prepare(names)

    def head(self, names: Sequence[str]) -> dict[str, list]:
        """Cells of the first rows."""
        cells: dict[str, np.ndarray | list] = dict(self._inner.head(names))
        n = max(map(len, cells.values()), default=0)
        rows, _ = self._rows(Table(cells, np.arange(n)), None)
        return {name: list(column) for name, column in rows.columns.items()}

    def _tables(self, names: list[str], notes: ReadingNotes, logprobs: str | None) -> Iterator[Table]:
        self._inner.max_unpacked = self.max_unpacked
        inside = logprobs in self.exploded
        for piece in self._inner.tables(names, notes, None if inside else logprobs):
            rows, uneven = self._rows(piece, logprobs if inside else None)
            notes.reject("lists of different lengths", self.path, uneven)
            yield rows

    def _rows(self, piece: Table, logprobs: str | None) -> tuple[Table, list[int]]:
        """The rows of a piece, and the numbers of those whose lists differ in length."""
        lists = {name: [as_list(c) for c in cells] for name, cells in piece.columns.items() if name in self.exploded}
        lengths = [{len(cell) for cell in row if cell is not None} for row in zip(*lists.values(), strict=True)]
        # A row without any list stays, so that what it lacks is counted.
        counts = np.array([1 if not found else found.pop() if len(found) == 1 else -1 for found in lengths], dtype=int)
        uneven = piece.rows[counts < 0].tolist()
        counts = np.maximum(counts, 0)
        repeated = np.repeat(np.arange(len(counts)), counts)
        columns: dict[str, np.ndarray | list] = {}
        for name, cells in piece.columns.items():
            if name in lists:
                columns[name] = [
                    element
                    for cell, count in zip(lists[name], counts.tolist(), strict=True)
                    for element in ([MISSING] * count if cell is None else cell[:count])
                ]
                if name == logprobs:
                    columns[name] = np.array(list(map(norm_of, columns[name])))
            elif isinstance(cells, np.ndarray):
                columns[name] = cells[repeated]
            else:
                columns[name] = [cells[k] for k in repeated]
        return Table(columns, piece.rows[repeated]), uneven
