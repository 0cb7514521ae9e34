"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["TEMPORARY_SUFFIX", "whole_file"]

TEMPORARY_SUFFIX = ".partial"
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file under a temporary name and rename it once it is complete.

    Parameters
    ----------
    path : path
        Where the file is to appear; its folder is made if need be.

    Yields
    ------
    Path
        Where to write. If the body raises, nothing appears and nothing is left behind.

    Raises
    ------
    OSError
        If the disk is full or broken, by the name of the file, whatever the library that was writing makes of it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY_SUFFIX)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        # On the disk before it has its name, or a power cut could leave the name with nothing behind it.
        with temporary.open("rb") as content:
            os.fsync(content.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if (number := _errno(error)) in _DISK_ERRORS:
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


def _errno(error: BaseException) -> int | None:
    """Number of the system's error, which libraries written in Rust put into their message."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else getattr(error, "errno", None)
