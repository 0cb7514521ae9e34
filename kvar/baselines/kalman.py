"""Kalman filter of each prompt's success rate on the arcsine scale, with a drift common to all prompts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.history.prompt_table import PromptTable
from kvar.online.running_moments import RunningMoments
from kvar.rollouts.batch import Batch
from kvar.utils.checks import LARGEST, checked_keys, checked_number, is_number

__all__ = ["KalmanBaseline"]

# Prior of a new prompt, and the number of prompts from which it is estimated instead.
_PRIOR_MEAN, _PRIOR_VARIANCE, _ENOUGH_PROMPTS = math.pi / 4, math.pi**2 / 48, 100
_NOISE_RATE = 0.1
_SMALLEST_NOISE = 1e-5
_SMALLEST_SLOPE = 0.05
# Shorter times are not used to estimate drift: times the longest possible time, the rate would exceed double precision.
_SHORTEST_TIME = 1e-60


@dataclass
class KalmanBaseline(Baseline):
    """Kalman filter of psi = arcsin(sqrt(p)) with shared drift, after ARCUS ("Prompts Live on an Arc").

    ARCUS tracks success rates to choose prompts; here the tracked rate is the baseline. Each prompt has a mean mu and a
    variance P. The prediction over a time D is the flow of dmu/dt = v sin(2 mu), which is
    ``tan(mu) <- tan(mu) exp(2 v D)``, and ``P <- P + Q D``. (ARCUS steps by mu + v sin(2 mu). The flow is the limit of
    many small steps. It stays in [0, pi/2] and is defined for any time D.) A group of G rewards with sum m observes::

        z = arcsin(sqrt((m + 3/8) / (G + 3/4))), R = 1 / (4 G + 2);   at m = 0 and m = G: z = 0 and pi/2, R = 1 / (2 G)

    and mu, clipped to [0, pi/2], and P have the usual update. The value is sin^2 of the mean *after an observation of
    the other rewards of the group only*. The own reward enters neither this observation nor drift v and process noise
    Q, which are updated after the values are computed. A rollout alone in its group has the predicted value.

    Over the known prompts of a batch, with innovations nu = z - mu of variance S = P + R after a time D each::

        v <- v + a sum(nu) / sum(D eta), eta = max(sin(2 mu), 0.05);   Q <- max(1e-5, 0.9 Q + 0.1 max(Q + e, 0))

    where a is `drift_rate` and e = mean(nu^2 - S) / mean(D). A new prompt has mean pi/4 and variance pi^2/48. After 100
    prompts, its mean is the mean of the first observations of all prompts, and its variance is their variance less
    their mean noise R, but at least Q.

    At m = 0 and m = G, z is a biased observation of the angle. In small groups this bias is taken for drift and noise:
    if all rates are between 0.18 and 0.8 and drift by v = 0.005, the estimate of v is 0.020 at G = 4, 0.007 at G = 8
    and 0.005 at G = 32.

    Rewards must be in [0, 1]. A reward between 0 and 1 counts as a fraction of a success, which overstates its noise.
    Unverified, since no paper with an identifier was found: the empirical prior in this form. The start from v = 0 and
    Q = 1e-5 is our choice. A state is kept for every prompt ever seen.

    Parameters
    ----------
    drift_rate : float
        Learning rate a of the drift, from 0 to 1; 0.1 in ARCUS. With few prompts a step, v mostly follows the noise of
        the last steps. With 0 there is no drift.
    """

    name: ClassVar[str] = "kalman"
    reward_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    drift_rate: float = 0.1
    _drift: float = field(default=0.0, init=False, repr=False, compare=False)
    _noise: float = field(default=_SMALLEST_NOISE, init=False, repr=False, compare=False)
    _first: RunningMoments = field(default=RunningMoments(), init=False, repr=False, compare=False)
    _first_noise: RunningMoments = field(default=RunningMoments(), init=False, repr=False, compare=False)
    _table: PromptTable = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        if not (is_number(self.drift_rate) and 0 <= self.drift_rate <= 1):
            raise ValueError(f"drift_rate must be from 0 to 1, got {self.drift_rate!r:.60}")
        self._table = PromptTable(
            {"mean": (0.0, math.pi / 2), "variance": (0.0, LARGEST**2)}, mean=np.nan, variance=np.nan
        )

    def values(self, batch: Batch) -> np.ndarray:
        """Success rates from the history and the other rewards of the group."""
        records, _ = self.recalled(batch)
        angle, noise = _observed(batch.totals_of_others, batch.n_others)
        mean, _ = _filtered(batch.spread(records["mean"]), batch.spread(records["variance"]), angle, noise)
        return np.sin(mean) ** 2

    def learn(self, batch: Batch) -> None:
        """Update the prompts' states, then drift, process noise and prior by the innovations."""
        visited = np.flatnonzero(batch.counts > 0)
        records, elapsed = (column[visited] for column in self.recalled(batch))
        mean, variance = records["mean"].copy(), records["variance"].copy()
        angle, noise = _observed(batch.totals[visited], batch.counts[visited])
        records["mean"], records["variance"] = _filtered(mean, variance, angle, noise)
        new = records["step"] == -np.inf
        self._table.write(batch.keys[visited], records, batch.step)
        self._first = self._first.updated(angle[new])
        self._first_noise = self._first_noise.updated(noise[new])

        timed = elapsed > _SHORTEST_TIME
        if timed.any():
            innovation, elapsed = (angle - mean)[timed], elapsed[timed]
            slope = np.maximum(np.sin(2 * mean[timed]), _SMALLEST_SLOPE)
            excess = np.mean(innovation**2 - (variance + noise)[timed]) / elapsed.mean()
            self._drift += float(self.drift_rate * innovation.sum() / (elapsed * slope).sum())
            process_noise = (1 - _NOISE_RATE) * self._noise + _NOISE_RATE * max(self._noise + excess, 0.0)
            self._noise = float(max(_SMALLEST_NOISE, process_noise))

    def _recall(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Records predicted to the time of the batch, and the time since each prompt's last visit; shape (P,)."""
        records = self._table.read(batch.keys)
        elapsed = self._table.elapsed(batch.prompt_ids, records, batch.step)
        new = records["step"] == -np.inf
        records["mean"][new], records["variance"][new] = self._prior()
        # Half of the exponent in numerator and denominator. Beyond these limits the angle is 0 or pi/2 to the last bit.
        growth = np.clip(self._drift * elapsed, -300.0, 300.0)
        mean = records["mean"]
        records["mean"] = np.arctan2(np.sin(mean) * np.exp(growth), np.cos(mean) * np.exp(-growth))
        records["variance"] += self._noise * elapsed
        return records, elapsed

    def _prior(self) -> tuple[float, float]:
        """Mean and variance of a new prompt."""
        if self._first.count < _ENOUGH_PROMPTS:
            return _PRIOR_MEAN, _PRIOR_VARIANCE
        return self._first.mean, max(self._first.variance - self._first_noise.mean, self._noise)

    def _state(self) -> dict:
        return {
            "drift": self._drift,
            "noise": self._noise,
            "first": self._first.state_dict(),
            "first_noise": self._first_noise.state_dict(),
            "prompts": self._table.state_dict(),
        }

    def _load_state(self, state: dict) -> None:
        checked_keys(state, ("drift", "first", "first_noise", "noise", "prompts"), "this history")
        self._drift = checked_number(state["drift"], "drift of this history", -LARGEST, LARGEST)
        self._noise = checked_number(state["noise"], "noise of this history", _SMALLEST_NOISE, LARGEST)
        self._first, self._first_noise = (RunningMoments.from_state_dict(state[k]) for k in ("first", "first_noise"))
        self._table.load_state_dict(state["prompts"])


def _observed(total: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angle z and its noise R from sums and numbers of rewards; R is infinite without rewards."""
    angle = np.arcsin(np.sqrt((total + 0.375) / (count + 0.75)))
    noise = 1.0 / (4.0 * count + 2.0)
    extreme = (total <= 0) | (total >= count)
    angle = np.where(extreme, np.where(total > 0, np.pi / 2, 0.0), angle)
    noise = np.where(extreme, 1.0 / (2.0 * np.maximum(count, 1)), noise)
    return angle, np.where(count > 0, noise, np.inf)


def _filtered(mean: np.ndarray, variance: np.ndarray, angle: np.ndarray, noise: np.ndarray):
    """Mean and variance of the angle after an observation."""
    gain = variance / (variance + noise)
    return np.clip(mean + gain * (angle - mean), 0.0, np.pi / 2), (1.0 - gain) * variance
