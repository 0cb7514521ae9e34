"""Parquet files, in slices of rows."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.table_file import HEAD, PIECE, PIECE_BYTES, Table, TableFile, UnreadableError
from kvar.readers.token_lists import norm_of

__all__ = ["ParquetFile"]

# Rows at a time where they hold lists. Every slice of those decodes its whole group of rows, so that it is not smaller.
_SLICE_OF_LISTS = 20_000
# Rows of the first slice, which shows how long they are.
_FIRST_SLICE = 1_000
# For fewer rows, to look for equal texts costs more than it saves.
_FEW = 1_000


class ParquetFile(TableFile):
    """A Parquet file, in which no single row can be damaged: a damaged file is refused."""

    kind = "Parquet"

    def __init__(self, path: Path):
        super().__init__(path)
        # Brackets in a path are brackets, and not a pattern.
        self._frame = _guarded(lambda polars: polars.scan_parquet(self._source(), hive_partitioning=False, glob=False))
        schema = _guarded(lambda polars: self._frame.collect_schema())
        self.columns = schema.names()
        self._nested = {name for name, kind in schema.items() if kind.is_nested()}
        self.numeric = [name for name, kind in schema.items() if kind.is_numeric() or str(kind) == "Boolean"]
        inner = {name: getattr(kind, "inner", None) for name, kind in schema.items()}
        self.lists = [name for name, kind in inner.items() if kind is not None and kind.is_numeric()]

    def _source(self) -> Path | str:
        """What polars opens: the path, or where its name is not UTF-8 that of the open file."""
        try:
            os.fspath(self.path).encode()
        except UnicodeEncodeError:
            file = self.path.open("rb")
            weakref.finalize(self, file.close)
            return f"/dev/fd/{file.fileno()}"
        return self.path

    def head(self, names: Sequence[str]) -> dict[str, list]:
        """Cells of the first rows."""
        present = [name for name in names if name in self.columns]
        rows = _guarded(lambda polars: self._frame.select(present).head(HEAD).collect())
        cells = _guarded(lambda polars: {column.name: _values(column, None, polars) for column in rows})
        return {name: found if isinstance(found, list) else found.tolist() for name, found in cells.items()}

    def _tables(self, names: list[str], notes: ReadingNotes, logprobs: str | None) -> Iterator[Table]:
        frame = self._frame.select([name for name in names if name in self.columns])
        nested = not self._nested.isdisjoint(names)
        start, rows, size = 0, _SLICE_OF_LISTS if nested else _FIRST_SLICE, 0.0
        while True:
            piece = _guarded(lambda polars: frame.slice(start, rows).collect())  # noqa: B023  (called at once)
            is_last = piece.height < rows
            if piece.height == 0:
                return
            row_bytes = _guarded(lambda polars: _row_bytes(piece, polars))  # noqa: B023
            fit = int(min(PIECE, max(1.0, PIECE_BYTES / row_bytes)))
            size += piece.height * row_bytes
            if size > self.max_unpacked * 2**30:
                raise UnreadableError(
                    f"it unpacks to more than {self.max_unpacked:g} GiB (max_unpacked, --max-unpacked)"
                )
            for part in piece.iter_slices(fit):
                columns = _guarded(lambda polars: {c.name: _values(c, logprobs, polars) for c in part})  # noqa: B023
                yield Table(columns, np.arange(start + 1, start + part.height + 1))
                start += part.height
            if is_last:
                return
            rows = rows if nested else fit


def _row_bytes(frame, polars) -> float:
    """Bytes of a row as objects, about: text that equal rows share in the file is counted for each of them."""
    texts = [name for name, kind in frame.schema.items() if kind == polars.String]
    lengths = frame.select(polars.col(polars.String).str.len_bytes().sum()).row(0) if texts else ()
    rest = sum(column.estimated_size() for column in frame if column.name not in texts)
    return max(1.0, (sum(lengths) + rest) / frame.height)


# What a damaged file, or a value of a type that Python has no equal of, raises besides the errors of polars.
_OF_DAMAGED = (OSError, ValueError, TypeError, ArithmeticError, LookupError)


def _guarded(call):
    """Result of a call of polars, whose many errors for a damaged file become one."""
    import polars

    try:
        with _silent():
            return call(polars)
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException, *_OF_DAMAGED) as error:
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


def _values(column, logprobs: str | None, polars) -> np.ndarray | list:
    if column.name == logprobs:
        return np.array(list(map(norm_of, column)))
    if column.dtype == polars.Boolean:
        return column.cast(polars.Float64).to_numpy()
    if column.dtype.is_float():
        return column.to_numpy()
    if column.dtype.is_integer():
        whole = column.cast(polars.Int64, strict=False)
        if whole.null_count() == 0:
            return whole.to_numpy()
    if column.dtype.is_temporal():
        # As its name and its count: Python knows no nanoseconds, and no year 10,000.
        return [None if count is None else f"{column.dtype} {count}" for count in column.to_physical().to_list()]
    if column.dtype == polars.String and len(column) > _FEW:
        return _shared_texts(column, polars)
    # Integers with gaps or of more than 64 bits too: as floats, neighbours beyond 2**53 would become one.
    return column.to_list()


def _shared_texts(column, polars) -> list:
    """Cells of text, of which equal ones are one object: the rollouts of a prompt repeat it."""
    frame = column.to_frame("text").with_row_index("row")
    first = frame.select(polars.col("row").first().over("text")).to_series().to_numpy()
    is_first = first == np.arange(len(first))
    distinct = np.empty(len(first), dtype=object)
    distinct[is_first] = column.filter(polars.Series(is_first)).to_list()
    return distinct[first].tolist()
