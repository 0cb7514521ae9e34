"""Discounted counts of each prompt's successes and failures."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from kvar.baselines.base import Baseline
from kvar.history.prompt_table import PromptTable
from kvar.rollouts.batch import Batch
from kvar.utils.checks import is_number, require_choice, require_flags

__all__ = ["DiscountedBeta"]

# SPO limits the discount of a visit to this range, so that the mass of one rollout a visit tends to 8 to 25 rewards.
_SMALLEST_RHO, _LARGEST_RHO = 0.875, 0.96
_DRIFT = "drift"


@dataclass
class DiscountedBeta(Baseline):
    """Mean of a Beta distribution with discounted counts: DBB (arXiv 2603.18444) or SPO (arXiv 2509.13232).

    A visit with N rewards of sum S updates the prompt's counts, which start from alpha = beta = `prior`::

        alpha <- rho alpha + S,   beta <- rho beta + N - S,   V = alpha / (alpha + beta)

    DBB discounts by visit and takes the value after the update, including the own reward. This is the default. SPO
    discounts by the change of the policy and takes the value before the update of its single rollout, which excludes
    the own reward: ``forgetting="drift", include_own=False, prior=0.5`` (its prior without offline data).

    The state is kept as the mean m = alpha / (alpha + beta) and the mass alpha + beta. The update is then SPO's moving
    average m <- m + (S - N m) / (rho mass + N). Rewards outside [0, 1] are averaged in the same way, but the prior mean
    of 1/2 has no meaning for them. The prior is discounted from the first visit on, as published; with
    ``forgetting="step"``, from the step of the first visit on. If the mass has been discounted to 0, the value is the
    last mean. A visit without rewards has no effect. A state is kept for every prompt ever seen.

    Parameters
    ----------
    forgetting : {"visit", "step", "drift"}
        What rho depends on. With "visit", rho is `discount`. With "step", it is `discount` to the power of the time
        since the last visit. With "drift", it is SPO's ``2 ** (-D / half_life)``, clipped to [0.875, 0.96], where D is
        the divergence of the policy since the prompt's last visit, averaged over the group; the column ``drift``
        contains it and is needed by `update` too.
    discount : float
        From 0 to 1. DBB uses 0.5 and 0.75, and reports the smallest value error near 0.4.
    half_life : float
        Divergence that halves the mass, 0.06 in SPO's code.
    prior : float
        Initial alpha and beta, positive.
    include_own : bool
        Whether a rollout's own reward enters its value. If not, the value uses the other rewards of the visit.
    """

    name: ClassVar[str] = "discounted-beta"
    forgetting: Literal["visit", "step", "drift"] = "visit"
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
        """Means after the update by the batch, or by the group without the own reward."""
        records = self.recalled(batch)
        mean, mass = records["mean"], records["mass"]
        if self.include_own:
            return batch.spread(_mean_with(mean, mass, batch.totals, batch.counts))
        others = batch.totals_of_others
        return _mean_with(batch.spread(mean), batch.spread(mass), others, batch.n_others)

    def own_weight(self, batch: Batch) -> np.ndarray:
        """One over the mass after the update, if the own reward is included."""
        if not self.include_own:
            return np.zeros(batch.rewards.shape)
        mass = batch.spread(self.recalled(batch)["mass"] + batch.counts)
        return np.divide(batch.scored, mass, out=np.zeros(batch.rewards.shape), where=batch.scored)

    def learn(self, batch: Batch) -> None:
        """Update mean and mass of each prompt."""
        records = self.recalled(batch).copy()
        records["mean"] = _mean_with(records["mean"], records["mass"], batch.totals, batch.counts)
        records["mass"] += batch.counts
        visited = np.flatnonzero(batch.counts > 0)
        self._table.write(batch.keys[visited], records[visited], batch.step)

    def _recall(self, batch: Batch) -> np.ndarray:
        """Records with discounted masses, shape (P,)."""
        records = self._table.read(batch.keys)
        elapsed = self._table.elapsed(batch.prompt_ids, records, batch.step)
        rho: float | np.ndarray
        if self.forgetting == "visit":
            rho = self.discount
        elif self.forgetting == "step":
            rho = self.discount**elapsed
        else:
            rho = np.clip(2.0 ** (-_drift(batch) / self.half_life), _SMALLEST_RHO, _LARGEST_RHO)
        records["mass"] *= rho
        return records

    def _state(self) -> dict:
        return self._table.state_dict()

    def _load_state(self, state: dict) -> None:
        self._table.load_state_dict(state)


def _mean_with(mean: np.ndarray, mass: np.ndarray, total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Mean after more rewards of this total and count; the old mean if there is no mass at all."""
    shift, mass = total - count * mean, mass + count
    return mean + np.divide(shift, mass, out=np.zeros(shift.shape), where=mass > 0)


def _drift(batch: Batch) -> np.ndarray:
    """Divergence of the policy for each prompt, averaged over its scored rollouts; shape (P,)."""
    if _DRIFT not in batch.columns:
        raise ValueError(f"forgetting={_DRIFT!r} needs {_DRIFT} with every batch: pass it by name, {_DRIFT}=...")
    drift = batch.columns[_DRIFT]
    if (wrong := batch.scored & ~(drift >= 0)).any():
        raise ValueError(f"{_DRIFT} must be a divergence from 0 on, got {drift[wrong][0]:g}")
    return batch.sums(np.where(batch.scored, drift, 0.0)) / np.maximum(batch.counts, 1)
