"""What ``kvar audit`` prints: boxes and colours on a terminal, plain lines in a pipe, and no name cut."""

from __future__ import annotations

from rich.markup import escape

from kvar.auditing.finding import Severity
from kvar.auditing.page import score_table, what_was_read
from kvar.auditing.report import AuditReport
from kvar.auditing.runs_page import figure_cells
from kvar.auditing.runs_report import RunsReport
from kvar.utils.terminal import is_narrow, new_table, open_console, visible

__all__ = ["print_audit", "print_runs"]

# Columns of the table of runs that hold text, and those that a narrow terminal has no room for; the page has them.
_TEXT, _SPARE = ("setting", "use"), ("prompts", "steps")


def print_audit(report: AuditReport) -> None:
    """Print the audit of one run, its advice first."""
    console = open_console()
    for sentence in what_was_read(report):
        console.print(_plain(sentence))
    console.print(f"[bold]{_plain(report.recommendation)}[/bold]")
    for finding in report.findings:
        console.print(f"- {finding.severity}: {_plain(finding.says)}")
        if finding.severity in (Severity.HIGH, Severity.MEDIUM) and "TRL" in finding.action:
            console.print("  In TRL: " + escape(finding.action["TRL"]), soft_wrap=True)
    for warning in report.warnings:
        console.print("[yellow]![/yellow] " + _plain(warning))
    heads, rows = score_table(report)
    caption = "mean ± half of the 95 % interval over prompts and steps"
    table = new_table(console, ["baseline", *heads], [row.label for row, _ in rows], caption=caption)
    for row, cells in rows:
        table.add_row(_plain(row.label), *cells, style="bold" if row is report.chosen else None)
    console.print(table)
    if report.lines:
        console.print("To use it in TRL:")
        console.print(escape(report.lines["TRL"]), soft_wrap=True)


def print_runs(report: RunsReport) -> None:
    """Print the comparison and a row a run."""
    console = open_console()
    for verdict in report.verdicts:
        console.print("- " + _plain(verdict))
    for name, values in report.differing.items():
        console.print(_plain(f"{name}: {', '.join(map(str, values))}"))
    for name, reason in report.failed.items():
        console.print(f"[yellow]![/yellow] {_plain(name)} is left out: {_plain(reason)}")
    heads, rows = figure_cells(report)
    caption = "reward: first tenth of the steps to last; use: baseline; of: advised group size"
    shown = [k for k, head in enumerate(heads) if not (is_narrow(console) and head in _SPARE)]
    table = new_table(console, [heads[k] for k in shown], [row[0] for row in rows], _TEXT, caption=caption)
    for row in rows:
        table.add_row(*(_plain(row[k]) for k in shown))
    console.print(table)


def _plain(text: str) -> str:
    return escape(visible(text))
