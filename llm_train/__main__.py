"""``python -m llm_train``: train a policy, compare baselines in training, measure their gradients."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the arguments name, train by default; without arguments, show the help."""
    from kvar.utils.terminal import tolerant_streams

    tolerant_streams()
    command, arguments = "train", sys.argv[1:] or ["--help"]
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
