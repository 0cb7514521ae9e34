"""The command line ``kvar``."""


def main() -> None:
    """Run the command line."""
    _app()()


def _app():
    import typer

    from kvar.commands.audit import audit_command
    from kvar.commands.bandwidth import bandwidth_command
    from kvar.commands.inspect import inspect_command

    app = typer.Typer(
        help="Kernel estimates of prompt values for reinforcement learning with few rollouts.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    app.command("audit")(audit_command)
    app.command("inspect")(inspect_command)
    app.command("bandwidth")(bandwidth_command)
    return app


if __name__ == "__main__":
    main()
