"""All figures and tables in the order of the paper, and how one is made."""

from __future__ import annotations

from pathlib import Path

from paper_figures.accuracy_exhibits import Accuracy, SingleRollout
from paper_figures.adaptive_fig import Adaptive
from paper_figures.allocation_fig import Allocation
from paper_figures.audit_calibration_fig import AuditCalibration
from paper_figures.broken_assumptions_fig import BrokenAssumptions
from paper_figures.convergence_fig import Convergence
from paper_figures.drawing import STYLE, write
from paper_figures.exhibit import Exhibit
from paper_figures.schedule_fig import Schedule
from paper_figures.selectors_fig import Selectors
from paper_figures.sensitivity_fig import Sensitivity
from paper_figures.speed_fig import Speed
from paper_figures.stage_tables import GradientByStage, ValueByStage
from paper_figures.value_error_fig import ValueErrors
from simulations.harness.keyed_results import StaleResultError

__all__ = ["EXHIBITS", "exhibit_class", "make"]

EXHIBITS: dict[str, type[Exhibit]] = {
    cls.name: cls
    for cls in (
        ValueErrors, Convergence, Sensitivity, SingleRollout, Schedule, ValueByStage, GradientByStage, Accuracy,
        Adaptive, Allocation, BrokenAssumptions, AuditCalibration, Selectors, Speed,
    )
}  # fmt: skip


def exhibit_class(name: str) -> type[Exhibit]:
    """Look an exhibit up."""
    if name not in EXHIBITS:
        raise ValueError(f"unknown figure or table {name!r}; choose one of {', '.join(EXHIBITS)}, or all")
    return EXHIBITS[name]


def make(exhibit: Exhibit, folder: Path) -> tuple[str, list[Path]]:
    """Make the data if they are missing or stale, check the caption, draw, and write everything."""
    from matplotlib import rc_context

    from kvar.utils.atomic_files import atomic_write

    # What an earlier run has drawn must not outlive a claim that no longer holds.
    for earlier in (*folder.glob(f"{exhibit.name}.*"), *folder.glob(f"{exhibit.name}-*.*")):
        if earlier.suffix in (".pdf", ".png", ".md"):
            earlier.unlink()
    try:
        tables = exhibit.tables()
    except StaleResultError:
        exhibit.compute()
        tables = exhibit.tables()
    exhibit.check(tables)
    with rc_context(STYLE):
        drawn = exhibit.draw(tables)
        text = exhibit.beside(tables)
        if isinstance(drawn, str):
            text, drawn = f"{drawn}\n\n{text}", {}
        written = write(drawn, folder / exhibit.name)
    pictures = "".join(f"![]({path.name})\n\n" for path in written if path.suffix == ".png")
    page = folder / f"{exhibit.name}.md"
    with atomic_write(page) as temporary:
        temporary.write_text(f"# {exhibit.place}: {exhibit.name}\n\n{pictures}{exhibit.caption}\n\n{text}\n")
    return text, [*written, page]
