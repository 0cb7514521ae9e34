"""A filter of each prompt's success rate on the arcsine scale, with one drift shared by all prompts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.history.prompt_table import PromptTable
from kvar.online.running_moments import RunningMoments
from kvar.rollouts.batch import Batch, sums_of_others
from kvar.utils.checks import LARGEST, checked_keys, checked_number, is_number

__all__ = ["KalmanBaseline"]

# The prior before and from which number of prompts on it is replaced by what was seen.
_PRIOR_MEAN, _PRIOR_VARIANCE, _ENOUGH_PROMPTS = math.pi / 4, math.pi**2 / 48, 100
_NOISE_RATE = 0.1
_LEAST_NOISE = 1e-5
_LEAST_SLOPE = 0.05
# Less time than this teaches no rate: it would be beyond double precision over the longest time there can be.
_LEAST_TIME = 1e-60


@dataclass
class KalmanBaseline(Baseline):
    """Kalman filter of psi = arcsin(sqrt(p)) with shared drift, after ARCUS ("Prompts Live on an Arc").

    ARCUS tracks success rates to choose prompts; here the tracked rate is the baseline. Each prompt has a mean mu and a
    variance P. Over a time D they are predicted by the flow of dmu/dt = v sin(2 mu), which is
    ``tan(mu) <- tan(mu) exp(2 v D)``, and ``P <- P + Q D``. (ARCUS steps by mu + v sin(2 mu); the flow agrees with many
    small steps, never leaves [0, pi/2] and serves clocks that are not whole.) A group of G rewards of sum m observes::

        z = arcsin(sqrt((m + 3/8) / (G + 3/4))), R = 1 / (4 G + 2);   at m = 0 and m = G: z = 0 and pi/2, R = 1 / (2 G)

    and mu, kept in [0, pi/2], and P are updated in the usual way. The value is sin^2 of the mean *after an observation
    of the others in the group only*: the own reward never enters it, neither through the observation nor through
    drift v and process noise Q, which are learned after the batch has been valued. A rollout without others has the
    predicted value.

    With innovations nu = z - mu of variance S = P + R over the batch's known prompts, each after a time D::

        v <- v + a sum(nu) / sum(D eta), eta = max(sin(2 mu), 0.05);   Q <- max(1e-5, 0.9 Q + 0.1 max(Q + e, 0))

    where a is `drift_rate` and e = mean(nu^2 - S) / mean(D). A new prompt starts from pi/4 with variance pi^2/48, and
    once 100 prompts have been seen, from the mean of their first observations and their variance less its mean noise R,
    but not less than Q.

    At the two ends z is not the angle on average, which drift and noise take for movement where groups are small: on
    rates between 0.18 and 0.8 that all drift by v = 0.005, the learned v is 0.020 at G = 4, 0.007 at 8, 0.005 at 32.

    Rewards must lie in [0, 1]. Between 0 and 1 they count as parts of a success, which overstates their noise.
    Unverified, since no paper with an identifier was found: the empirical prior in this form, and the start of v at 0
    and Q at 1e-5, which are ours. There is one state a prompt, for every prompt ever seen.

    Parameters
    ----------
    drift_rate : float
        The rate a, from 0 to 1, 0.1 in ARCUS. With few prompts a step, or one, this leaves v to the noise of the last
        steps; 0 does without drift.
    """

    name: ClassVar[str] = "kalman"
    reward_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    drift_rate: float = 0.1
    _drift: float = field(default=0.0, init=False, repr=False, compare=False)
    _noise: float = field(default=_LEAST_NOISE, init=False, repr=False, compare=False)
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
        """Success rates from the past and from the others in the group."""
        records, _ = self.recalled(batch)
        angle, noise = _observed(sums_of_others(batch.filled), batch.counts - batch.scored)
        mean, _ = _filtered(records["mean"][:, None], records["variance"][:, None], angle, noise)
        return np.sin(mean) ** 2

    def learn(self, batch: Batch) -> None:
        """Filter the batch's groups, then learn drift, process noise and prior from what was unexpected."""
        visited = np.flatnonzero(batch.counts[:, 0] > 0)
        records, elapsed = (column[visited] for column in self.recalled(batch))
        mean, variance = records["mean"].copy(), records["variance"].copy()
        angle, noise = _observed(batch.filled.sum(axis=1)[visited], batch.counts[visited, 0])
        records["mean"], records["variance"] = _filtered(mean, variance, angle, noise)
        new = records["step"] == -np.inf
        self._table.write(batch.keys[visited], records, batch.step)
        self._first = self._first.updated(angle[new])
        self._first_noise = self._first_noise.updated(noise[new])

        moved = elapsed > _LEAST_TIME
        if moved.any():
            surprise, elapsed = (angle - mean)[moved], elapsed[moved]
            slope = np.maximum(np.sin(2 * mean[moved]), _LEAST_SLOPE)
            excess = np.mean(surprise**2 - (variance + noise)[moved]) / elapsed.mean()
            self._drift += float(self.drift_rate * surprise.sum() / (elapsed * slope).sum())
            learned = (1 - _NOISE_RATE) * self._noise + _NOISE_RATE * max(self._noise + excess, 0.0)
            self._noise = float(max(_LEAST_NOISE, learned))

    def _recall(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Records predicted to the time of the batch, and the time since each prompt's last visit."""
        records = self._table.read(batch.keys)
        elapsed = self._table.elapsed(batch.prompt_ids, records, batch.step)
        new = records["step"] == -np.inf
        records["mean"][new], records["variance"][new] = self._prior()
        # Half of the flow each way; beyond these limits the angle is at an end of its range to the last bit.
        growth = np.clip(self._drift * elapsed, -300.0, 300.0)
        mean = records["mean"]
        records["mean"] = np.arctan2(np.sin(mean) * np.exp(growth), np.cos(mean) * np.exp(-growth))
        records["variance"] += self._noise * elapsed
        return records, elapsed

    def _prior(self) -> tuple[float, float]:
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
        self._noise = checked_number(state["noise"], "noise of this history", _LEAST_NOISE, LARGEST)
        self._first, self._first_noise = (RunningMoments.from_state_dict(state[k]) for k in ("first", "first_noise"))
        self._table.load_state_dict(state["prompts"])


def _observed(total: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angle and its noise variance from a sum of rewards; infinite noise without any."""
    angle = np.arcsin(np.sqrt((total + 0.375) / (count + 0.75)))
    noise = 1.0 / (4.0 * count + 2.0)
    extreme = (total <= 0) | (total >= count)
    angle = np.where(extreme, np.where(total > 0, np.pi / 2, 0.0), angle)
    noise = np.where(extreme, 1.0 / (2.0 * np.maximum(count, 1)), noise)
    return angle, np.where(count > 0, noise, np.inf)


def _filtered(mean: np.ndarray, variance: np.ndarray, angle: np.ndarray, noise: np.ndarray):
    """Mean and variance after an observation."""
    gain = variance / (variance + noise)
    return np.clip(mean + gain * (angle - mean), 0.0, np.pi / 2), (1.0 - gain) * variance
