"""How severe a finding has to be for ``kvar audit --fail-on``."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Severity"]


class Severity(StrEnum):
    """From the most severe down."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    def reached_by(self, severity: str) -> bool:
        """Whether a finding is at least as severe as this."""
        order = list(Severity)
        return order.index(Severity(severity)) <= order.index(self)
