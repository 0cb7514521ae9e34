"""``python -m llm_train``: train a policy, compare baselines in training, measure their gradients."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from itertools import pairwise

_DESCRIPTION = """
Fine-tune a language model by reinforcement learning with any baseline, and record the run.

  python -m llm_train train --task sums --baseline adaptive --num_generations 1 --output_dir results/one
  python -m llm_train train --model smollm2-135m --task chain_sum --difficulty 0 --max_steps 30
  python -m llm_train train --model Qwen/Qwen2.5-0.5B-Instruct --task data.jsonl --reward math --use_peft --use_vllm
  python -m llm_train train --config llm_train/configs/tiny.yaml --baseline kernel --seed 1 --resume
  python -m llm_train compare llm_train/configs/compare-tiny.yaml --jobs 2
  python -m llm_train gradients --out results/gradients

A run writes into --output_dir: config.json (every setting), metrics.jsonl and trace/ (both during training; kvar audit
reads the trace, which has every rollout), checkpoints, policy/, result.json and summary.html. A run that was killed and
is resumed with --resume gives the same result as one that was not. The command is train if none is given. Flags win
over the file given with --config.
"""

# Settings of TRL that a first run needs.
_COMMON = {
    "output_dir", "num_generations", "per_device_train_batch_size", "gradient_accumulation_steps", "max_steps", "seed",
    "learning_rate", "max_completion_length", "eval_steps", "num_generations_eval", "save_steps", "logging_steps",
    "use_peft", "use_vllm", "bf16", "beta",
}  # fmt: skip


def main() -> None:
    """Run the command line."""
    from kvar.utils.extras import needs_extra

    try:
        with needs_extra("llm"):
            _run(sys.argv[1:])
    except ModuleNotFoundError as error:
        print(f"python -m llm_train: {error}", file=sys.stderr)
        sys.exit(2)


def _run(arguments: list[str]) -> None:
    """Run the command that the arguments name, train by default."""
    from kvar.utils.terminal import tolerant_streams
    from llm_train.run.train import quiet_libraries

    tolerant_streams()
    quiet_libraries()
    command = "train"
    if arguments and arguments[0] in ("train", "compare", "gradients"):
        command, *arguments = arguments
    if command == "compare":
        from llm_train.studies.compare import main as run
    elif command == "gradients":
        from llm_train.studies.gradient_tables import main as run
    else:
        run = _train
    run(arguments)


def _train(arguments: list[str]) -> None:
    import argparse

    from llm_train.run.settings import given_settings, make_parser, resolve
    from llm_train.run.train import train
    from llm_train.secret_settings import masked_text, secret_values

    parser = make_parser(
        prog="python -m llm_train train",
        description=_DESCRIPTION,
        epilog="Every setting of TRL's GRPOConfig and ModelConfig is a flag and a key of the file; see --help-all.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    before = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    before.add_argument("--config")
    before.add_argument("--help-all", action="store_true")
    before.add_argument("-h", "--help", action="store_true")
    options, flags = before.parse_known_args(arguments)
    if options.help or options.help_all:
        _print_help(parser, everything=options.help_all)
        return
    try:
        settings = resolve(given_settings(parser, flags, options.config))
        with stopped_by_sigterm():
            train(settings)
    except KeyboardInterrupt as stop:
        again = [*arguments, *([] if "--resume" in arguments else ["--resume"])]
        print("To go on:", masked_text(shlex.join(["python", "-m", "llm_train", "train", *again])), flush=True)
        parser.exit(128 + (stop.args[0] if stop.args else signal.SIGINT))
    except (ValueError, FileExistsError, FileNotFoundError) as error:
        flagged = {flag.lstrip("-"): value for flag, value in pairwise(flags) if flag.startswith("--")}
        parser.exit(2, f"python -m llm_train: {masked_text(str(error), secret_values(flagged))}\n")


@contextlib.contextmanager
def stopped_by_sigterm():
    """End a run as Ctrl-C does when a scheduler asks for it."""

    def stop(number, frame):
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print_help(parser, everything: bool) -> None:
    """Print our own settings and the common ones of TRL, or all of several hundred."""
    import argparse
    from dataclasses import fields

    from trl import GRPOConfig

    from llm_train.tasks.run_arguments import RunArguments
    from llm_train.trainer.config import KAEConfig

    of_run, of_training, of_trl = ({f.name for f in fields(kind)} for kind in (RunArguments, KAEConfig, GRPOConfig))
    own = of_run | of_training - of_trl
    if not everything:
        for action in parser._actions:
            if action.dest not in own | _COMMON:
                action.help = argparse.SUPPRESS
    parser.print_help()


if __name__ == "__main__":
    main()
