"""The command line of the studies: ``python -m simulations``."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

_JOBS = os.cpu_count() or 1
_FOLDER = Path("results/simulations")
# The full studies that come with the repository: `python -m simulations run all --full --out docs/simulations`.
_KEPT = Path("docs/simulations")


def main() -> None:
    """Run the command line; without arguments, show its help."""
    _app()(sys.argv[1:] or ["--help"])


def _app():
    import typer

    app = typer.Typer(
        help="Simulation studies: theorems in numbers, what a better baseline is worth, and where the theory breaks.",
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.command("list")(_list)

    @app.command()
    def run(
        study: Annotated[str, typer.Argument(help="Name of a study, see `list`, or `all`.")],
        full: Annotated[bool, typer.Option("--full/--quick", help="All repetitions, or a first look.")] = False,
        seed: Annotated[int, typer.Option(min=0, help="Seed of all randomness; it fixes all numbers.")] = 0,
        jobs: Annotated[int, typer.Option(help="Parallel workers; by default one per core.")] = _JOBS,
        out: Annotated[
            Path | None,
            typer.Option(help=f"Folder for tables, pictures and pages; {_FOLDER}/quick or full by default."),
        ] = None,
        blocks: Annotated[Path, typer.Option(help="Folder for finished blocks.")] = _FOLDER / "blocks",
    ) -> None:
        """Run a study, or all of them, and judge its claims.

        An interrupted run continues where it stopped, because finished blocks are kept. Their key holds all parameters
        and the code; a change of either starts anew. On a cluster, call simulations.harness.running.run_study under
        joblib.parallel_config(backend="dask") or "ray".

        Example: python -m simulations run gradient-error --full --jobs 8
        """
        from simulations.studies import study_classes

        try:
            classes = study_classes(study)
            if jobs == 0:
                raise ValueError("--jobs is a number of workers, or -1 for one per core; got 0")
        except ValueError as error:
            typer.echo(f"simulations run: {error}", err=True)
            raise typer.Exit(2) from None
        if not _run(classes, full, seed, jobs, out or _FOLDER / ("full" if full else "quick"), blocks):
            raise typer.Exit(1)

    @app.command()
    def pages(
        study: Annotated[str, typer.Argument(help="Name of a study, see `list`, or `all`.")] = "all",
        seed: Annotated[int, typer.Option(min=0, help="Seed that the tables were made with.")] = 0,
        out: Annotated[Path, typer.Option(help="Folder with the tables of a full run.")] = _KEPT,
    ) -> None:
        """Write claims, pictures and pages anew from kept tables, without simulating: after a change of words.

        Example: python -m simulations pages
        """
        from simulations.harness.publishing import write_overview, write_page
        from simulations.studies import STUDIES, study_classes

        try:
            for cls in study_classes(study):
                write_page(cls(cls.full), seed, out)
        except ValueError as error:
            typer.echo(f"simulations pages: {error}", err=True)
            raise typer.Exit(2) from None
        typer.echo(f"Pages: {write_overview(out, STUDIES)}")

    return app


def _list() -> None:
    """List the studies with their questions and sizes."""
    from kvar.utils.terminal import new_table, open_console
    from simulations.harness.running import tasks
    from simulations.studies import STUDIES

    console = open_console()
    table = new_table(console, ["study", "question", "blocks, quick", "blocks, full"], STUDIES, text=["question"])
    for name, cls in STUDIES.items():
        table.add_row(name, cls.title, *(str(len(tasks(cls(config)))) for config in (cls.quick, cls.full)))
    console.print(table)


def _run(classes, full: bool, seed: int, jobs: int, folder: Path, blocks: Path) -> bool:
    """Run studies, and return whether all blocks of all of them succeeded."""
    from kvar.utils.terminal import open_console
    from simulations.harness.publishing import write_overview, write_page, write_tables
    from simulations.harness.running import failures_of, run_study
    from simulations.studies import STUDIES

    console, whole = open_console(), True
    for cls in classes:
        started = time.monotonic()
        study = cls(cls.full if full else cls.quick)
        rows = run_study(study, seed, blocks, jobs, progress=True)
        failures = failures_of(rows)
        if failures:
            whole = False
            console.print(f"[bold red]{study.name}[/] {len(failures)} blocks failed, the first with {failures[0]}")
        try:
            write_tables(study, rows, seed, folder)
            claims = write_page(study, seed, folder, failures)
        except Exception as error:
            if not failures:
                raise
            # The blocks that are left do not suffice for the tables; the other studies still run.
            console.print(f"[bold red]{study.name}[/] no page: {error}")
            continue
        console.print(f"[bold]{study.name}[/] {study.title} ({time.monotonic() - started:.0f} s)")
        for claim in claims:
            console.print(_line(claim))
    console.print(f"Tables, pictures and pages: {write_overview(folder, STUDIES)}")
    return whole


def _line(claim):
    from rich.text import Text

    colour = {"holds": "green", "misses": "red", "undecided": "yellow"}[claim.verdict]
    interval = f" [{claim.low:.4g}, {claim.high:.4g}]" if claim.low < claim.high else ""
    text = f"  {claim.statement}: {claim.value:.4g}{interval}, bound {claim.bound}: "
    return Text.assemble(text, (claim.verdict, f"bold {colour}"))


if __name__ == "__main__":
    main()
