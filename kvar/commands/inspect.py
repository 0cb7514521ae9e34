"""``kvar inspect PATH``: what a log is and how it is understood, without an audit."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from kvar.readers import layout_names
from kvar.readers.inspection import Inspection, inspect_log
from kvar.readers.runs import ManyRunsError
from kvar.utils.progress import progress_bar
from kvar.utils.terminal import new_table, open_console

__all__ = ["inspect_command"]

# Columns of a file that are named.
_N_COLUMNS = 40


def inspect_command(
    path: Annotated[str, typer.Argument(help="A file, a folder, or a pattern in quotes; also s3://.")],
    columns: Annotated[
        str | None, typer.Option(help="Which column is which, as in kvar audit: prompt=question,reward=score.")
    ] = None,
    format: Annotated[  # noqa: A002  (the flag's name)
        str, typer.Option(help=f"Trainer that wrote the log: auto, {', '.join(layout_names())}.")
    ] = "auto",
    show_prompts: Annotated[bool, typer.Option("--show-prompts", help="Show prompts as text, not as hashes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Show what a log is and how kvar understands it: files, columns, counts, five rows and all remarks.

    The first thing to run on a new log, and the thing to paste into a bug report: prompts are shown as hashes. A folder
    with several runs is shown run by run. Ends with status 1 if the log cannot be read.

    Examples: kvar inspect runs/grpo/completions; kvar inspect s3://bucket/run --columns prompt=question --json
    """
    try:
        found = _each_run(path, format, columns, show_prompts, not as_json)
    except (OSError, ValueError) as error:
        typer.echo(f"kvar inspect: {error}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        results = [one.to_dict() for one in found]
        typer.echo(json.dumps(results if len(results) > 1 else results[0], indent=2, default=str))
    else:
        for one in found:
            _print(one)
    if any(one.error for one in found):
        raise typer.Exit(1)


def _each_run(path: str, format: str, columns: str | None, show_prompts: bool, progress: bool) -> list[Inspection]:  # noqa: A002
    try:
        with progress_bar(progress, "reading rows") as (advance, _):
            return [inspect_log(path, format, columns, show_prompts, advance)]
    except ManyRunsError as several:
        inside = [f"{path.rstrip('/')}/{run}" for run in several.runs]
    return [one for run in inside for one in _each_run(run, format, columns, show_prompts, progress)]


def _print(found: Inspection) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = open_console()
    console.print(f"[bold]{escape(found.path)}[/bold]" + (f": layout {found.layout}" if found.layout else ""))
    for group in found.files:
        files = group.names[0] if len(group.names) == 1 else f"{len(group.names)} files, {group.names[0]} first"
        kinds = [name + (f" ({kind})" if kind != "other" else "") for name, kind in group.columns.items()]
        more = f" and {len(kinds) - _N_COLUMNS} more" if len(kinds) > _N_COLUMNS else ""
        console.print(escape(f"{group.kind}, {files}. Columns: {', '.join(kinds[:_N_COLUMNS])}{more}."))
    for name, choice in found.choices.items():
        console.print(escape(f"{name} = {choice['is']} ({choice['why']})"))
    if found.error:
        console.print(f"[red]cannot be read:[/red] {escape(found.error)}")
        return
    counts = Table(show_header=False, box=None)
    for name, value in found.counts.items():
        counts.add_row(name, escape(_shown(value)))
    console.print(counts)
    cells = [[escape(_shown(value)) for value in row.values()] for row in found.rows]
    names = [row[0] for row in cells]
    rows = new_table(console, list(found.rows[0]), names, text=["prompt"], caption="five of the rows")
    for row in cells:
        rows.add_row(*row)
    console.print(rows)
    for remark in found.remarks:
        console.print("- " + escape(remark))


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{number:,} of {size}" for size, number in value.items())
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, bool) or value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
