"""Text files line by line, plain or compressed, up to where they are cut off."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from kvar.readers.table_file import MAX_UNPACKED, UnreadableError

__all__ = [
    "COMPRESSED",
    "LONGEST",
    "TOO_LONG",
    "CutFileError",
    "chunks",
    "first_bytes",
    "first_lines",
    "line_blocks",
    "lines",
    "whole_lines",
]

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
COMPRESSED = (_GZIP, _ZSTD)
# Longer lines are no rollouts, and would be in memory as a whole.
LONGEST = 64 * 2**20
# What stands for such a line: no format takes it for a row.
TOO_LONG = b"\0 longer than 64 MiB"
# So many empty lines in a row are no log, but a file made to cost time.
_MOST_EMPTY = 2**20
# Bytes that are read at a time.
_AT_ONCE = 2**20
# A kilobyte of zstd unpacks to 32 MiB at most, so that no call fills the memory.
_PACKED = 1024


class CutFileError(Exception):
    """A compressed file that is cut off or damaged in the middle."""


def _open(path: Path) -> io.BufferedIOBase:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic.startswith(_GZIP):
        return gzip.open(path, "rb")
    if magic == _ZSTD:
        return io.BufferedReader(_Zstd(path))
    return path.open("rb")


class _Zstd(io.RawIOBase):
    """Frames of zstd one after the other; the library's own reader does not report that the last one is cut off."""

    def __init__(self, path: Path):
        import zstandard

        self._new = zstandard.ZstdDecompressor().decompressobj
        self._error = zstandard.ZstdError
        self._file = path.open("rb")
        self._frame: Any = self._new()
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self._ready:
            packed = self._rest or self._file.read(_PACKED)
            if not packed:
                if self._frame is not None:
                    raise EOFError("the last zstd frame is cut off")
                return 0
            self._frame, self._rest = self._frame or self._new(), b""
            try:
                self._ready = memoryview(self._frame.decompress(packed))
            except self._error as error:
                raise EOFError(str(error)) from None
            if self._frame.eof:
                self._frame, self._rest = None, self._frame.unused_data
        number = min(len(buffer), len(self._ready))
        # A view: to copy what is left, once for every buffer, would take quadratic time.
        buffer[:number], self._ready = self._ready[:number], self._ready[number:]
        return number

    def close(self) -> None:
        self._file.close()
        super().close()


_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile)


def first_bytes(path: Path, number: int) -> bytes:
    """First bytes of a file, uncompressed."""
    parts = []
    try:
        with _open(path) as file:
            while number > 0 and (part := file.read1(min(number, 8192))):
                parts.append(part)
                number -= len(part)
    except _BROKEN:
        pass
    return b"".join(parts)


def chunks(path: Path, max_unpacked: float = MAX_UNPACKED) -> Iterator[bytes]:
    """Read a file in pieces of a megabyte at most; a compressed one up to so many GiB."""
    return _pieces(path, max_unpacked, lambda file: file.read1(_AT_ONCE))


def whole_lines(path: Path, size: int) -> int:
    """Where the last line ends that has an end, among the first bytes of a plain file; 0 if there is none."""
    with path.open("rb") as file:
        while size > 0:
            start = max(size - 2**16, 0)
            file.seek(start)
            if (end := file.read(size - start).rfind(b"\n")) >= 0:
                return start + end + 1
            size = start
    return 0


def lines(path: Path, max_unpacked: float = MAX_UNPACKED, span: tuple[int, int] | None = None) -> Iterator[bytes]:
    """Read a file line by line, in time that grows with its bytes; a compressed one up to so many GiB.

    Of a plain file a span may be read, from one byte up to another.
    """
    for block in line_blocks(path, max_unpacked, span):
        yield from block


def line_blocks(
    path: Path, max_unpacked: float = MAX_UNPACKED, span: tuple[int, int] | None = None
) -> Iterator[list[bytes]]:
    """As `lines`, some neighbouring lines at a time."""
    n_empty, size = 0, 0
    held: list[bytes] = []  # The beginning of a line whose end is in a later piece; of one that is too long, nothing

    def whole(end: bytes) -> bytes:
        return TOO_LONG if size + len(end) >= LONGEST else b"".join([*held, end]).rstrip(b"\r")

    for piece in chunks(path, max_unpacked) if span is None else _span(path, *span):
        *block, rest = piece.split(b"\n")
        if block:
            first, held, size = whole(block[0]), [], 0
            if b"\r" in piece or len(piece) >= LONGEST:
                block = list(map(whole, block))
            block[0] = first
            if b"" not in block:
                n_empty = 0
            else:
                for k, line in enumerate(block):
                    n_empty = 0 if line else n_empty + 1
                    if n_empty > _MOST_EMPTY:
                        yield block[:k]
                        raise UnreadableError(f"more than {_MOST_EMPTY:,} empty lines follow each other in it")
            yield block
        size += len(rest)
        held = [*held, rest] if size < LONGEST else []
    if size:
        yield [whole(b"")]


def _span(path: Path, start: int, stop: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while start < stop and (piece := file.read(min(_AT_ONCE, stop - start))):
            start += len(piece)
            yield piece


def _pieces(path: Path, max_unpacked: float, read: Callable[[Any], bytes]) -> Iterator[bytes]:
    """What a reading function gives until the file ends."""
    size = 0
    try:
        with _open(path) as file:
            most = math.inf if _is_plain(file) else max_unpacked * 2**30
            while piece := read(file):
                size += len(piece)
                if size > most:
                    raise UnreadableError(
                        f"it unpacks to more than {max_unpacked:g} GiB (max_unpacked, --max-unpacked)"
                    )
                yield piece
    except _BROKEN as error:
        raise CutFileError(str(error)) from None
    except OSError as error:
        raise UnreadableError(f"it cannot be read: {error.strerror or error}") from None


def _is_plain(file: io.BufferedIOBase) -> bool:
    return isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO)


def first_lines(path: Path, number: int = 50) -> Iterator[bytes]:
    """First lines of a text file: a rollout may be longer than any fixed number of bytes."""
    size = 0
    with suppress(CutFileError):
        for line in islice(lines(path), number):
            yield line
            size += len(line)
            if size > LONGEST:
                return
