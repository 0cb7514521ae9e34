"""The type of a file, by its content."""

from __future__ import annotations

from pathlib import Path

from kvar.readers.csv_file import CsvFile
from kvar.readers.json_lines_file import JsonLinesFile, parsed
from kvar.readers.lines import first_bytes, first_lines
from kvar.readers.parquet_file import ParquetFile
from kvar.readers.table_file import TableFile, UnreadableError

__all__ = ["open_table"]

_PARQUET = b"PAR1"
_CONTROL = bytes(k for k in range(32) if k not in b"\t\n\r\f\v")


def open_table(path: Path) -> TableFile:
    """Recognise a file by its first bytes."""
    try:
        head = first_bytes(path)
    except OSError as error:
        raise UnreadableError(f"it cannot be read: {error.strerror or error}") from None
    if not head:
        empty = path.stat().st_size == 0
        raise UnreadableError("it is empty" if empty else "it is compressed, and broken from the start")
    if head.startswith(_PARQUET):
        return ParquetFile(path)
    # Text has few control characters; damaged text may have some.
    if len(head.translate(None, _CONTROL)) < 0.95 * len(head):
        raise UnreadableError("it is binary and not Parquet")
    if any(isinstance(parsed(line), dict) for line in first_lines(path)):
        return JsonLinesFile(path)
    return CsvFile(path)
