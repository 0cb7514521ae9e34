"""The type of a file, by its content."""

from __future__ import annotations

import codecs
from contextlib import suppress
from pathlib import Path

from kvar.readers.csv_file import CsvFile
from kvar.readers.json_file import JsonFile, is_wrapped
from kvar.readers.json_lines_file import JsonLinesFile, parsed
from kvar.readers.lines import COMPRESSED, first_bytes, first_lines
from kvar.readers.parquet_file import ParquetFile
from kvar.readers.table_file import TableFile, UnreadableError

__all__ = ["FIRST_BYTES", "PARQUET", "is_text", "open_table"]

PARQUET = b"PAR1"
# Bytes that show the type.
FIRST_BYTES = 65_536
_CONTROL = bytes(k for k in range(32) if k not in b"\t\n\r\f\v")
_PICKLE = "a pickle, of PyTorch perhaps: save its samples as JSON Lines with step, prompt and reward"
# What other files begin with, and what to do with them.
_FOREIGN = {
    b"PK\x03\x04": "a PyTorch file or another zip archive: save its samples as JSON Lines with step, prompt and reward",
    **{b"\x80" + bytes([k]): _PICKLE for k in range(2, 6)},
    b"ARROW1": "an Arrow file: write it as Parquet (datasets: to_parquet)",
    b"\xff\xff\xff\xff": "an Arrow stream: write it as Parquet (datasets: to_parquet)",
    b"SQLite format 3": "an SQLite database: export the table of rollouts as CSV",
}


def open_table(path: Path) -> TableFile:
    """Recognise a file by its first bytes."""
    try:
        head = first_bytes(path, FIRST_BYTES)
    except OSError as error:
        raise UnreadableError(f"it cannot be read: {error.strerror or error}") from None
    if not head:
        empty = path.stat().st_size == 0
        raise UnreadableError("it is empty" if empty else "it is compressed, and broken from the start")
    if head.startswith(PARQUET):
        return ParquetFile(path)
    for magic, kind in _FOREIGN.items():
        if head.startswith(magic):
            raise UnreadableError(f"it is {kind}")
    if not is_text(head):
        raise UnreadableError("it is binary and not Parquet")
    first = next((row for row in map(parsed, first_lines(path)) if isinstance(row, dict)), None)
    if first is not None:
        return JsonFile(path, by_line=True) if is_wrapped(first) else JsonLinesFile(path)
    if head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] in (b"[", b"{"):
        with suppress(UnreadableError):
            return JsonFile(path)
    return CsvFile(path)


def is_text(head: bytes) -> bool:
    """Whether a file that begins so is text, plain or compressed; damaged text may have some control characters."""
    return head.startswith(COMPRESSED) or len(head.translate(None, _CONTROL)) >= 0.95 * len(head)
