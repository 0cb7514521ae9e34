"""Parquet files, in slices of rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.table_file import HEAD, PIECE, Table, TableFile, UnreadableError
from kvar.readers.token_lists import norm_of

__all__ = ["ParquetFile"]

# Rows at a time where they hold a list each. Every slice decodes its whole group of rows, so that it is not smaller.
_PIECE_OF_LISTS = 20_000


class ParquetFile(TableFile):
    """A Parquet file, in which no single row can be damaged: a damaged file is refused."""

    def __init__(self, path: Path):
        super().__init__(path)
        self._frame = _guarded(lambda polars: polars.scan_parquet(path, hive_partitioning=False))
        schema = _guarded(lambda polars: self._frame.collect_schema())
        self.columns = schema.names()
        self.numeric = [name for name, kind in schema.items() if kind.is_numeric() or str(kind) == "Boolean"]
        inner = {name: getattr(kind, "inner", None) for name, kind in schema.items()}
        self.lists = [name for name, kind in inner.items() if kind is not None and kind.is_numeric()]

    def head(self, names: Sequence[str]) -> dict[str, list]:
        """Cells of the first rows."""
        present = [name for name in names if name in self.columns]
        rows = _guarded(lambda polars: self._frame.select(present).head(HEAD).collect())
        return rows.to_dict(as_series=False)

    def _tables(self, names: list[str], notes: ReadingNotes, logprobs: str | None) -> Iterator[Table]:
        present, start = [name for name in names if name in self.columns], 0
        while True:
            columns = _guarded(lambda polars: self._slice(present, start, logprobs, polars))  # noqa: B023  (called at once)
            size = len(next(iter(columns.values()), ()))
            if size == 0:
                return
            yield Table(columns, np.arange(start + 1, start + size + 1))
            start += size

    def _slice(self, names: list[str], start: int, logprobs: str | None, polars) -> dict[str, np.ndarray | list]:
        piece = self._frame.select(names).slice(start, _PIECE_OF_LISTS if logprobs in names else PIECE).collect()
        return {
            name: np.array(list(map(norm_of, piece[name]))) if name == logprobs else _values(piece[name], polars)
            for name in names
        }


def _guarded(call):
    """Result of a call of polars, whose many errors for a damaged file become one."""
    import polars

    try:
        with _silent():
            return call(polars)
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException, OSError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnreadableError(f"it is not a readable Parquet file: {first}") from None


@contextmanager
def _silent() -> Iterator[None]:
    """Hide what a panic of polars writes to the terminal; its message comes back as an exception."""
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _values(series, polars) -> np.ndarray | list:
    if series.dtype.is_integer() and series.null_count() == 0:
        return series.to_numpy()
    if series.dtype.is_float() or series.dtype == polars.Boolean or series.dtype.is_integer():
        return series.cast(polars.Float64).to_numpy()
    return series.to_list()
