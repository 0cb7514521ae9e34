"""The cells of the study of coverage that missed, with more repetitions."""

# ruff: noqa: D102  (the methods are documented in Study)
from __future__ import annotations

from typing import ClassVar

import polars as pl

from simulations.harness.statistics import Claim
from simulations.harness.tables import summary
from simulations.studies.coverage import Coverage, CoverageConfig

__all__ = ["CoverageDoubtful"]

# Responses and true rates of the means that look back and had less than 93 % at the end.
_RATES = ((50, 0.01), (200, 0.1), (200, 0.3), (200, 0.9), (1000, 0.9))


class CoverageDoubtful(Coverage):
    """How often the 95 % bands contain the true curve where the study of coverage, with 600 repetitions, found misses.

    Heteroscedastic noise and 50 observations, means and lines, with ``noise="local"``: a line at an end had 98.2 %.
    Five rates at the selected bandwidth, looking back, from 91.8 to 92.5 % at the end. The bias-corrected band of a
    line that looks back at a peak with 1,000 observations: 90.7 % at the end. The repetitions are new ones.
    """

    name: ClassVar[str] = "coverage-doubtful"
    title: ClassVar[str] = "Do the confidence bands cover where they seemed not to?"
    full: ClassVar[CoverageConfig] = CoverageConfig(repetitions=2000, block=100)
    quick: ClassVar[CoverageConfig] = CoverageConfig(repetitions=40, block=20)

    def cells(self):
        rates = [{"part": "rates", "bandwidth": "selected", "design": "past-only", "n": n, "p": p} for n, p in _RATES]
        return [
            {"part": "noise", "bandwidth": "fixed", "noise": "heteroscedastic", "n": 50},
            {"part": "curves", "bandwidth": "selected", "curve": "peak", "design": "past-only", "degree": 1, "n": 1000},
            *rates,
        ]  # fmt: skip

    def tables(self, rows):
        by = ["part", "noise", "curve", "p", "n", "degree", "band", "place"]
        missing = [pl.lit(None).alias(name) for name in by if name not in rows.columns]
        every = summary(rows.with_columns(*missing), by, ["covered", "width"])
        return {"cells": every.rename({"covered": "coverage", "covered_se": "coverage_se"})}

    def claims(self, tables):
        # The plain band covers a curve less often than it says.
        cells = tables["cells"].filter((pl.col("part") != "curves") | (pl.col("band") == "corrected"))
        slack = 2.0 * pl.col("coverage_se")
        least = pl.when(pl.col("part") == "curves").then(0.92).otherwise(0.93)
        near = cells.filter(pl.col("coverage").is_between(least - slack, 0.97 + slack)).height
        statement = "Cells with coverage from 93 to 97 % (a curve: 92 to 97 %), give or take two errors"
        return [Claim.fraction(statement, near, cells.height, 1.0)]

    def remarks(self, tables):
        return []

    def pictures(self, tables):
        return {}
