"""Results of training runs that take hours: read where they were left, or from what is kept of them."""

from __future__ import annotations

from pathlib import Path

from simulations.keyed import StaleResultError

__all__ = ["found"]

_FOLDERS = (Path("results"), Path("docs"))


def found(name: str, command: str) -> Path:
    """Where the results of a command are.

    Parameters
    ----------
    name : str
        Path below results/ or docs/.
    command : str
        What makes them.

    Returns
    -------
    Path
        The file; what was made here goes before what is kept in docs/.

    Raises
    ------
    StaleResultError
        If it is in neither.
    """
    for folder in _FOLDERS:
        if (folder / name).exists():
            return folder / name
    raise StaleResultError(f"there is no {_FOLDERS[0] / name}; it is made in hours by: {command}")
