"""Packages that are not installed, named with the command that brings them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["needs_extra", "new_axes"]


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Name the extra of kvar behind a package that is missing within."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None:  # it says itself what to do
            raise
        package = error.name.partition(".")[0]
        raise ModuleNotFoundError(
            f"{package} is not installed: pip install 'kvar[{extra}]', or in a clone pip install '.[{extra}]'"
        ) from None


def new_axes():
    """Axes of matplotlib in a new figure."""
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError:
        raise ModuleNotFoundError("drawing needs matplotlib: pip install matplotlib") from None
    return plt.subplots()[1]
