"""A discounted count of each prompt's successes and failures."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.history.prompt_table import PromptTable
from kvar.rollouts.batch import Batch, sums_of_others
from kvar.utils.checks import is_number, require_choice, require_flags

__all__ = ["DiscountedBeta"]

# SPO keeps what a visit retains between these, so that a prompt is worth 8 to 25 rewards at most.
_LEAST_RETAINED, _MOST_RETAINED = 0.875, 0.96
_DRIFT = "drift"


@dataclass
class DiscountedBeta(Baseline):
    """Mean of a Beta distribution whose counts fade: DBB (arXiv 2603.18444) and SPO (arXiv 2509.13232) by parameters.

    A visit with N rewards of sum S updates the prompt's counts, alpha_0 = beta_0 = `prior`, by::

        alpha <- rho alpha + S,   beta <- rho beta + N - S,   V = alpha / (alpha + beta)

    DBB forgets by visit and takes the value after the update, own reward included; these are the defaults. SPO forgets
    by how far the policy has moved and takes the value before the update of its one rollout, which leaves the own
    reward out: ``forgetting="drift", include_own=False, prior=0.5`` (its prior without offline data).

    The state is kept as the mean m = alpha / (alpha + beta) and the mass alpha + beta, which is SPO's moving average
    m <- m + (S - N m) / (rho mass + N). Rewards outside [0, 1] are averaged in the same way; only the prior mean of 1/2
    has no meaning then. The prior fades from the first visit on, as published; when forgetting goes by step, from the
    first visit's step on. A mass that has faded to nothing leaves the last mean. A visit without any reward does not
    count as one. There is one state a prompt, for every prompt ever seen.

    Parameters
    ----------
    forgetting : {"visit", "step", "drift"}
        What rho is: `discount` a visit; `discount` to the power of the time since the last visit; or, from the column
        ``drift``, the divergence D of the policy since the prompt's last visit (averaged over the group), SPO's
        ``2 ** (-D / half_life)``, not less than 0.875 nor more than 0.96. `update` must be given that column too.
    discount : float
        From 0 to 1. DBB uses 0.5 and 0.75, and reports the least value error near 0.4.
    half_life : float
        Drift that halves the mass, 0.06 in SPO's code.
    prior : float
        Positive.
    include_own : bool
        If not, each rollout's value has all of the visit but its own reward.
    """

    name: ClassVar[str] = "discounted-beta"
    forgetting: str = "visit"
    discount: float = 0.5
    half_life: float = 0.06
    prior: float = 1.0
    include_own: bool = True
    _table: PromptTable = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        require_choice("forgetting", self.forgetting, ("visit", "step", _DRIFT))
        if not (is_number(self.discount) and 0 <= self.discount <= 1):
            raise ValueError(f"discount must be from 0 to 1, got {self.discount!r:.60}")
        for name in ("half_life", "prior"):
            if not (is_number(getattr(self, name)) and 0 < getattr(self, name) < math.inf):
                raise ValueError(f"{name} must be a positive number, got {getattr(self, name)!r:.60}")
        require_flags(include_own=self.include_own)
        if self.forgetting == _DRIFT:
            self.needs = (_DRIFT,)  # type: ignore[misc]
        self._table = PromptTable({"mass": (0.0, sys.float_info.max)}, mean=0.5, mass=2.0 * self.prior)

    def values(self, batch: Batch) -> np.ndarray:
        """Means of the faded counts with the batch in them."""
        records = self.recalled(batch)
        mean, mass = records["mean"][:, None], records["mass"][:, None]
        if self.include_own:
            values = _mean_with(mean, mass, batch.filled.sum(axis=1, keepdims=True), batch.counts)
            return np.broadcast_to(values, batch.rewards.shape)
        return _mean_with(mean, mass, sums_of_others(batch.filled), batch.counts - batch.scored)

    def own_weight(self, batch: Batch) -> np.ndarray:
        """One over the mass, if the own reward is included."""
        if not self.include_own:
            return np.zeros(batch.rewards.shape)
        mass = self.recalled(batch)["mass"][:, None] + batch.counts
        return np.divide(batch.scored, mass, out=np.zeros(batch.rewards.shape), where=batch.scored)

    def learn(self, batch: Batch) -> None:
        """Count the batch's rewards."""
        counts = batch.counts[:, 0]
        records = self.recalled(batch).copy()
        records["mean"] = _mean_with(records["mean"], records["mass"], batch.filled.sum(axis=1), counts)
        records["mass"] += counts
        visited = np.flatnonzero(counts > 0)
        self._table.write(batch.keys[visited], records[visited], batch.step)

    def _recall(self, batch: Batch) -> np.ndarray:
        """Records with the masses that are left of the past."""
        records = self._table.read(batch.keys)
        elapsed = self._table.elapsed(batch.prompt_ids, records, batch.step)
        retained: float | np.ndarray
        if self.forgetting == "visit":
            retained = self.discount
        elif self.forgetting == "step":
            retained = self.discount**elapsed
        else:
            retained = np.clip(2.0 ** (-_drift(batch) / self.half_life), _LEAST_RETAINED, _MOST_RETAINED)
        records["mass"] *= retained
        return records

    def _state(self) -> dict:
        return self._table.state_dict()

    def _load_state(self, state: dict) -> None:
        self._table.load_state_dict(state)


def _mean_with(mean: np.ndarray, mass: np.ndarray, total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """A mean of this mass with more rewards in it."""
    shift, mass = total - count * mean, mass + count
    return mean + np.divide(shift, mass, out=np.zeros(shift.shape), where=mass > 0)


def _drift(batch: Batch) -> np.ndarray:
    """Drift of each prompt, averaged over its scored rollouts."""
    if _DRIFT not in batch.columns:
        raise ValueError(f"forgetting by drift needs {_DRIFT} with every batch: pass it by name, {_DRIFT}=...")
    drift = batch.columns[_DRIFT]
    if not (drift[batch.scored] >= 0).all():
        raise ValueError(f"{_DRIFT} must not be negative or NaN")
    return np.where(batch.scored, drift, 0.0).sum(axis=1) / np.maximum(batch.counts[:, 0], 1)
