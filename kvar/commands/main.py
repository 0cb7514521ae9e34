"""The command line ``kvar``."""

import sys


def main() -> None:
    """Run the command line; without arguments, show its help."""
    from kvar.utils.terminal import tolerant_streams

    tolerant_streams()
    _app()(sys.argv[1:] or ["--help"])


def _app():
    import typer

    from kvar.commands.audit import audit_command
    from kvar.commands.bandwidth import bandwidth_command
    from kvar.commands.inspect import inspect_command

    app = typer.Typer(pretty_exceptions_enable=False)

    @app.callback()
    def _(version: bool = typer.Option(False, "--version", help="Show the version.", callback=_show_version)) -> None:
        """Kernel estimates of prompt values for reinforcement learning with few rollouts."""

    app.command("audit")(audit_command)
    app.command("inspect")(inspect_command)
    app.command("bandwidth")(bandwidth_command)
    return app


def _show_version(asked: bool) -> None:
    import typer

    from kvar import __version__

    if asked:
        typer.echo(f"kvar {__version__}")
        raise typer.Exit


if __name__ == "__main__":
    main()
