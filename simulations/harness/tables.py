"""From repetitions to tables, and from tables to Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from kvar.utils.markdown import markdown_table
from simulations.harness.statistics import MonteCarloEstimate

__all__ = ["estimate_of", "markdown", "row_of", "sample", "summary"]

_ROUNDING = 1e-15


def summary(rows: pl.DataFrame, by: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    """Means over repetitions, with standard errors in columns that end in ``_se``."""
    means = []
    for name in columns:
        means += [pl.col(name).mean(), (pl.col(name).std() / pl.len().sqrt()).alias(f"{name}_se")]
    return rows.group_by(by, maintain_order=True).agg(*means, pl.len().alias("repetitions"))


def sample(rows: pl.DataFrame, column: str, **where) -> np.ndarray:
    """One number a repetition, in the order of the repetitions."""
    return (rows.filter(**where) if where else rows).sort("repetition")[column].to_numpy().astype(np.float64)


def row_of(estimate: MonteCarloEstimate, /, **labels) -> dict:
    """An estimate as a row of a table."""
    return {
        **labels,
        "value": estimate.value,
        "standard_error": estimate.standard_error,
        "repetitions": estimate.repetitions,
    }


def estimate_of(row: Mapping | None) -> MonteCarloEstimate:
    """The estimate in a row made by `row_of`; unknown, with NaN, where there is no row."""
    if row is None:
        return MonteCarloEstimate(math.nan, math.nan, 0)
    return MonteCarloEstimate(row["value"], row["standard_error"], row["repetitions"])


def _cell(value, digits: int = 4) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    # Below the rounding error of numbers of order one, digits differ between machines.
    return f"{0.0 if abs(value) < _ROUNDING else value:.{digits}g}"


def markdown(frame: pl.DataFrame) -> str:
    """A table as Markdown: numbers to four digits, each followed by its standard error."""
    errors = [("value", "standard_error"), *((name, f"{name}_se") for name in frame.columns)]
    error_of = {name: error for name, error in errors if {name, error} <= set(frame.columns)}
    shown = [name for name in frame.columns if name not in error_of.values()]

    def text(row, name) -> str:
        error = row.get(error_of.get(name))
        return _cell(row[name]) if error is None else f"{_cell(row[name])} ± {_cell(error, 2)}"

    rows = [[text(row, name) for name in shown] for row in frame.iter_rows(named=True)]
    return markdown_table([name.replace("_", " ") for name in shown], rows)
