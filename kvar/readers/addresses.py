"""Logs at addresses such as ``s3://bucket/run``, or in memory, as files of this machine while they are read."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from glob import has_magic
from pathlib import Path, PurePosixPath
from typing import Any

from kvar.readers.file_types import FIRST_BYTES, PARQUET, is_text, open_table
from kvar.readers.log_names import called_like_a_log
from kvar.readers.parquet_file import ParquetFile
from kvar.readers.table_file import TableFile
from kvar.utils.frames import is_frame, to_polars

__all__ = ["LocalCopy", "is_address", "local_copy"]

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
# Transfers at a time.
_THREADS = 16
# Files without the name of a log of which the beginning is looked at.
_SHOWN = 20
_FOOTER = 65_536
# Parts of a file with less than so many bytes between them are moved as one.
_GAP = 65_536


def is_address(path: str | os.PathLike) -> bool:
    """Whether this is an address and no path on this machine."""
    return _ADDRESS.match(os.fspath(path)) is not None


class LocalCopy:
    """Where the files of a log are on this machine, and how they are opened."""

    def __init__(self, path: str | os.PathLike):
        self.path: str | os.PathLike = path
        self.source = os.fspath(path)  # Where it comes from, for messages
        self._parquet: dict[Path, _RemoteParquet] = {}

    def __fspath__(self) -> str:
        """Where it comes from."""
        return self.source

    def chosen(self, files: list[Path]) -> list[Path]:
        """The files that are read, of those that are there."""
        return files

    def open(self, file: Path) -> TableFile:
        """Open one of the files."""
        return _ParquetCopy(file, self._parquet[file]) if file in self._parquet else open_table(file)

    def prepare(self, tables: Sequence[tuple[TableFile, Sequence[str]]]) -> None:
        """Bring columns of several files here at once, if they are elsewhere."""
        if self._parquet:
            _at_once(lambda table: table[0].prepare(table[1]), tables)


@contextmanager
def local_copy(log: Any) -> Iterator[LocalCopy]:
    """A log on this machine: a path as it is, an address or a table in a temporary folder; a copy is taken as it is.

    Text files are moved as a whole, and of Parquet files the columns that are read.
    """
    if isinstance(log, LocalCopy):
        yield log
        return
    in_memory = not isinstance(log, (str, os.PathLike))
    if in_memory and not is_frame(log):
        raise TypeError(
            f"a log is a path, an address or a DataFrame, got {type(log).__name__}; for arrays kvar.Trace.from_columns"
        )
    if not in_memory and not is_address(log):
        yield LocalCopy(log)
        return
    with tempfile.TemporaryDirectory(prefix="kvar-") as folder:
        yield _FrameCopy(log, Path(folder)) if in_memory else _RemoteCopy(os.fspath(log), Path(folder))


class _FrameCopy(LocalCopy):
    def __init__(self, frame, folder: Path):
        # Messages call a file by its name.
        super().__init__(folder / "DataFrame")
        to_polars(frame).write_parquet(folder / "DataFrame")
        self.source = "the DataFrame"


class _RemoteCopy(LocalCopy):
    def __init__(self, address: str, folder: Path):
        system, root = _connect(address)
        sizes, top = _guarded(address, lambda: _listed(system, root))
        # Names are no paths here: an address has two slashes.
        inside = {PurePosixPath(name.removeprefix(top).partition("?")[0].lstrip("/")): name for name in sizes}
        names = _chosen(list(inside))
        if not names:
            raise FileNotFoundError(f"No rollout log at {address} (looked for .parquet, .jsonl, .csv).")
        # Under the whole of its name, which may tell the step.
        here = folder / top.partition("://")[2 if "://" in top else 0].lstrip("/")
        pattern = os.path.join(here, "**", "*")
        super().__init__(here / names[0] if root in sizes else pattern if has_magic(root) else here)
        self.source = address

        def bring(name: PurePosixPath) -> tuple[Path, _RemoteParquet | None]:
            return _bring(system, inside[name], sizes[inside[name]], here / name)

        found = _guarded(address, lambda: _at_once(bring, names))
        self._parquet = {place: remote for place, remote in found if remote is not None}


def _connect(address: str) -> tuple[Any, str]:
    def connect():
        import fsspec

        return fsspec.url_to_fs(address)

    system, root = _guarded(address, connect)
    return system, root.rstrip("/")


def _guarded(address: str, call: Callable):
    """Result of a call, whose errors, which are different for every protocol, become one that names the address."""
    try:
        return call()
    except FileNotFoundError:
        raise FileNotFoundError(f"No file or folder at {address}.") from None
    except ImportError as error:
        raise ValueError(
            f"{address} cannot be read: {error}. pip install 'kvar[remote]' brings what s3:// needs; other protocols "
            "need the package of fsspec that has them"
        ) from None
    except ValueError as error:
        raise ValueError(f"{address} cannot be read: {error}") from None
    except Exception as error:
        raise OSError(f"{address} cannot be read: {type(error).__name__}: {error}") from error


def _listed(system, root: str) -> tuple[dict[str, int | None], str]:
    """Sizes of the files at a place, None where unknown, and the folder that they lie in."""
    if system.isfile(root):
        found, top = {root: system.info(root)}, root.rpartition("/")[0]
    elif has_magic(root):
        found, top = system.glob(root, detail=True), root
        while has_magic(top):
            top = top.rpartition("/")[0]
    else:
        found, top = system.find(root, detail=True), root
        if not found and not system.exists(root):
            raise FileNotFoundError(root)
    return {name: info.get("size") for name, info in found.items() if info["type"] == "file"}, top


def _chosen(names: list[PurePosixPath]) -> list[PurePosixPath]:
    # None that leads out of its folder either.
    visible = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    if len(visible) == 1:
        return visible
    return [name for name in visible if called_like_a_log(name) or name.suffix == ".json"] or sorted(visible)[:_SHOWN]


def _bring(system, name: str, size: int | None, place: Path) -> tuple[Path, _RemoteParquet | None]:
    """Bring a file here: of Parquet the footer, of text everything, of anything else what shows what it is."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if size is None:
        system.get_file(name, str(place))
        return place, None
    head = system.cat_file(name, start=0, end=min(size, FIRST_BYTES))
    if len(head) < size and head.startswith(PARQUET):
        return place, _RemoteParquet(system, name, size, place)
    if len(head) < size and is_text(head):
        system.get_file(name, str(place))
    else:
        place.write_bytes(head)
    return place, None


class _RemoteParquet:
    """A Parquet file elsewhere, whose copy here has gaps where nothing has been brought yet."""

    def __init__(self, system, name: str, size: int, place: Path):
        self._system, self._name, self._place = system, name, place
        self._here: set[tuple[int, str]] = set()
        tail = system.cat_file(name, start=max(0, size - _FOOTER), end=size)
        length = min(size, int.from_bytes(tail[-8:-4], "little") + 8)
        if length > len(tail):
            tail = system.cat_file(name, start=size - length, end=size)
        with place.open("wb") as file:
            file.write(PARQUET)
            file.seek(size - len(tail))
            file.write(tail)

    def _move(self, names: list[str], starts: list[int], ends: list[int]) -> list[bytes]:
        return _guarded(self._name, lambda: self._system.cat_ranges(names, starts, ends) if names else [])

    def bring(self, columns: Sequence[str], first_only: bool = False) -> None:
        """Bring columns here, of the first group of rows or of all."""
        from fsspec.utils import merge_offset_ranges
        from pyarrow.parquet import read_metadata

        metadata = read_metadata(self._place)
        for group in range(min(1, metadata.num_row_groups) if first_only else metadata.num_row_groups):
            wanted = [name for name in columns if (group, name) not in self._here]
            chunks = [metadata.row_group(group).column(k) for k in range(metadata.num_columns)]
            starts, ends = [], []
            for chunk in chunks:
                if any(chunk.path_in_schema == name or chunk.path_in_schema.startswith(f"{name}.") for name in wanted):
                    starts.append(min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset))))
                    ends.append(starts[-1] + chunk.total_compressed_size)
            names, starts, ends = merge_offset_ranges([self._name] * len(starts), starts, ends, max_gap=_GAP)
            parts = self._move(names, starts, ends)
            with self._place.open("r+b") as file:
                for start, part in zip(starts, parts, strict=True):
                    file.seek(start)
                    file.write(part)
            self._here.update((group, name) for name in wanted)


class _ParquetCopy(ParquetFile):
    """The copy of a Parquet file that is elsewhere."""

    def __init__(self, path: Path, remote: _RemoteParquet):
        self._remote = remote
        super().__init__(path)

    def prepare(self, names: Sequence[str]) -> None:
        """Bring columns here."""
        self._remote.bring(names)

    def head(self, names: Sequence[str]) -> dict[str, list]:
        """Cells of the first rows."""
        self._remote.bring(names, first_only=True)
        return super().head(names)

    def _tables(self, names, notes, logprobs):
        self._remote.bring(names)
        return super()._tables(names, notes, logprobs)


def _at_once(call: Callable, items: Sequence) -> list:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(call, items))
