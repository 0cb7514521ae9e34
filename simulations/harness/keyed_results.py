"""Result files with a key of the version and parameters that made them; a reader that wants others refuses them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import kvar
from kvar.utils.atomic_files import atomic_write_text

__all__ = ["StaleResultError", "digest", "read_tables", "write_key"]


class StaleResultError(ValueError):
    """Results that are missing, or were made with other parameters or another version."""


def digest(path: Path) -> str:
    """Digest of the contents of a file, or of all files in a folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    found = hashlib.sha256()
    for file in files:
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:16]


def write_key(path: Path, parameters: Mapping, files: Sequence[Path]) -> None:
    """Write the key of some result files: version, parameters, and a digest of each file."""
    key = {
        "version": kvar.__version__,
        "parameters": dict(parameters),
        "files": {file.name: digest(file) for file in files},
    }
    atomic_write_text(path, json.dumps(key, indent=2) + "\n")


def read_tables(path: Path, parameters: Mapping) -> dict:
    """Read the tables that a key names, by their file names; refuse them if they are of other parameters."""
    import polars

    if not path.exists():
        raise StaleResultError(f"there is no {path}")
    key = json.loads(path.read_text())
    # Through JSON, which turns tuples into lists.
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
