"""The index of figures and tables: ``python -m paper_figures``."""

import sys
from pathlib import Path
from typing import Annotated

_FOLDER = Path("results/figures")


def main() -> None:
    """Run the command line; without arguments, show its help."""
    _app()(sys.argv[1:] or ["--help"])


def _app():
    import typer

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command()
    def figures(
        what: Annotated[str, typer.Argument(help="Name of an exhibit, here or in the paper, `all`, or `list`.")],
        full: Annotated[bool, typer.Option("--full/--quick", help="All repetitions, or a first look.")] = False,
        out: Annotated[Path | None, typer.Option(help=f"By default {_FOLDER}/quick or full.")] = None,
    ) -> None:
        """Draw the figures and tables of the paper, and ours, and compare our numbers with those of the paper.

        Missing or stale data are made first, and kept with a key of parameters and version. Drawing takes seconds. The
        claims of a caption are checked before, and a figure that the data do not support is not drawn.

        Examples: python -m paper_figures list; python -m paper_figures sensitivity --full; python -m paper_figures
        figure-3
        """
        from kvar.utils.terminal import open_console

        console = open_console()
        if what == "list":
            _list(console)
            return
        from paper_figures.index import exhibit_classes

        try:
            chosen = exhibit_classes(what)
        except ValueError as error:
            typer.echo(f"paper_figures: {error}", err=True)
            raise typer.Exit(2) from None
        folder = out or _FOLDER / ("full" if full else "quick")
        failed = [cls.name for cls in chosen if not _make(cls(full), folder, console, must=what != "all")]
        if failed:
            console.print(f"[bold red]not drawn:[/] {', '.join(failed)}")
            raise typer.Exit(1)

    return app


def _list(console) -> None:
    from kvar.utils.terminal import new_table
    from paper_figures.index import EXHIBITS

    heads = ["name", "in the paper", "what it shows and claims"]
    table = new_table(console, heads, EXHIBITS, text=heads)
    for name, cls in EXHIBITS.items():
        table.add_row(name, cls.place, cls.caption)
    console.print(table)


def _make(exhibit, folder: Path, console, must: bool) -> bool:
    """Make an exhibit; false if it failed, or if results of longer runs are missing and `must` asks for them."""
    from rich.markdown import Markdown
    from rich.text import Text

    from paper_figures.exhibit import FalseClaimError, make
    from simulations.harness.keyed_results import StaleResultError

    console.print(f"[bold]{exhibit.place}: {exhibit.name}[/bold]")
    try:
        text, written = make(exhibit, folder)
    except StaleResultError as reason:
        console.print(f"[yellow]left out:[/] {reason}")
        return not must
    except FalseClaimError as reason:
        console.print(f"[red]{reason}[/]")
        return False
    console.print(Markdown(text) if console.is_terminal else Text(text))
    console.print("Files: " + ", ".join(map(str, written)))
    return True


if __name__ == "__main__":
    main()
