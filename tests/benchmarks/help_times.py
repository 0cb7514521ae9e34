"""Processor seconds of every ``--help``, of listings, ``import kvar`` and a first audit, here and in other checkouts.

    python tests/benchmarks/help_times.py [CHECKOUT ...] [--out docs/help_times.csv]

Each number is the least of some runs, taken in turns. All keep their bytecode in one folder, which the first run fills.
A command that a checkout does not have is left empty.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl

from kvar.utils.markdown import markdown_table

ROOT = Path(__file__).parents[2]
_CALLS = {
    "import numpy": ["-c", "import numpy"],
    "import kvar": ["-c", "import kvar"],
    **{
        f"{program} {command} --help".replace("  ", " "): ["-m", module, *command.split(), "--help"]
        for program, module, commands in (
            ("kvar", "kvar.commands.main", ("", "audit", "inspect", "bandwidth")),
            ("llm_train", "llm_train", ("", "train", "compare", "gradients")),
            ("simulations", "simulations", ("", "list", "run", "pages")),
            ("paper_figures", "paper_figures", ("",)),
        )
        for command in commands
    },
    "simulations list": ["-m", "simulations", "list"],
    "paper_figures list": ["-m", "paper_figures", "list"],
    "kvar audit --demo": ["-m", "kvar.commands.main", "audit", "--demo", "--jobs", "1"],
}


def processor_seconds(call: list[str], checkout: Path, folder: str) -> float | None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPATH": str(checkout), "PYTHONPYCACHEPREFIX": f"{folder}/bytecode", "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(
        [sys.executable, *call], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    if not started.returncode:
        return used.ru_utime + used.ru_stime
    if checkout == ROOT:
        raise SystemExit(f"{' '.join(call)} ended with {started.returncode}")
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs="*", help="checkouts to compare with, named by their folder")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, help="CSV file to write")
    options = parser.parse_args()
    checkouts, rows = {"here": ROOT, **{place.name: place.resolve() for place in options.checkouts}}, []
    with tempfile.TemporaryDirectory() as folder:
        for name, call in _CALLS.items():
            times = [
                [processor_seconds(call, place, folder) for place in checkouts.values()] for _ in range(options.runs)
            ]
            least = [None if None in column else round(min(column), 2) for column in zip(*times, strict=True)]
            rows.append({"command": name, **dict(zip(checkouts, least, strict=True))})
    if options.out:
        pl.DataFrame(rows).write_csv(options.out)
    print(markdown_table(list(rows[0]), [["" if cell is None else str(cell) for cell in row.values()] for row in rows]))


if __name__ == "__main__":
    main()
