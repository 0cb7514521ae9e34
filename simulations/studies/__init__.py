"""All studies by name."""

from __future__ import annotations

from simulations.harness.study import Study
from simulations.studies.allocation import Allocation
from simulations.studies.bandwidth_choice import BandwidthChoice
from simulations.studies.broken_assumptions import BrokenAssumptions
from simulations.studies.convergence import Convergence
from simulations.studies.gradient_error import GradientError
from simulations.studies.race import Race
from simulations.studies.value_rates import ValueRates

__all__ = ["STUDIES", "study_class"]

STUDIES: dict[str, type[Study]] = {
    cls.name: cls
    for cls in (ValueRates, GradientError, Convergence, BandwidthChoice, Allocation, BrokenAssumptions, Race)
}


def study_class(name: str) -> type[Study]:
    """Look a study up by name."""
    try:
        return STUDIES[name]
    except KeyError:
        raise ValueError(f"unknown study {name!r}; choose one of {', '.join(STUDIES)}, or all") from None
