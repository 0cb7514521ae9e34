"""Processor seconds of every ``--help``, of listings, of ``import kvar`` and of a first audit, here and in the
checkouts whose paths are given. Each number is the least of some runs, taken in turns."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

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


def processor_seconds(call: list[str], checkout: Path, folder: str) -> float:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(
        [sys.executable, *call], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        raise SystemExit(f"{' '.join(call)} in {checkout} ended with {started.returncode}")
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkouts", type=Path, nargs="*", help="checkouts to compare with")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    checkouts, rows = [ROOT, *options.checkouts], []
    with tempfile.TemporaryDirectory() as folder:
        for name, call in _CALLS.items():
            times = [[processor_seconds(call, place, folder) for place in checkouts] for _ in range(options.runs)]
            rows.append([name, *(f"{min(column):.2f}" for column in zip(*times, strict=True))])
    print(markdown_table(["", "here", *map(str, options.checkouts)], rows))


if __name__ == "__main__":
    main()
