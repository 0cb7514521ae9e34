"""``kvar audit PATH``: audit a log and show the result on the terminal and as files."""

from __future__ import annotations

import dataclasses
import json
from glob import has_magic
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from kvar.auditing.page import score_table, what_was_read
from kvar.auditing.report import AuditReport
from kvar.auditing.run import audit
from kvar.readers import MAX_UNPACKED, is_address, layout_names, read_log
from kvar.utils.progress import progress_bar
from kvar.utils.terminal import printing, visible

__all__ = ["audit_command", "demo_path", "output_folder"]

_ENDINGS = {".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".gz", ".zst"}
_DEMO = "a model of 0.66M parameters that learns sums, 4 rollouts a prompt, an epoch every 16 steps"


def demo_path() -> Path:
    """Path of the recorded run that comes with kvar."""
    return Path(str(resources.files("kvar") / "data" / "demo.parquet"))


def audit_command(
    path: Annotated[
        str | None,
        typer.Argument(help="A file, a folder, or a pattern in quotes; also s3://.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page, the tables and the figure.", show_default="PATH-audit")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Which column is which: prompt=question,step=iteration,reward=accuracy+0.5*format,logprobs=lp; in "
            "nested records a path, as in reward=traces[0].rewards.correct. By default columns are chosen by name, and "
            "a note names them."
        ),
    ] = None,
    format: Annotated[  # noqa: A002  (the flag's name)
        str, typer.Option(help=f"Trainer that wrote the log: auto, {', '.join(layout_names())}.")
    ] = "auto",
    baseline: Annotated[list[str] | None, typer.Option(help="Replay only this baseline; may be repeated.")] = None,
    max_bad: Annotated[float, typer.Option(help="Largest fraction of rows that may be unusable.")] = 0.05,
    max_unpacked: Annotated[float, typer.Option(help="GiB that one compressed file may unpack to.")] = MAX_UNPACKED,
    jobs: Annotated[
        int | None,
        typer.Option(help="Number of processes; by default all cores for a long log and one for a short one."),
    ] = None,
    cost_per_rollout: Annotated[
        float | None,
        typer.Option(help="What a rollout costs, in any unit of money: findings then say what they save."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON and write no files.")] = False,
    demo: Annotated[bool, typer.Option(help="Audit a small recorded run that comes with kvar.")] = False,
) -> None:
    """Find the baseline, window and group size that would have served an RL run best, from its rollout log.

    Reads what TRL writes with log_completions=True (the folder completions/), the rollout logs of verl, ms-swift and
    other trainers, traces of kvar, and any Parquet, CSV, JSON or JSON Lines with a row per rollout or per prompt, gzip
    and zstd too, on disk or at an address such as s3://bucket/run. Prompts are hashed, never stored. kvar inspect shows
    how a log is understood.

    Every registered baseline is replayed over the log. Its one-step-ahead error needs no true values: it is the squared
    error of each value as a prediction of a reward that it has not seen, which is the noise of the reward plus the
    error of the value. Intervals are 95 % over prompts and steps.

    Where the log has score norms (a column score_norm), or lists of log-probabilities of sampled tokens to make them of
    (logprobs, old_log_probs, rollout_log_probs, generation_logprobs), that error is weighted by the squared norm.
    Baselines are then ranked by the variance of the gradient, and the audit says whether norm and reward go together.

    Examples: kvar audit --demo; kvar audit runs/grpo/completions; kvar audit 'dumps/*.jsonl'; kvar audit log.csv
    --columns prompt=question,reward=score
    """
    if (path is None) == (not demo):
        typer.echo("kvar audit: give the PATH of a log, or --demo for a run that comes with kvar", err=True)
        raise typer.Exit(2)
    try:
        with progress_bar(not as_json, "reading rows") as (advance, _):
            source = demo_path() if path is None else path
            log = read_log(source, format, columns, max_bad=max_bad, advance=advance, max_unpacked=max_unpacked)
        if demo:
            log = dataclasses.replace(log, path=_DEMO)
        report = audit(log, baseline or None, progress=not as_json, n_jobs=jobs, cost_per_rollout=cost_per_rollout)
        if as_json:
            with printing():
                typer.echo(json.dumps(report.to_dict(), indent=2))
            return
        # Files first: whatever becomes of the terminal, what was computed is kept.
        folder = out or (Path("kvar-demo-audit") if path is None else output_folder(path))
        not_saved = _save(report, folder)
    except (OSError, ValueError) as error:
        typer.echo(f"kvar audit: {visible(str(error))}", err=True)
        raise typer.Exit(2) from None
    with printing():
        _print(report)
        if not_saved is None:
            typer.echo(f"Page, with tables and figure next to it: {visible(str(folder / 'audit.html'))}")
    if not_saved is not None:
        typer.echo(f"kvar audit: the result is above, but was not saved: {visible(str(not_saved))}", err=True)
        raise typer.Exit(2)


def _save(report: AuditReport, folder: Path) -> OSError | None:
    """Save the report, or return why it could not be saved, as on a full disk."""
    try:
        report.save(folder)
    except OSError as error:
        return error
    return None


def output_folder(path: str) -> Path:
    """Folder next to a log for its page: PATH without extensions or pattern, and ``-audit``; for an address, here."""
    place = Path(path)
    if is_address(path):
        parts = path.partition("://")[2].rstrip("/").split("/")
        place = Path(next((part for part in reversed(parts) if part and not has_magic(part)), "log"))
    while has_magic(str(place)) and not place.exists():
        place = place.parent
    place = place.resolve()
    while place.suffix in _ENDINGS:
        place = place.with_suffix("")
    return place.with_name(f"{place.name or 'log'}-audit")


def _print(report: AuditReport) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    def plain(text: str) -> str:
        return escape(visible(text))

    console = Console(highlight=False)
    for sentence in what_was_read(report):
        console.print(plain(sentence))
    heads, rows = score_table(report)
    table = Table(caption="mean ± half of the 95 % interval over prompts and steps", caption_justify="left")
    table.add_column("baseline")
    for title in heads:
        table.add_column(title, justify="right")
    for row, cells in rows:
        table.add_row(plain(row.label), *cells, style="bold" if row is report.chosen else None)
    console.print(table)
    console.print(f"[bold]{plain(report.recommendation)}[/bold]")
    for finding in report.findings:
        console.print(f"- {finding.severity}: {plain(finding.says)}")
    for warning in report.warnings:
        console.print("[yellow]![/yellow] " + plain(warning))
    if report.lines:
        console.print("To use it in TRL:")
        console.print(escape(report.lines["TRL"]), soft_wrap=True)
