"""All studies by name."""

from __future__ import annotations

from simulations.harness.study import Study
from simulations.studies.allocation import Allocation
from simulations.studies.audit_findings import AuditFindings
from simulations.studies.bandwidth_choice import BandwidthChoice
from simulations.studies.broken_assumptions import BrokenAssumptions
from simulations.studies.convergence import Convergence
from simulations.studies.coverage import Coverage
from simulations.studies.coverage_doubtful import CoverageDoubtful
from simulations.studies.gradient_error import GradientError
from simulations.studies.prompt_orders import PromptOrders
from simulations.studies.race import Race
from simulations.studies.run_comparison import RunComparison
from simulations.studies.score_norms import ScoreNorms
from simulations.studies.value_rates import ValueRates

__all__ = ["STUDIES", "study_classes"]

STUDIES: dict[str, type[Study]] = {
    cls.name: cls
    for cls in (
        ValueRates,
        GradientError,
        Convergence,
        BandwidthChoice,
        Allocation,
        BrokenAssumptions,
        Race,
        ScoreNorms,
        PromptOrders,
        Coverage,
        CoverageDoubtful,
        AuditFindings,
        RunComparison,
    )
}


def study_classes(name: str) -> list[type[Study]]:
    """The study of a name, or ``all`` of them."""
    if name != "all" and name not in STUDIES:
        raise ValueError(f"unknown study {name!r}; choose one of {', '.join(STUDIES)}, or all")
    return list(STUDIES.values()) if name == "all" else [STUDIES[name]]
