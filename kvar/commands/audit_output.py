"""What ``kvar audit`` prints: boxes and colours on a terminal, plain lines in a pipe, and no name cut."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kvar.auditing.page import score_table, what_was_read
from kvar.auditing.report import AuditReport
from kvar.auditing.runs_page import figure_cells
from kvar.auditing.runs_report import RunsReport
from kvar.utils.terminal import visible

__all__ = ["print_audit", "print_runs"]

# In a pipe nothing needs to fit a screen, and a sentence stays on one line.
_PIPE_WIDTH = 10_000
# Longer names are folded rather than cut.
_NAME_WIDTH = 24


def print_audit(report: AuditReport) -> None:
    """Print the audit of one run."""
    console = _console()
    for sentence in what_was_read(report):
        console.print(_plain(sentence))
    heads, rows = score_table(report)
    table = _table(
        console,
        ["baseline", *heads],
        [row.label for row, _ in rows],
        "mean ± half of the 95 % interval over prompts and steps",
    )
    for row, cells in rows:
        table.add_row(_plain(row.label), *cells, style="bold" if row is report.chosen else None)
    console.print(table)
    console.print(f"[bold]{_plain(report.recommendation)}[/bold]")
    for finding in report.findings:
        console.print(f"- {finding.severity}: {_plain(finding.says)}")
    for warning in report.warnings:
        console.print("[yellow]![/yellow] " + _plain(warning))
    if report.lines:
        console.print("To use it in TRL:")
        console.print(escape(report.lines["TRL"]), soft_wrap=True)


def print_runs(report: RunsReport) -> None:
    """Print a row a run and the comparison."""
    console = _console()
    heads, rows = figure_cells(report)
    table = _table(
        console,
        heads,
        [row[0] for row in rows],
        "reward: first tenth of the steps to last; use: baseline; of: advised group size",
    )
    for row in rows:
        table.add_row(*map(_plain, row))
    console.print(table)
    for name, reason in report.failed.items():
        console.print(f"[yellow]![/yellow] {_plain(name)} is left out: {_plain(reason)}")
    for name, values in report.differing.items():
        console.print(_plain(f"{name}: {', '.join(map(str, values))}"))
    for verdict in report.verdicts:
        console.print("- " + _plain(verdict))


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def _table(console: Console, heads: list[str], names: list[str], caption: str) -> Table:
    table = Table(
        caption=caption,
        caption_justify="left",
        box=box.HEAVY_HEAD if console.is_terminal else None,
        padding=(0, 1) if console.width >= 100 else 0,
    )
    table.add_column(heads[0], overflow="fold", min_width=min(max(map(len, names)), _NAME_WIDTH))
    for head in heads[1:]:
        table.add_column(head, justify="right", overflow="fold")
    return table


def _plain(text: str) -> str:
    return escape(visible(text))
