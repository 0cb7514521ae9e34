"""``python -m llm_train gradients``: value error and gradient error of every baseline."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from llm_train.studies.stage_errors import BLOCK, STAGES

__all__ = ["main"]

_DESCRIPTION = f"""
Record a run of the tiny policy for each number of rollouts. Then sample repeatedly from the policies of three stages,
and compare the values and gradients of every baseline with the exact ones, on the same rollouts.

  python -m llm_train gradients --out results/gradients --jobs 2

Stages are blocks of {BLOCK} steps on the same prompts, and begin after {", ".join(map(str, STAGES))} steps. Writes
rows.parquet, with a row for each repetition, and table.md. Finished parts are not repeated.
"""


def main(arguments: Sequence[str]) -> None:
    """Record, measure and write the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m llm_train gradients",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("results/gradients"))
    parser.add_argument("--rollouts", type=int, nargs="+", default=[1, 2, 4, 8], metavar="G")
    parser.add_argument("--stages", type=int, nargs="+", default=list(STAGES), metavar="STEP")
    parser.add_argument("--repetitions", type=int, default=40, help="repetitions of each step of a stage")
    parser.add_argument("--jobs", type=int, default=1, help="parallel processes, -1 for one per core")
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--task", choices=["sums", "multiples"], default="sums")
    parser.add_argument("--sft_until", type=float, default=0.4, help="mean value at which the warm-up stops")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table_only", action="store_true", help="write table.md anew from rows.parquet")
    options = parser.parse_args(list(arguments))
    from llm_train.studies.gradient_tables import write_rows, write_table

    if not options.table_only:
        try:
            write_rows(options)
        except ValueError as error:
            parser.error(str(error))
    print(write_table(options.out))
