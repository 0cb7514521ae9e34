"""Where the recorded runs with exact truth lie, and what the commands that go through all of them ask for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

__all__ = ["RUNS", "asked_for"]

RUNS = Path("recorded_runs")


def asked_for(description: str, out: Path, arguments: Sequence[str] | None) -> tuple[list[Path], Path]:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of Parquet traces")
    parser.add_argument("--out", type=Path, default=out)
    options = parser.parse_args(arguments)
    paths = sorted(options.runs.glob("*.parquet"))
    if not paths:
        parser.error(f"no Parquet trace in {options.runs}")
    return paths, options.out
