"""What a finding of an audit is: a number with its interval, what it rests on, what to do, and what that saves."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

__all__ = ["Finding", "Severity", "share_severity"]


class Severity(StrEnum):
    """From the worst down; "info" is a fact worth knowing that asks for nothing."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


@dataclass(frozen=True)
class Finding:
    """One finding of an audit; as text it is its sentence.

    Attributes
    ----------
    kind : str
        Name in the registry `kvar.auditing.kinds.KINDS`.
    severity : {"high", "medium", "low", "info"}
        How much it matters; "info" asks for nothing.
    says : str
        The finding in words, with its numbers.
    number : float
        What was measured; NaN where the finding has no number.
    low, high : float
        Its 95 % limits; NaN where there are none.
    unit : str
        What the number is, such as "fraction of the groups".
    rests_on : str
        How many rollouts, prompts and steps are behind it.
    action : dict of str to str
        What to do, as settings by trainer.
    saves : float
        Rollouts of this run that would not have been needed; NaN if it saves none. Savings of several findings overlap.
    hours, money : float
        The same in hours, where the log has the seconds of each rollout, and in the unit of ``cost_per_rollout``.
    reference : str
        Where the method or the remedy is from.
    """

    kind: str
    severity: str
    says: str
    number: float = np.nan
    low: float = np.nan
    high: float = np.nan
    unit: str = ""
    rests_on: str = ""
    action: dict[str, str] = field(default_factory=dict)
    saves: float = np.nan
    hours: float = np.nan
    money: float = np.nan
    reference: str = ""

    def __str__(self) -> str:
        """The sentence."""
        return self.says

    def priced(self, seconds: float, cost: float) -> Finding:
        """The finding with what it saves in hours and money, by the seconds and the cost of a rollout."""
        return dataclasses.replace(self, hours=self.saves * seconds / 3600, money=self.saves * cost)

    @property
    def saving(self) -> str:
        """What it saves in words; empty if nothing."""
        if not self.saves > 0:
            return ""
        parts = [f"{self.saves:,.0f} rollouts"]
        parts += [f"{self.hours:,.2g} hours"] if self.hours > 0 else []
        parts += [f"{self.money:,.2f} at the given cost"] if self.money > 0 else []
        return ", ".join(parts)


def share_severity(low: float, medium: float, high: float = np.inf) -> str:
    """Severity of a bad fraction by its lower 95 % limit: low above 5 %, and by two more thresholds."""
    return next((s for s, least in (("high", high), ("medium", medium), ("low", 0.05)) if low > least), "info")
