"""A figure of a benchmark whose table is kept in docs/; it states its sizes in its columns."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from paper_figures.exhibit import Exhibit
from simulations.harness.keyed_results import StaleResultError


class KeptBenchmark(Exhibit):
    """A table of a benchmark.

    Attributes
    ----------
    path : Path
        The table.
    command : str
        What makes it.
    columns : tuple of str
        What it must have.
    """

    path: ClassVar[Path]
    command: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    def tables(self):
        import polars as pl

        if not self.path.exists():
            raise StaleResultError(f"there is no {self.path}")
        frame = pl.read_csv(self.path)
        if missing := set(self.columns) - set(frame.columns):
            raise StaleResultError(f"{self.path} lacks the columns {', '.join(sorted(missing))}")
        return {self.path.stem: frame}

    def compute(self):
        raise StaleResultError(f"{self.path} comes from a benchmark on a quiet machine: {self.command}")
