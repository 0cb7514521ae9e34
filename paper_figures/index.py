"""All figures and tables in the order of the paper."""

from __future__ import annotations

from paper_figures.accuracy_tables import Accuracy, SingleRollout
from paper_figures.adaptive_fig import Adaptive
from paper_figures.allocation_fig import Allocation
from paper_figures.audit_calibration_fig import AuditCalibration
from paper_figures.broken_assumptions_fig import BrokenAssumptions
from paper_figures.convergence_fig import Convergence
from paper_figures.exhibit import Exhibit
from paper_figures.schedule_fig import Schedule
from paper_figures.selectors_fig import Selectors
from paper_figures.sensitivity_fig import Sensitivity
from paper_figures.speed_fig import Speed
from paper_figures.stage_tables import GradientByStage, ValueByStage
from paper_figures.value_error_fig import ValueErrors

__all__ = ["EXHIBITS", "exhibit_classes"]

EXHIBITS: dict[str, type[Exhibit]] = {
    cls.name: cls
    for cls in (
        ValueErrors, Convergence, Sensitivity, SingleRollout, Schedule, ValueByStage, GradientByStage, Accuracy,
        Adaptive, Allocation, BrokenAssumptions, AuditCalibration, Selectors, Speed,
    )
}  # fmt: skip


def exhibit_classes(name: str) -> list[type[Exhibit]]:
    """The exhibit of a name, or ``all`` of them."""
    if name != "all" and name not in EXHIBITS:
        raise ValueError(f"unknown figure or table {name!r}; choose one of {', '.join(EXHIBITS)}, or all")
    return list(EXHIBITS.values()) if name == "all" else [EXHIBITS[name]]
