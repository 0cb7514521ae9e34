"""The command line: ``kvar``."""

import sys
from pathlib import Path
from typing import Annotated

_NEEDS = "The command line needs more than the core: pip install 'kvar[report]'"


def main() -> None:
    """Run the command line, or say what it needs."""
    try:
        app = _app()
    except ImportError as error:
        sys.exit(f"{_NEEDS} ({error})")
    app()


def _app():
    import typer

    from kvar.bandwidth_report import bandwidth_command

    app = typer.Typer(
        help="Kernel estimates of prompt values for reinforcement learning with few rollouts.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.command()
    def audit(
        path: Annotated[Path, typer.Argument(help="A trace: a Parquet file, or the folder that a run wrote.")],
        out: Annotated[Path | None, typer.Option(help="Folder for table and picture, PATH-audit by default.")] = None,
        baseline: Annotated[list[str] | None, typer.Option(help="Replay only this one; may be repeated.")] = None,
    ) -> None:
        """Replay every baseline over a recorded run and say which one would have served it best.

        The one-step-ahead error needs no truth: it is the squared error of each value as a prediction of a reward that
        it has not seen, which is the reward's noise plus the error of the value. Value MSE is shown where the trace
        has a column true_value. All intervals are 95 % over prompts and
        steps.

        Example: kvar audit runs/tiny/trace
        """
        from kvar.audit import audit as run_audit
        from kvar.traces import read_trace

        try:
            trace = read_trace(path)
            report = run_audit(trace, baseline or None, progress=True)
        except (OSError, ValueError) as error:
            typer.echo(f"kvar audit: {error}", err=True)
            raise typer.Exit(2) from None
        _print_audit(trace, report)
        folder = report.save(out or path.resolve().parent / f"{path.resolve().stem}-audit")
        typer.echo(f"Table and picture: {folder}/")

    app.command("bandwidth")(bandwidth_command)
    return app


def _print_audit(trace, report) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(trace)
    if report.n_unscored:
        console.print(f"{report.n_unscored} rollouts without a reward are left out.")
    known = report.rows[0].value_mse is not None
    table = Table(caption="mean ± half of the 95 % interval over prompts and steps", caption_justify="left")
    table.add_column("baseline")
    for title in ("one-step error", "above the best", *(["value MSE"] if known else [])):
        table.add_column(title, justify="right")
    for row in report.rows:
        scores = [row.one_step_error, row.above_best, *([row.value_mse] if known else [])]
        table.add_row(row.label, *map(_cell, scores))
    console.print(table)
    for name, why in report.skipped.items():
        console.print(f"{name} is left out: {why}.")
    console.print(report.recommendation)


def _cell(interval) -> str:
    if interval.mean != interval.mean:
        return "not defined"
    if interval.low != interval.low:
        return f"{interval.mean:.5f}"
    return f"{interval.mean:.5f} ± {interval.high - interval.mean:.5f}"


if __name__ == "__main__":
    main()
