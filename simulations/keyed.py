"""Result files that say what they were made with, and are refused where something else is wanted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import kvar
from kvar.files import whole_file

__all__ = ["StaleResultError", "digest", "read_tables", "write_key"]


class StaleResultError(ValueError):
    """Results that are missing, or were made with other parameters or another version."""


def digest(path: Path) -> str:
    """Digest of what a file holds, or all files of a folder.

    Parameters
    ----------
    path : Path
        A file or a folder.

    Returns
    -------
    str
        Hexadecimal, 16 digits.
    """
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    found = hashlib.sha256()
    for file in files:
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:16]


def write_key(path: Path, parameters: Mapping, files: Sequence[Path]) -> None:
    """Write down beside results what they were made with.

    Parameters
    ----------
    path : Path
        The key, a JSON file.
    parameters : mapping
        Plain data: all that the results depend on, but for the version of kvar, which is added.
    files : sequence of Path
        The results, in the folder of the key.
    """
    key = {
        "version": kvar.__version__,
        "parameters": dict(parameters),
        "files": {file.name: digest(file) for file in files},
    }
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(key, indent=2) + "\n")


def read_tables(path: Path, parameters: Mapping) -> dict:
    """Read the tables that belong to a key.

    Parameters
    ----------
    path : Path
        The key.
    parameters : mapping
        What the results must have been made with.

    Returns
    -------
    dict of str to polars.DataFrame
        A table a file, by its name without the suffix.

    Raises
    ------
    StaleResultError
        If there are none, if they were made with other parameters or another version, or if a file is not the one that
        the key was written for.
    """
    import polars

    if not path.exists():
        raise StaleResultError(f"there is no {path}")
    key = json.loads(path.read_text())
    # As JSON has them: tuples are lists.
    wanted = json.loads(json.dumps({"version": kvar.__version__, "parameters": dict(parameters)}))
    for part, value in wanted.items():
        if key[part] != value:
            raise StaleResultError(f"{path} is of {part} {_shortened(key[part])}, not {_shortened(value)}")
    for name, found in key["files"].items():
        if not (path.parent / name).exists() or digest(path.parent / name) != found:
            raise StaleResultError(f"{path.parent / name} is not the file that {path.name} was written for")
    return {Path(name).stem: polars.read_csv(path.parent / name) for name in key["files"]}


def _shortened(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 300 else f"{text[:300]}..."
