"""Columns that grow on disk, so that a long log is never in memory as a whole."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping

import numpy as np

__all__ = ["DiskColumns"]


class DiskColumns:
    """Numbers in unnamed temporary files, text in lists; to be used in a ``with`` statement.

    Rows may lack columns, which are then NaN, or None in text.
    """

    def __init__(self):
        self._files: dict[str, tuple] = {}
        self._texts: dict[str, list] = {}
        self._n = 0

    def __len__(self) -> int:
        """Number of rows."""
        return self._n

    def __enter__(self) -> DiskColumns:
        return self

    def __exit__(self, *exception) -> None:
        for file, _ in self._files.values():
            file.close()

    def append(self, columns: Mapping[str, np.ndarray | list]) -> None:
        """Add rows."""
        n = len(next(iter(columns.values())))
        for name, column in columns.items():
            if (name in self._files and isinstance(column, list)) or (name in self._texts and n and _is_array(column)):
                raise ValueError(f"column {name!r} holds numbers in some files and text in others; convert one of them")
            if isinstance(column, list):
                self._texts.setdefault(name, [None] * self._n).extend(column)
            else:
                self._write(name, column)
        for name in self._files.keys() - columns.keys():
            self._write(name, np.full(n, np.nan))
        for name in self._texts.keys() - columns.keys():
            self._texts[name].extend([None] * n)
        self._n += n

    def _write(self, name: str, column: np.ndarray) -> None:
        if name not in self._files:
            file = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the columns that are mapped from it)
            file.write(np.full(self._n, np.nan).tobytes())
            self._files[name] = (file, column.dtype)
        file, kind = self._files[name]
        file.write(np.ascontiguousarray(column, dtype=kind).tobytes())

    def columns(self) -> dict[str, np.ndarray | list]:
        """All columns, numbers mapped from disk; they can be used after this is closed too."""
        arrays = {}
        for name, (file, kind) in self._files.items():
            file.flush()
            arrays[name] = np.asarray(np.memmap(file, dtype=kind, mode="r+")) if self._n else np.zeros(0, dtype=kind)
        return {**arrays, **self._texts}


def _is_array(column) -> bool:
    return isinstance(column, np.ndarray)
