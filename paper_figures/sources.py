"""Where the data of figures come from: studies, recorded runs, benchmarks, and training runs that take hours."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import polars as pl

from kvar.baselines import baseline_class, baseline_names
from paper_figures.exhibit import COLUMN, PAGE, Exhibit
from simulations.harness.keyed_results import StaleResultError, read_tables
from simulations.harness.publishing import kept_tables, write_tables
from simulations.harness.running import run_study
from simulations.harness.study import Study
from simulations.studies import STUDIES

__all__ = [
    "BenchmarkExhibit",
    "RecordedRunsExhibit",
    "StudyExhibit",
    "own_baselines",
    "runs_and_output",
    "training_file",
]

_RUNS = Path("recorded_runs")
_STUDIES = Path("results/simulations")
# Written by `python -m simulations run all --full --out docs/simulations`.
_KEPT_STUDIES = Path("docs/simulations")
_SEED = 0
_TRAINING = (Path("results"), Path("docs"))


def own_baselines() -> list[str]:
    """Names of the baselines of `kvar` itself, without those that other packages registered."""
    return [name for name in baseline_names() if baseline_class(name).__module__.startswith("kvar.")]


class StudyExhibit(Exhibit):
    """Pictures of a simulation study, as wide as a page or a column."""

    study: ClassVar[str]  # Name of the study
    wide: ClassVar[bool] = True  # Whether the pictures have several panels next to each other
    height: ClassVar[float] = 2.6  # Height of a picture in inches

    def sized_study(self) -> Study:
        """The study in one of its two sizes."""
        cls = STUDIES[self.study]
        return cls(cls.full if self.full else cls.quick)

    def tables(self):
        reasons = []
        for folder in (_KEPT_STUDIES, _STUDIES / "full") if self.full else (_STUDIES / "quick",):
            try:
                return kept_tables(self.sized_study(), _SEED, folder)
            except StaleResultError as reason:
                reasons.append(str(reason))
        raise StaleResultError("; ".join(reasons))

    def compute(self):
        study = self.sized_study()
        rows = run_study(study, _SEED, _STUDIES / "blocks", jobs=-1, progress=True)
        write_tables(study, rows, _SEED, _STUDIES / ("full" if self.full else "quick"))

    def draw(self, tables):
        drawn = self.sized_study().pictures(tables)
        for figure in drawn.values():
            figure.set_size_inches(PAGE if self.wide else COLUMN, self.height)
        return drawn


class RecordedRunsExhibit(Exhibit):
    """Tables that a data script wrote for the recorded runs, in one size only."""

    data: ClassVar[ModuleType]  # The data script

    def tables(self):
        return read_tables(self.data.OUT.with_suffix(".json"), self.data.parameters(list(_RUNS.glob("*.parquet"))))

    def compute(self):
        self.data.main([])


class BenchmarkExhibit(Exhibit):
    """A table of a benchmark that is kept in docs/ and has its sizes in its columns."""

    path: ClassVar[Path]  # The table
    command: ClassVar[str]  # What makes it
    columns: ClassVar[tuple[str, ...]]  # Columns that it must have

    def tables(self):
        frame = pl.read_csv(self.path) if self.path.exists() else pl.DataFrame()
        if missing := set(self.columns) - set(frame.columns):
            raise self.stale(f"the columns {', '.join(sorted(missing))}")
        return {self.path.stem: frame}

    def stale(self, missing: str) -> StaleResultError:
        """The error that names what the table lacks, and how to make it."""
        return StaleResultError(
            f"{self.path} lacks {missing}; make it by a benchmark on a quiet machine: {self.command}"
        )


def training_file(name: str, command: str) -> Path:
    """A result file of a command that takes hours, made here or kept in docs/."""
    for folder in _TRAINING:
        if (folder / name).exists():
            return folder / name
    raise StaleResultError(f"there is no {_TRAINING[0] / name}; make it in hours by: {command}")


def runs_and_output(description: str, out: Path, arguments: Sequence[str] | None) -> tuple[list[Path], Path]:
    """Read the command line of a script that goes through the recorded runs: their paths, and the file to write."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=_RUNS, help="folder of Parquet traces")
    parser.add_argument("--out", type=Path, default=out)
    options = parser.parse_args(arguments)
    paths = sorted(options.runs.glob("*.parquet"))
    if not paths:
        parser.error(f"no Parquet trace in {options.runs}")
    return paths, options.out
