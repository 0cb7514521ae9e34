"""Batches that TRL logs again: one generation may serve several steps."""

from __future__ import annotations

import numpy as np

__all__ = ["RepeatedBatches"]


class RepeatedBatches:
    """Compares each file, a piece at a time, with the file before it."""

    def __init__(self):
        self.n = 0
        self._last: list[int] = []
        self._this: list[int] = []

    def begin_file(self) -> None:
        """Expect the first piece of a file."""
        self._last, self._this = self._this, []

    def seen(self, columns: dict[str, np.ndarray | list]) -> bool:
        """Whether the file before had the same rows here; their step does not count."""
        parts = (
            column if isinstance(column, list) else column.tolist() for n, column in columns.items() if n != "step"
        )
        content = hash(repr(list(parts)))
        place = len(self._this)
        self._this.append(content)
        repeated = self._last[place : place + 1] == [content]
        self.n += repeated and place == 0
        return repeated
