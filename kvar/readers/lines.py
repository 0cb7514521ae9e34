"""Text files line by line, plain or compressed, up to where they are cut off."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

__all__ = ["CutFileError", "chunks", "first_bytes", "first_lines", "lines"]

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# Longer lines are no rollouts, and would be in memory as a whole.
LONGEST = 64 * 2**20


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
        self._rest = self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self._ready:
            packed = self._rest or self._file.read(65_536)
            if not packed:
                if self._frame is not None:
                    raise EOFError("the last zstd frame is cut off")
                return 0
            self._frame, self._rest = self._frame or self._new(), b""
            try:
                self._ready = self._frame.decompress(packed)
            except self._error as error:
                raise EOFError(str(error)) from None
            if self._frame.eof:
                self._frame, self._rest = None, self._frame.unused_data
        number = min(len(buffer), len(self._ready))
        buffer[:number], self._ready = self._ready[:number], self._ready[number:]
        return number

    def close(self) -> None:
        self._file.close()
        super().close()


_BROKEN = (EOFError, zlib.error, gzip.BadGzipFile)


def first_bytes(path: Path, number: int = 65_536) -> bytes:
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


def chunks(path: Path, number: int = 2**20) -> Iterator[bytes]:
    """Read a file in pieces of so many bytes at most, uncompressed."""
    try:
        with _open(path) as file:
            while part := file.read1(number):
                yield part
    except _BROKEN as error:
        raise CutFileError(str(error)) from None


def lines(path: Path) -> Iterator[bytes]:
    """Read a file line by line."""
    try:
        with _open(path) as file:
            while line := file.readline(LONGEST):
                yield line.rstrip(b"\r\n")
    except _BROKEN as error:
        raise CutFileError(str(error)) from None


def first_lines(path: Path, number: int = 50) -> Iterator[bytes]:
    """First lines of a text file: a rollout may be longer than any fixed number of bytes."""
    with suppress(CutFileError):
        yield from islice(lines(path), number)
