"""``python -m llm_train train``: one training run."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise

from llm_train.secret_settings import masked_text, secret_values
from llm_train.tasks.run_arguments import RunArguments
from llm_train.trainer.baseline_settings import BaselineSettings

__all__ = ["COMMON", "main"]

_PROGRAM = "python -m llm_train train"
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
COMMON = {
    "output_dir": "Folder of the run.",
    "num_generations": "Rollouts per prompt; 1 is allowed.",
    "per_device_train_batch_size": "Rollouts of one process per forward and backward pass.",
    "gradient_accumulation_steps": "Passes per optimizer step.",
    "max_steps": "Optimizer steps; by default --num_train_epochs decides.",
    "learning_rate": "Learning rate at its peak.",
    "seed": "Seed of the run.",
    "max_completion_length": "Longest completion in tokens.",
    "beta": "Weight of the KL penalty.",
    "eval_steps": "Steps between two evaluations.",
    "num_generations_eval": "Rollouts per prompt in an evaluation.",
    "logging_steps": "Steps between two logged entries.",
    "save_steps": "Steps between two checkpoints.",
    "use_peft": "Train a LoRA adapter.",
    "use_vllm": "Generate with vLLM.",
    "bf16": "Compute in bfloat16.",
}


def main(arguments: Sequence[str]) -> None:
    """Train, or show the help."""
    before = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    before.add_argument("--config")
    before.add_argument("--help-all", action="store_true")
    before.add_argument("-h", "--help", action="store_true")
    options, flags = before.parse_known_args(arguments)
    if options.help:
        _short_help().print_help()
        return
    try:
        with _stopped_by_sigterm():
            from llm_train.run.settings import given_settings, make_parser, resolve
            from llm_train.run.train import quiet_libraries, train

            quiet_libraries()
            parser = make_parser(prog=_PROGRAM)
            if options.help_all:
                parser.print_help()
                return
            train(resolve(given_settings(parser, flags, options.config)))
    except KeyboardInterrupt as stop:
        again = [*arguments, *([] if "--resume" in arguments else ["--resume"])]
        print("To go on:", masked_text(shlex.join(["python", "-m", "llm_train", "train", *again])), flush=True)
        sys.exit(128 + (stop.args[0] if stop.args else signal.SIGINT))
    except (ValueError, FileExistsError, FileNotFoundError) as error:
        flagged = {flag.lstrip("-"): value for flag, value in pairwise(flags) if flag.startswith("--")}
        print(f"python -m llm_train: {masked_text(str(error), secret_values(flagged))}", file=sys.stderr)
        sys.exit(2)


@contextlib.contextmanager
def _stopped_by_sigterm():
    """End a run as Ctrl-C does when a scheduler asks for it."""

    def stop(number, frame):
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _short_help() -> argparse.ArgumentParser:
    """Our own settings and the common ones of TRL, without TRL, which takes long to load."""
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        usage=f"{_PROGRAM} [--config FILE.yaml] [--NAME VALUE ...]",
        description=_DESCRIPTION,
        epilog="Every setting of TRL's GRPOConfig and ModelConfig is a flag and a key of the file; see --help-all.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for title, kind in (("policy and task", RunArguments), ("baseline and prompts", BaselineSettings)):
        group = parser.add_argument_group(title)
        for setting in fields(kind):
            told, choices = setting.metadata["help"], setting.metadata.get("choices")
            group.add_argument(f"--{setting.name}", help=told, choices=choices, metavar=None if choices else "VALUE")
    group = parser.add_argument_group("common settings of TRL")
    for name, told in COMMON.items():
        group.add_argument(f"--{name}", help=told, metavar="VALUE")
    return parser
