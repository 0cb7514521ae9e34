"""A figure of what was found on the recorded runs, which are kept, as is what was found on them."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

from types import ModuleType
from typing import ClassVar

from paper_figures.exhibit import Exhibit
from paper_figures.recorded_traces import RUNS
from simulations.harness.keyed_results import read_tables


class RecordedRunsExhibit(Exhibit):
    """Tables that a data script has written for the recorded runs; there is one size only.

    Attributes
    ----------
    data : module
        The data script.
    """

    data: ClassVar[ModuleType]

    def tables(self):
        paths = list(RUNS.glob("*.parquet"))
        return read_tables(self.data.OUT.with_suffix(".json"), self.data.parameters(paths))

    def compute(self):
        self.data.main([])
