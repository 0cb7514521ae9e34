"""How files with logs are called."""

from __future__ import annotations

from pathlib import PurePath

__all__ = ["called_like_a_log"]


def called_like_a_log(file: PurePath) -> bool:
    """Whether the name is that of a log; the content decides later."""
    name = file.name.removesuffix(".gz").removesuffix(".zst")
    return name.endswith((".parquet", ".jsonl", ".ndjson", ".csv", ".tsv"))
