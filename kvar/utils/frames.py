"""Tables of pandas, polars and other libraries, all of them read by way of narwhals, and only when one arrives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars

__all__ = ["columns_of", "is_frame", "to_polars"]


def is_frame(thing: object) -> bool:
    """Whether this is a table of a library that narwhals knows."""
    import narwhals

    return isinstance(narwhals.from_native(thing, pass_through=True), (narwhals.DataFrame, narwhals.LazyFrame))


def to_polars(frame: Any) -> polars.DataFrame:
    """A table as one of polars, the index of pandas as columns if it has a name."""
    import narwhals
    import polars

    if narwhals.dependencies.is_pandas_dataframe(frame) and any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    table = narwhals.from_native(frame)
    if isinstance(table, narwhals.LazyFrame):
        table = table.collect()
    return polars.DataFrame([_column(table, name) for name in table.columns])


def _column(table: Any, name: str) -> polars.Series:
    """One column; a ValueError names it if it cannot be converted."""
    import polars

    try:
        column = table.select(name).to_polars().to_series()
    except ImportError as error:
        raise ImportError(f"column {name!r} of the DataFrame needs pyarrow: pip install pyarrow ({error})") from None
    except Exception as error:  # of whichever library the table is of
        reason = str(error)
    else:
        if column.dtype != polars.Object:
            return column
        reason = "it holds Python objects"
    raise ValueError(f"column {name!r} of the DataFrame cannot be read: {reason}; drop it or convert it to text")


def columns_of(table: Any) -> Mapping[str, Any]:
    """The columns of a table by name, numbers as arrays and anything else as lists; a mapping as it is."""
    if isinstance(table, Mapping):
        return table
    return {
        column.name: column.to_numpy() if column.dtype.is_numeric() else column.to_list() for column in to_polars(table)
    }
