"""Progress bars: one look for everything that takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["progress_bar", "tracked"]

T = TypeVar("T")
Advance = Callable[[int], object]
Describe = Callable[[str], object]


@contextmanager
def progress_bar(
    shown: bool, description: str, total: int | None = None, completed: int = 0
) -> Iterator[tuple[Advance, Describe]]:
    """Show a bar with the time left; yields one function that advances it and one that changes its description."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # Not among the results, which may go into a pipe.
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield lambda n: None, lambda text: None
        return
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, transient=True, console=console) as bar:
        task = bar.add_task(description, total=total, completed=completed)
        yield lambda n: bar.advance(task, n), lambda text: bar.update(task, description=text)


def tracked(items: Iterable[T], description: str, total: int | None = None, completed: int = 0) -> Iterator[T]:
    """Hand out the items under a progress bar; an iterator needs the total."""
    total = len(items) if total is None and hasattr(items, "__len__") else total  # type: ignore[arg-type]
    with progress_bar(True, description, total, completed) as (advance, _):
        for item in items:
            yield item
            advance(1)
