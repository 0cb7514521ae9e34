"""What command lines print: harmless on every terminal, and lost by no broken pipe or poor encoding."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

__all__ = ["is_narrow", "new_table", "open_console", "printing", "tolerant_streams", "visible"]

# In a pipe nothing needs to fit a screen, and a sentence stays on one line.
_PIPE_WIDTH = 10_000
# A narrower terminal has no room to spare between columns.
_WIDE = 100
# Longer names are folded.
_NAME_WIDTH = 20


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


def open_console():
    """A console of rich, as wide as the terminal, or in a pipe as wide as any line."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def is_narrow(console) -> bool:
    """Whether there is no room to spare between columns."""
    return console.width < _WIDE


def new_table(console, heads: Sequence[str], names: Iterable[str], text: Collection[str] = (), **look):
    """A table with boxes on a terminal only.

    Its first column has the names, which are folded where they are long and never cut. The others are numbers, except
    those whose heads are in `text`.
    """
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.HEAVY_HEAD if console.is_terminal else None,
        padding=0 if is_narrow(console) else (0, 1),
        show_edge=not is_narrow(console),
        caption_justify="left",
        **look,
    )
    longest = max(map(len, (heads[0], *names)))
    # A column of fixed width keeps it where the others have to give way; with a least width the table would be cut.
    width = min(longest, _NAME_WIDTH) if is_narrow(console) else None
    table.add_column(heads[0], overflow="fold", width=width)
    for head in heads[1:]:
        table.add_column(head, justify="left" if head in text else "right", overflow="fold")
    return table
