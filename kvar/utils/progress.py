"""One progress bar for what takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(
    shown: bool, what: str, total: int | None = None
) -> Iterator[tuple[Callable[[int], object], Callable[[str], object]]]:
    """Show how far a piece of work is, and the time that is left."""
    if not shown:
        yield lambda n: None, lambda what: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda n: bar.advance(task, n), lambda what: bar.update(task, description=what)
