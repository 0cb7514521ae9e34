"""From repetitions to tables, and from tables to Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from simulations.harness.statistics import Estimate

__all__ = ["estimate_of", "markdown", "row_of", "sample", "summary"]

_ROUNDING = 1e-15


def summary(rows: pl.DataFrame, by: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    """Means over repetitions with their standard errors."""
    means = []
    for name in columns:
        means += [pl.col(name).mean(), (pl.col(name).std() / pl.len().sqrt()).alias(f"{name}_se")]
    return rows.group_by(by, maintain_order=True).agg(*means, pl.len().alias("repetitions"))


def sample(rows: pl.DataFrame, column: str, **where) -> np.ndarray:
    """One number a repetition, in the order of the repetitions."""
    return rows.filter(**where).sort("repetition")[column].to_numpy().astype(np.float64)


def row_of(estimate: Estimate, /, **labels) -> dict:
    """An estimate as a row of a table."""
    return {
        **labels,
        "value": estimate.value,
        "standard_error": estimate.standard_error,
        "repetitions": estimate.repetitions,
    }


def estimate_of(row: Mapping | None) -> Estimate:
    """The estimate that `row_of` made a row of."""
    if row is None:
        return Estimate(math.nan, math.nan, 0)
    return Estimate(row["value"], row["standard_error"], row["repetitions"])


def _cell(value, digits: int = 4) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    # Below the rounding of numbers of order one it is another one on every machine.
    return f"{0.0 if abs(value) < _ROUNDING else value:.{digits}g}"


def markdown(frame: pl.DataFrame, columns: Iterable[str] | None = None) -> str:
    """A table as Markdown, numbers to four digits."""
    errors = [("value", "standard_error"), *((name, f"{name}_se") for name in frame.columns)]
    paired = {name: error for name, error in errors if {name, error} <= set(frame.columns)}
    shown = [name for name in columns or frame.columns if name not in paired.values()]
    lines = [f"| {' | '.join(name.replace('_', ' ') for name in shown)} |", "|---" * len(shown) + "|"]
    for row in frame.iter_rows(named=True):
        texts = [
            f"{_cell(row[name])} ± {_cell(row[paired[name]], 2)}"
            if row.get(paired.get(name)) is not None
            else _cell(row[name])
            for name in shown
        ]
        lines.append(f"| {' | '.join(texts)} |")
    return "\n".join(lines)
