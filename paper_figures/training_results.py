"""Results of training runs that take hours: read where they were left, or from what is kept of them."""

from __future__ import annotations

from pathlib import Path

from simulations.harness.keyed_results import StaleResultError

__all__ = ["found"]

_FOLDERS = (Path("results"), Path("docs"))


def found(name: str, command: str) -> Path:
    """Where the results of a command are."""
    for folder in _FOLDERS:
        if (folder / name).exists():
            return folder / name
    raise StaleResultError(f"there is no {_FOLDERS[0] / name}; it is made in hours by: {command}")
