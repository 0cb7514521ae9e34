"""The command line of the studies: ``python -m simulations``."""

import os
import time
from pathlib import Path
from typing import Annotated

_JOBS = os.cpu_count() or 1
_FOLDER = Path("results/simulations")


def main() -> None:
    """Run the command line."""
    _app()()


def _app():
    import typer

    app = typer.Typer(
        help="Simulation studies: theorems seen in numbers, what a better baseline is worth, and where theory breaks.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.command("list")(_list)

    @app.command()
    def run(
        study: Annotated[str, typer.Argument(help="Name of a study, see `list`, or `all`.")],
        full: Annotated[bool, typer.Option("--full/--quick", help="All repetitions, or a first look.")] = False,
        seed: Annotated[int, typer.Option(min=0, help="Of all randomness; the same seed gives the same numbers.")] = 0,
        jobs: Annotated[int, typer.Option(help="Parallel workers; by default one a core.")] = _JOBS,
        out: Annotated[
            Path | None,
            typer.Option(help=f"Folder for tables, pictures and pages; {_FOLDER}/quick or full by default."),
        ] = None,
        blocks: Annotated[Path, typer.Option(help="Folder for finished blocks.")] = _FOLDER / "blocks",
    ) -> None:
        """Run a study, or all of them, and hold the results against what is expected of them.

        A run that was cut off goes on where it was: finished blocks are kept. They are keyed by all parameters and by
        the code, so that a change of either starts anew. On a cluster, call simulations.harness.running.run_study under
        joblib.parallel_config(backend="dask") or "ray".

        Example: python -m simulations run gradient-error --full --jobs 8
        """
        from simulations.studies import STUDIES, study_class

        try:
            classes = list(STUDIES.values()) if study == "all" else [study_class(study)]
        except ValueError as error:
            typer.echo(f"simulations run: {error}", err=True)
            raise typer.Exit(2) from None
        if jobs == 0:
            typer.echo("simulations run: --jobs is a number of workers, or -1 for one a core; got 0", err=True)
            raise typer.Exit(2)
        if not _run(classes, full, seed, jobs, out or _FOLDER / ("full" if full else "quick"), blocks):
            raise typer.Exit(1)

    return app


def _list() -> None:
    """List the studies, what each asks, and how large it is."""
    from rich.console import Console
    from rich.table import Table

    from simulations.harness.running import tasks
    from simulations.studies import STUDIES

    table = Table("study", "question", "blocks, quick", "blocks, full")
    for name, cls in STUDIES.items():
        table.add_row(name, cls.title, *(str(len(tasks(cls(config)))) for config in (cls.quick, cls.full)))
    Console().print(table)


def _run(classes, full: bool, seed: int, jobs: int, folder: Path, blocks: Path) -> bool:
    """Run studies, and say whether all blocks of all of them were done."""
    from rich.console import Console

    from simulations.harness.publishing import publish, write_overview
    from simulations.harness.running import failures_of, run_study
    from simulations.studies import STUDIES

    console, whole = Console(), True
    for cls in classes:
        started = time.monotonic()
        study = cls(cls.full if full else cls.quick)
        rows = run_study(study, seed, blocks, jobs, progress=True)
        failures = failures_of(rows)
        if failures:
            whole = False
            console.print(f"[bold red]{study.name}[/] {len(failures)} blocks failed, the first with {failures[0]}")
        try:
            claims = publish(study, rows, seed, folder)
        except Exception as error:
            if not failures:
                raise
            # What is left of the study is not enough for its tables; the others can still be had.
            console.print(f"[bold red]{study.name}[/] no page: {error}")
            continue
        console.print(f"[bold]{study.name}[/] {study.title} ({time.monotonic() - started:.0f} s)", highlight=False)
        for claim in claims:
            console.print(_line(claim), highlight=False)
    console.print(f"Tables, pictures and pages: {write_overview(folder, STUDIES)}")
    return whole


def _line(claim):
    from rich.text import Text

    colour = {"holds": "green", "misses": "red", "undecided": "yellow"}[claim.verdict]
    interval = f" [{claim.low:.4g}, {claim.high:.4g}]" if claim.low < claim.high else ""
    told = f"  {claim.statement}: {claim.value:.4g}{interval}, asked for {claim.bound}: "
    return Text.assemble(told, (claim.verdict, f"bold {colour}"))


if __name__ == "__main__":
    main()
