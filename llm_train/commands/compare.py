"""``python -m llm_train compare``: compare methods in training."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]

_DESCRIPTION = """
Train with several methods over several seeds at equal rollouts, and report which was better, with intervals.

  python -m llm_train compare llm_train/configs/compare-tiny.yaml --jobs 2
  python -m llm_train compare llm_train/configs/compare-tiny.yaml --seeds 20        # more seeds, later
  python -m llm_train compare llm_train/configs/compare-tiny-middle.yaml --largest 19 --output_dir results/smaller

CONFIG has: settings (of every run), methods (label: settings, or the name of a file of them next to CONFIG), without
(labels that are left out), seeds, learning_rates and tuning_seeds to choose the learning rate of each method,
tuning_steps (the length of the runs for this choice), rate_of (label: label whose rate it takes), reference (the label
that the others are compared with), and also_against (labels of which the table says how soon their end is reached).
Other flags are settings of every run. --output_dir gets finished.jsonl with every finished run, table.md, table.json,
pairs.csv with each method against each other one, learning_rates.json with the scores behind the choice, curves.csv,
curves.png and runs/. Runs in finished.jsonl are not repeated: with a copy of that file a comparison goes on anywhere.

The grid of learning rates grows at an end until the best of a method is not there, four times at most.
"""


def main(arguments: Sequence[str]) -> None:
    """Compare, and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m llm_train compare",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", type=Path, help="YAML file")
    parser.add_argument("--jobs", type=int, default=1, help="parallel runs, -1 for one per core")
    parser.add_argument("--seeds", type=int, help="number of reported seeds, instead of that in the file")
    parser.add_argument("--table_only", action="store_true", help="write table.md anew from table.json; make no runs")
    options, flags = parser.parse_known_args(arguments)
    import yaml

    from llm_train.run.train import quiet_libraries
    from llm_train.studies.compare import Comparison, perform
    from llm_train.studies.compare_report import report, write_table

    quiet_libraries()
    try:
        comparison = Comparison.from_file(options.config, flags, options.seeds)
        if options.table_only:
            print(write_table(comparison))
            return
        chosen = perform(comparison, options.jobs)
    except KeyboardInterrupt:
        parser.exit(128 + signal.SIGINT, "Stopped. Finished runs are kept; the same command makes the others.\n")
    except (ValueError, OSError, yaml.YAMLError) as error:
        parser.exit(2, f"python -m llm_train compare: {error}\n")
    print(report(comparison, chosen))
    print(f"Table and picture: {comparison.folder}/")
