"""What command lines print: harmless on every terminal, and lost by no broken pipe or poor encoding."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["printing", "tolerant_streams", "visible"]


def visible(text: str) -> str:
    """The text with everything that does not print as an escape: control characters, bytes that are no UTF-8."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def tolerant_streams() -> None:
    """Print question marks for what the encoding of the terminal lacks."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


@contextmanager
def printing() -> Iterator[None]:
    """Stop printing without an error once nobody reads, as in ``| head``."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
