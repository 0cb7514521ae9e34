"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["TEMPORARY_SUFFIX", "atomic_write", "atomic_write_text", "lock_folder"]

TEMPORARY_SUFFIX = ".partial"
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file under a temporary name and rename it once it is complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}{TEMPORARY_SUFFIX}")
    # Not by tempfile, whose files only the user may read: the permissions are those of the umask.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        # Flushed to the disk before the rename, or a power cut could leave an empty file under the final name.
        with temporary.open("rb") as content:
            os.fsync(content.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if (number := _errno(error)) in _DISK_ERRORS:
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


def atomic_write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _errno(error: BaseException) -> int | None:
    """Number of the system's error, which libraries in Rust only state in their message."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else getattr(error, "errno", None)


def lock_folder(folder: Path) -> int:
    """Lock a folder for this process, until it ends or closes the file descriptor that is returned."""
    claim = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        import fcntl

        fcntl.lockf(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # pragma: no cover  (no POSIX)
        pass
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            os.close(claim)
            raise FileExistsError(f"another process is writing into {folder}; choose another folder") from None
    return claim
