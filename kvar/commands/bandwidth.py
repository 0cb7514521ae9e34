"""``kvar bandwidth FILE``: the bandwidth for two columns of a table, by every method, as a table and a picture.

Needs the extra ``report``; nothing in the core imports this module.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvar.kernels import kernel_names
from kvar.smoothing.bands import response_bounds
from kvar.smoothing.bandwidth import BandwidthSelection, bandwidth_methods, select_bandwidth
from kvar.utils.terminal import new_table, open_console, printing, visible

if TYPE_CHECKING:
    import polars

__all__ = ["MethodOutcome", "bandwidth_command", "compare_methods", "draw", "read_columns"]

_READERS = {".csv": "read_csv", ".parquet": "read_parquet", ".jsonl": "read_ndjson", ".ndjson": "read_ndjson"}


@dataclass(frozen=True)
class MethodOutcome:
    """The result of one method."""

    method: str  # Its name
    selection: BandwidthSelection | None  # Its choice; None where it does not apply
    note: str  # A warning, or why there is no choice; empty if neither


def read_columns(path: Path, columns: list[str]) -> tuple[polars.DataFrame, int]:
    """The columns, the first two as numbers, and how many rows were left out since one of these is not finite.

    Dates and durations in the first column come in seconds.
    """
    import polars as pl

    if not path.is_file():
        raise FileNotFoundError(f"no file called {path}")
    if path.suffix.lower() not in _READERS:
        raise ValueError(f"{path.name}: unknown kind of file; expected one of {', '.join(_READERS)}")
    try:
        return _complete(path, columns)
    except pl.exceptions.PolarsError as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path.name} cannot be read as a table of numbers: {first}") from None


def _complete(path: Path, columns: list[str]) -> tuple[polars.DataFrame, int]:
    import polars as pl

    # A CSV does not name the types of its columns, and the first text may come after any number of rows.
    options = {"infer_schema_length": None} if path.suffix.lower() == ".csv" else {}
    table = getattr(pl, _READERS[path.suffix.lower()])(path, **options)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(f"{path.name} has no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    # polars does not read " 2" as a number.
    text = [name for name in columns[:2] if table.schema[name] == pl.String]
    table = table.with_columns(pl.col(name).str.strip_chars() for name in text)
    if table.schema[columns[1]].is_temporal():
        raise ValueError(f"{path.name}: {columns[1]} holds dates; only the column of x may")
    table = table.with_columns(_in_seconds(columns[0], table.schema[columns[0]]))
    numbers = [pl.col(name).cast(pl.Float64, strict=False) for name in columns[:2]]
    complete = table.select(*numbers, *columns[2:]).drop_nulls(columns[:2])
    complete = complete.filter(pl.all_horizontal(pl.col(columns[:2]).is_finite()))
    if complete.is_empty():
        raise ValueError(f"{path.name}: none of its {len(table)} rows has a number in {' and in '.join(columns[:2])}")
    return complete, len(table) - len(complete)


def _in_seconds(name, kind):
    """A column of polars, dates in seconds since 1970 and durations in seconds."""
    import polars as pl

    per_second = {"ms": 1e3, "us": 1e6, "ns": 1e9}
    if kind == pl.Date:
        return pl.col(name).to_physical() * 86_400.0
    if kind == pl.Time:
        return pl.col(name).to_physical() / 1e9
    return pl.col(name).to_physical() / per_second[kind.time_unit] if kind.is_temporal() else pl.col(name)


def holds_dates(path: Path, column: str) -> bool:
    """Whether the column of a Parquet file, the only kind with types of its own, holds dates or durations."""
    import polars as pl

    return path.suffix.lower() == ".parquet" and pl.read_parquet_schema(path)[column].is_temporal()


def compare_methods(x, y, *, kernel: str, degree: int, sided: str, groups=None) -> list[MethodOutcome]:
    """The outcome of every method."""
    outcomes = []
    for method in bandwidth_methods():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                chosen = select_bandwidth(x, y, method, kernel, degree, sided=sided, groups=groups)
            except ValueError as reason:
                outcomes.append(MethodOutcome(method, None, str(reason)))
                continue
        at_end = any("end of the admissible grid" in str(warning.message) for warning in caught)
        note = "at the end of the grid" if at_end else "set by one observation" if chosen.at_edge else ""
        outcomes.append(MethodOutcome(method, chosen, note))
    return outcomes


def draw(
    x, y, chosen: BandwidthSelection, path: Path, *, x_name: str, y_name: str, single_series: bool = True, bounds=None
) -> None:
    """Save a picture: the scores over the grid and, for a single series, the data with the fit and its limits."""
    import numpy as np
    from matplotlib.figure import Figure

    from kvar import plotting
    from kvar.smoothing.regression import KernelRegressor

    figure = Figure(figsize=(10.0 if single_series else 5.0, 4.0), layout="constrained")
    axes = figure.subplots(1, 2 if single_series else 1, squeeze=False)[0]
    chosen.plot(axes[0])
    if single_series:
        model = KernelRegressor(chosen.kernel, chosen.bandwidth, chosen.degree, chosen.sided).fit(x, y)
        at = np.linspace(x.min(), x.max(), 300)
        axes[1].plot(x, y, ".", color="0.7", markersize=3, zorder=0)
        axes[1].plot(at, model.predict(at), color="C0", label="fit")
        corrected = chosen.degree < 2
        for label, together, alpha in (("95 % limits at each x", False, 0.3), ("at all x at once", True, 0.15)):
            band = model.confidence_band(
                at, noise="local", bounds=bounds or "auto", bias_corrected=corrected, simultaneous=together
            )
            axes[1].fill_between(at, band.lower, band.upper, color="C0", alpha=alpha, linewidth=0.0, label=label)
        axes[1].set_xlabel(x_name)
        axes[1].set_ylabel(y_name)
        axes[1].legend(title="limits are bias-corrected" if corrected else None, frameon=False)
    plotting.save(figure, path)


def _print_table(outcomes: list[MethodOutcome]) -> None:
    from rich.markup import escape

    console = open_console()
    applied = [(one, one.selection) for one in outcomes if one.selection is not None]
    heads = ["method", "bandwidth", "score", "note"]
    table = new_table(console, heads, [one.method for one, _ in applied], text=["note"])
    for one, selection in applied:
        numbers = f"{selection.bandwidth:.4g}", f"{selection.scores.min():.5g}"
        table.add_row(one.method, *numbers, escape(visible(one.note)))
    console.print(table)
    if others := [one.method for one in outcomes if one.selection is None]:
        console.print(f"Do not apply here: {', '.join(others)}. --draw METHOD says why.")


def bandwidth_command(
    file: Annotated[Path, typer.Argument(help="A table: CSV, Parquet or JSONL.")],
    x: Annotated[str, typer.Option(help="Column of x, such as the step; dates of Parquet count in seconds.")] = "x",
    y: Annotated[str, typer.Option(help="Column of y, such as the reward.")] = "y",
    group: Annotated[
        str | None, typer.Option(help="Column of the series, such as the prompt; one bandwidth for all.")
    ] = None,
    kernel: Annotated[str, typer.Option(help=f"Kernel: {', '.join(kernel_names())}.")] = "epanechnikov",
    degree: Annotated[int, typer.Option(help="0: local means; 1: local lines; 2: local quadratics.")] = 0,
    sided: Annotated[str, typer.Option(help="two: points on both sides; past: earlier points only.")] = "two",
    draw_method: Annotated[
        str | None,
        typer.Option("--draw", help="Method to draw: averaged by default, or one-step-ahead with --sided past."),
    ] = None,
    bounds: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Least and largest possible y, which the limits drawn stay between: 0 1 for rates."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Picture to write: FILE-bandwidth.png by default; the suffix sets the format.")
    ] = None,
) -> None:
    """Choose the bandwidth that smooths column y over column x, by every method that applies.

    Prints a table, and saves a picture of one method's scores over the candidates and of the fit at its choice.
    Recommended: the bandwidth of averaged, or of one-step-ahead with --sided past.

    Example: kvar bandwidth rewards.csv --x step --y reward --group prompt_id --sided past --kernel triangular
    """
    try:
        table, n_dropped = read_columns(file, [x, y] + ([group] if group else []))
        n_complete = len(table)
        table = table.drop_nulls(group) if group else table
        if table.is_empty():
            raise ValueError(f"{file.name}: none of its rows has a {group}")
        points, responses = (table[name].to_numpy() for name in (x, y))
        groups = table[group].to_numpy() if group else None
        outcomes = compare_methods(points, responses, kernel=kernel, degree=degree, sided=sided, groups=groups)
        by_name = {outcome.method: outcome for outcome in outcomes}
        wanted = draw_method or ("one-step-ahead" if sided == "past" else "averaged")
        if wanted not in by_name:
            raise ValueError(f"unknown method {wanted!r}; choose one of {', '.join(by_name)}")
        shown = by_name[wanted]
        if shown.selection is None:
            raise ValueError(f"{wanted}: {shown.note}")
        response_bounds(bounds, responses)
    except (OSError, ValueError) as error:
        typer.echo(f"kvar bandwidth: {visible(str(error))}", err=True)
        raise typer.Exit(2) from None
    dated = holds_dates(file, x)
    picture, not_saved = out or file.with_name(f"{file.stem}-bandwidth.png"), None
    x_name = f"{x} (seconds)" if dated else x
    single = groups is None
    try:
        draw(
            points, responses, shown.selection, picture, x_name=x_name, y_name=y, single_series=single, bounds=bounds
        )  # fmt: skip
    except OSError as error:
        not_saved = error
    with printing():
        if n_dropped:
            typer.echo(visible(f"{n_dropped} rows without a finite {x} or {y} are left out."))
        if len(table) < n_complete:
            typer.echo(visible(f"{n_complete - len(table)} rows without a {group} are left out."))
        if dated:
            typer.echo(visible(f"{x} holds dates or durations: bandwidths are in seconds."))
        size = f"{points.size} observations, {kernel} kernel, degree {degree}, {sided}-sided"
        typer.echo(visible(f"{file.name}: {size}."))
        typer.echo(f"Bandwidth: {shown.selection.bandwidth:.4g}, by {wanted}.")
        _print_table(outcomes)
        if not_saved is None:
            typer.echo(f"Picture: {visible(str(picture))}")
    if not_saved is not None:
        typer.echo(f"kvar bandwidth: the result is above, but was not saved: {visible(str(not_saved))}", err=True)
        raise typer.Exit(2)
