"""All figures and tables in the order of the paper."""

from __future__ import annotations

import re

from kvar.utils.checks import did_you_mean
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
    """The exhibit of a name, ours or in the paper such as ``table-2``, or ``all`` of them."""
    named = EXHIBITS | {alias: cls for cls in EXHIBITS.values() for alias in _names_in_paper(cls.place)}
    wanted = name.lower().replace(" ", "-").replace(".", "")
    if wanted == "all":
        return list(EXHIBITS.values())
    if wanted not in named:
        raise ValueError(
            f"unknown figure or table {name!r}{did_you_mean(wanted, named)}; choose one of {', '.join(EXHIBITS)}, all, "
            "or a number of the paper such as figure-3"
        )
    return [named[wanted]]


def _names_in_paper(place: str) -> list[str]:
    """Tables 3 and 4 are table-3 and table-4, Figure S.1 is figure-s1; what is ours has none."""
    kind = place.split()[0].lower().removesuffix("s")
    return [f"{kind}-{number.lower()}" for number in re.findall(r"S?\d+", place.replace(".", ""))]
