"""``kvar audit PATH``: audit a log and show the result on the terminal and as files."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from glob import has_magic
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from kvar.auditing.finding import Severity
from kvar.auditing.followed_audit import FollowedAudit
from kvar.auditing.report import AuditReport
from kvar.auditing.run import audit
from kvar.auditing.runs_report import RunsReport
from kvar.commands.audit_output import print_audit, print_runs
from kvar.commands.follow import follow as follow_audit
from kvar.commands.several_runs import audit_several, folder_of_runs, named_runs
from kvar.readers import MAX_UNPACKED, is_address, layout_names, read_log
from kvar.readers.runs import ManyRunsError
from kvar.utils.progress import progress_bar
from kvar.utils.terminal import printing, visible

__all__ = ["audit_command", "demo_path", "output_folder"]

_ENDINGS = {".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".gz", ".zst"}
_PAGES = ("audit.html", "runs.html")
_MARK = b'class="kvar-audit"'  # of every page
_DEMO = "a model of 0.66M parameters that learns sums, 4 rollouts a prompt, an epoch every 16 steps"


def demo_path() -> Path:
    """Path of the recorded run that comes with kvar."""
    return Path(str(resources.files("kvar") / "data" / "demo.parquet"))


def audit_command(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...",
            help="A file, a folder, or a pattern in quotes; also s3://. Several are runs to compare, as is a folder of "
            "runs; SETTING=PATH names the setting of a run, which several may share.",
            show_default=False,
        ),
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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, with its schema's version, and write no files.")
    ] = False,
    fail_on: Annotated[
        Severity | None, typer.Option(help="Exit with 1 if a finding is at least so severe.", show_default=False)
    ] = None,
    demo: Annotated[bool, typer.Option(help="Audit a small recorded run that comes with kvar.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Write the page again whenever the log has grown, until Ctrl-C.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, help="With --follow: seconds between two looks at the log.")] = 30.0,
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

    Of several runs there is one page: a row a run, their settings compared on the same prompts, and the audit of each.
    Whether a difference is beyond chance takes several runs of a setting, as in kvar audit old=runs/a old=runs/b
    new=runs/c new=runs/d. Without names, runs whose config.json agrees but for the seed have one setting.

    With --follow the page of a running job stays up to date, and a browser loads it again by itself. An update costs
    what the new rows cost: new files of a folder, and new lines of JSON Lines. Other files that change are read as a
    whole. The result is printed at the end, which is Ctrl-C.

    Exit codes: 0 the audit is done; 1 --fail-on found something; 2 nothing could be read, audited or saved.

    Examples: kvar audit --demo; kvar audit runs/grpo/completions; kvar audit 'dumps/*.jsonl'; kvar audit log.csv
    --columns prompt=question,reward=score; kvar audit runs/grpo runs/rloo
    """
    paths = paths or []
    if demo == bool(paths):
        typer.echo("kvar audit: give the PATH of a log, or --demo for a run that comes with kvar", err=True)
        raise typer.Exit(2)
    if follow and (demo or len(paths) > 1 or as_json or fail_on is not None):
        typer.echo(
            "kvar audit: --follow takes one PATH and no --json or --fail-on: run these once it has ended", err=True
        )
        raise typer.Exit(2)
    result: AuditReport | RunsReport
    folder = out or _folder(paths)
    reading = {"format": format, "columns": columns, "max_bad": max_bad, "max_unpacked": max_unpacked}
    try:
        if not as_json:
            _require_own_folder(folder)
        auditing = {"n_jobs": jobs, "progress": not as_json, "cost_per_rollout": cost_per_rollout}
        if follow:
            running = FollowedAudit(paths[0], baseline or None, jobs, cost_per_rollout, **reading)
            result = follow_audit(running, out or _folder(paths), every)
        elif len(paths) > 1:
            result = audit_several(named_runs(paths), baseline, auditing, reading)
        else:
            try:
                result = _audit_one(paths[0] if paths else None, baseline, auditing, reading)
            except ManyRunsError as several:
                result = audit_several(folder_of_runs(paths[0], several.runs), baseline, auditing, reading)
        if as_json:
            with printing():
                typer.echo(json.dumps(result.to_dict(), indent=2))
        else:
            _show(result, folder)
    except (OSError, ValueError) as error:
        typer.echo(f"kvar audit: {visible(str(error))}", err=True)
        raise typer.Exit(2) from None
    audits = [result] if isinstance(result, AuditReport) else list(result.reports.values())
    if fail_on is not None and any(Severity(found).rank <= fail_on.rank for one in audits for found in one.severities):
        raise typer.Exit(1)


def _audit_one(path: str | None, baseline: list[str] | None, auditing: dict, reading: dict) -> AuditReport:
    with progress_bar(auditing["progress"], "reading rows") as (advance, _):
        log = read_log(demo_path() if path is None else path, advance=advance, numbers_only=True, **reading)
    if path is None:
        log = dataclasses.replace(log, path=_DEMO)
    return audit(log, baseline or None, **auditing)


def _folder(paths: list[str]) -> Path:
    if not paths:
        return Path("kvar-demo-audit")
    return output_folder(paths[0]) if len(paths) == 1 else Path("kvar-runs-audit")


def _require_own_folder(folder: Path) -> None:
    """Refuse, before the work, a folder that cannot be written or has a page of somebody else."""
    place = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    try:
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise ValueError(f"cannot write into {place} ({error.strerror}): name another folder with --out") from None
    for page in (folder / name for name in _PAGES if (folder / name).exists()):
        if _MARK not in page.read_bytes():
            raise ValueError(f"{page} is not a page of kvar audit and would be lost: name another folder with --out")


def _show(result: AuditReport | RunsReport, folder: Path) -> None:
    """Save the result and print it."""
    # Files first: whatever becomes of the terminal, what was computed is kept.
    not_saved = _save(result, folder)
    page = folder / _PAGES[isinstance(result, RunsReport)]
    with printing():
        if isinstance(result, AuditReport):
            print_audit(result)
        else:
            print_runs(result)
        if not_saved is None:
            typer.echo(f"Page, with tables and figure next to it: {visible(str(page))}")
    if not_saved is not None:
        typer.echo(f"kvar audit: the result is above, but was not saved: {visible(str(not_saved))}", err=True)
        raise typer.Exit(2)


def _save(report: AuditReport | RunsReport, folder: Path) -> OSError | None:
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
