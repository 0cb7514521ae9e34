"""The data of figures that show a simulation study: tables of a run of ``python -m simulations``."""

from __future__ import annotations

from pathlib import Path

from simulations.harness.keyed_results import StaleResultError, read_tables
from simulations.harness.publishing import publish
from simulations.harness.running import result_key, run_study
from simulations.harness.study import Study
from simulations.studies import study_class

__all__ = ["sized_study", "study_tables", "write_study"]

_RESULTS = Path("results/simulations")
_KEPT = Path("docs/simulations")
_SEED = 0


def sized_study(name: str, full: bool) -> Study:
    """A study at one of its two sizes."""
    cls = study_class(name)
    return cls(cls.full if full else cls.quick)


def write_study(name: str, full: bool) -> None:
    """Run a study, going on where a run was cut off."""
    study = sized_study(name, full)
    rows = run_study(study, _SEED, _RESULTS / "blocks", jobs=-1, progress=True)
    publish(study, rows, _SEED, _RESULTS / ("full" if full else "quick"))


def study_tables(name: str, full: bool) -> dict:
    """Read the tables of a study."""
    wanted = result_key(sized_study(name, full), _SEED)
    reasons = []
    for folder in (_KEPT, _RESULTS / "full") if full else (_RESULTS / "quick",):
        try:
            tables = read_tables(folder / f"{name}.json", wanted)
        except StaleResultError as reason:
            reasons.append(str(reason))
        else:
            return {table.removeprefix(f"{name}-"): frame for table, frame in tables.items()}
    raise StaleResultError("; ".join(reasons))
