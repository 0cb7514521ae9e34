"""``python -m llm_train``: train a policy, compare baselines in training, measure their gradients."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    from kvar.utils.extras import needs_extra

    try:
        with needs_extra("llm"):
            _run(sys.argv[1:] or ["--help"])
    except ModuleNotFoundError as error:
        print(f"python -m llm_train: {error}", file=sys.stderr)
        sys.exit(2)


def _run(arguments: list[str]) -> None:
    """Run the command that the arguments name, train by default."""
    from kvar.utils.terminal import tolerant_streams

    tolerant_streams()
    command = "train"
    if arguments[0] in ("train", "compare", "gradients"):
        command, *arguments = arguments
    if command == "compare":
        from llm_train.commands.compare import main as run
    elif command == "gradients":
        from llm_train.commands.gradients import main as run
    else:
        from llm_train.commands.train import main as run
    run(arguments)


if __name__ == "__main__":
    main()
