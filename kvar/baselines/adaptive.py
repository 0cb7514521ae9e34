"""A baseline without settings: history, shrinkage and drift, all chosen online by how well they predict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline, Estimate
from kvar.history.visit_sums import kernel_sums
from kvar.history.visits import History
from kvar.kernels import get_kernel
from kvar.online.discount import discount_for
from kvar.online.expert_weights import ExpertWeights
from kvar.online.feature_prior import FeaturePrior, feature_columns
from kvar.online.reward_scale import RewardScale
from kvar.online.shared_drift import SharedDrift
from kvar.rollouts.batch import Batch, sums_of_others
from kvar.utils.checks import checked_array, checked_keys, require_flags

__all__ = ["AdaptiveBaseline", "Look", "Mixture"]

# Kernels and their windows in steps, short ones compact, long ones with a tail.
_WINDOWS = (
    *((get_kernel("triangular"), window) for window in (2.0, 5.0, 12.0, 30.0, 80.0)),
    *((get_kernel("exponential"), window) for window in (15.0, 50.0, 150.0, 500.0)),
)
# How many rewards the prior is worth; infinity is one more candidate, the prior alone.
_PRIORS = (0.0, 1.0, 2.0, 5.0, 15.0)
_REACH = 1000.0
_NOISE_DISCOUNT = 0.95
# The value of the very first rollout, if it comes alone: the middle of the range of most rewards.
_START = 0.5


class Mixture:
    """An average of candidates under weights, with the weighted squared error of each of them."""

    def __init__(self, weights: np.ndarray, batch: Batch, root_weights: np.ndarray | None):
        self.weights = weights
        self.average = np.zeros(batch.rewards.shape)
        self.losses: list[float] = []
        self._rewards, self._root = batch.filled, root_weights
        self._scratch = np.empty(batch.rewards.shape)  # cost only

    def add(self, candidate: np.ndarray) -> None:
        """Take the next candidate, values of shape (P, N), in."""
        self.average += np.multiply(candidate, self.weights[len(self.losses)], out=self._scratch)
        error = np.subtract(candidate, self._rewards, out=self._scratch)
        if self._root is not None:
            error *= self._root
        self.losses.append(np.vdot(error, error))


@dataclass
class Look:
    """All that one look at a batch yields: sums of the past, priors, and the mixture of all candidates."""

    batch: Batch
    priors: list[np.ndarray]
    prior: np.ndarray
    mass: np.ndarray
    total: np.ndarray
    regressor: np.ndarray
    moved: np.ndarray
    mixture: Mixture
    # Of a baseline that is something else than the value.
    baselines: Mixture | None = None


@dataclass
class AdaptiveBaseline(Baseline):
    """Mixture of kernel estimates, each shrunk to a prior and with or without drift, weighted by their record.

    A candidate has a window w, a prior worth kappa rewards, and the drift (d = 1) or not (d = 0)::

        V = (S_w + d D_w + sum_{k != g} Z^(k) + kappa mu) / (W_w + G - 1 + kappa)

    S_w and W_w are the kernel sums of the prompt's past and mu is the mean of the other rewards of the batch and of the
    run's recent mean, which counts as up to 64 rewards. Where the batch comes with columns ``feature_0``,
    ``feature_1`` and so on, say coordinates of an embedding of the prompt, mu also learns from the rewards of prompts
    that resemble it (`FeaturePrior`). D_w moves the past to the present by a slope that all prompts share
    (`SharedDrift`). No estimate sees the reward that it predicts, so ``E[(Z - V)^2] = noise + MSE(V)`` ranks
    the candidates without the truth, and the baseline is their average under exponential weights
    (`ExpertWeights`).

    Parameters
    ----------
    history, shrinkage, drift, features : bool
        Leave an ingredient out, to see what it is worth: without history only the group and the prior remain, without
        shrinkage no candidate has a prior, without drift none is moved by it, without features the prior is the same
        for all prompts.

    Notes
    -----
    Cost per step O(P V K + P N C) for P prompts of N rollouts with V visits within 1,000 steps, K = 9 windows and
    C = 91 candidates.
    Visits more than 1,000 steps
    back, twice the longest window, are forgotten.

    The standard error adds the posterior variance of each candidate, noise over the rewards that it is worth, to the
    spread of the candidates around their average, both under the weights. The noise of a prompt is taken proportional
    to ``(v - lo)(hi - v)``, which is exact for rewards of two values and an upper bound for others, with a factor of at
    most one that makes it agree with the errors of the recent past.
    """

    name: ClassVar[str] = "adaptive"
    history: bool = True
    shrinkage: bool = True
    drift: bool = True
    features: bool = True

    def __post_init__(self):
        require_flags(**self.parameters)
        self._windows = _WINDOWS if self.history else _WINDOWS[:1]
        self._priors = _PRIORS if self.shrinkage else _PRIORS[:1]
        self._history = History(_REACH if self.history else 0.0)
        self._scale = RewardScale()
        self._drift = SharedDrift(len(self._windows))
        self._features = FeaturePrior()
        self._experts = ExpertWeights(len(self._windows) * len(self._priors) * (1 + self.drift) + self.shrinkage)
        self._error_total = self._variance_total = 0.0

    @property
    def window_in_use(self) -> float:
        """The geometric mean of the windows under their weights; NaN without history."""
        if not self.history:
            return math.nan
        return self._experts.mean_window([width for _, width in self._windows])

    def columns_used(self, names: Iterable[str]) -> list[str]:
        """The features among the columns."""
        return feature_columns(names) if self.features else []

    def values(self, batch: Batch) -> np.ndarray:
        """Mixture estimates."""
        return self.recalled(batch).mixture.average

    def assess(self, batch: Batch) -> Estimate:
        """Mixture estimates of the value with their uncertainty."""
        look = self.recalled(batch)
        mixture = look.mixture
        fraction = min(1.0, self._error_total / self._variance_total) if self._variance_total > 0 else np.nan
        variance, size = np.zeros(mixture.average.shape), np.zeros(mixture.average.shape)
        for weight, (value, worth) in zip(mixture.weights, self._candidates(look), strict=True):
            # Half a reward at either end keeps the noise of a prompt away from zero (Agresti and Coull 1998).
            noise = fraction * self._scale.largest_variance((value * worth + self._scale.midrange) / (worth + 1))
            variance += weight * (noise / np.maximum(worth, 1.0) + (value - mixture.average) ** 2)
            size += weight * worth
        return Estimate(mixture.average, np.sqrt(variance), size)

    def second_moments(self, batch: Batch) -> np.ndarray:
        """Variance of the reward at the estimated value: exact for rewards of two values, for others an upper bound."""
        return self._scale.largest_variance(self.recalled(batch).mixture.average)

    def learn(self, batch: Batch) -> None:
        """Learn from the batch's rewards, then take them into the history."""
        look = self.recalled(batch)
        values = look.mixture.average
        self._experts.learn(np.array(look.mixture.losses), int(batch.counts.sum()))
        self._features.learn(batch, look.priors)
        self._drift.learn(batch, look.mass, look.total, look.regressor)
        self._scale.learn(batch)
        if self._scale.has_range and batch.counts.any():
            errors = np.where(batch.scored, batch.rewards - values, 0.0)
            largest = self._scale.largest_variance(values)[batch.scored].sum()
            discount = discount_for(_NOISE_DISCOUNT, batch.counts.sum())
            self._error_total = discount * self._error_total + float(np.vdot(errors, errors))
            self._variance_total = discount * self._variance_total + float(largest)
        self._history.add(batch.keys, batch.filled.sum(axis=1), batch.counts[:, 0], batch.step)

    def _recall(self, batch: Batch) -> Look:
        """Sums of the past, priors, and the mixture of all candidates."""
        self._history.check_step(batch.step)
        total, mass, lag_mass = kernel_sums(
            self._history, batch.keys, batch.step, self._windows, ["total", "mass", "lag_mass"]
        )
        regressor = self._drift.regressor(mass, total, lag_mass, self._scale)
        moved = mass * self._drift.correction(regressor, self._scale)
        priors = [self._prior(batch)]
        if self.features:
            priors = self._features.predictions(batch, priors[0], self._scale)
        prior = self._features.mixture(priors)
        mixture = Mixture(self._experts.weights(), batch, None if batch.scored.all() else batch.scored)
        look = Look(batch, priors, prior, mass, total, regressor, moved, mixture)
        self._mix(look)
        return look

    def _mix(self, look: Look) -> None:
        """Run through the candidates once."""
        for value, _ in self._candidates(look):
            look.mixture.add(value)

    def _candidates(self, look: Look) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Values by each candidate and the number of rewards that they are worth, both of shape (P, N)."""
        batch, prior = look.batch, look.prior
        others, n_others = sums_of_others(batch.filled), (batch.counts - batch.scored).astype(np.float64)
        from_prior = [kappa * prior for kappa in self._priors]
        for k in range(len(self._windows)):
            total, mass = look.total[:, k, None] + others, look.mass[:, k, None] + n_others
            moved = look.moved[:, k, None]
            for kappa, first in zip(self._priors, from_prior, strict=True):
                worth = mass + kappa
                if kappa:  # cost only
                    inverse = 1.0 / worth
                    still = (total + first) * inverse
                else:
                    inverse = np.divide(1.0, worth, out=np.zeros(worth.shape), where=worth > 0)
                    still = np.where(worth > 0, total * inverse, prior)
                yield still, worth
                if self.drift:
                    yield still + moved * inverse, worth
        if self.shrinkage:
            yield prior, np.full(prior.shape, _PRIORS[-1])

    def _prior(self, batch: Batch) -> np.ndarray:
        """Mean of the other rewards of the batch and of the run's recent past; 1/2 before there is either."""
        others = sums_of_others(batch.filled.ravel()).reshape(batch.filled.shape)
        total = others + self._scale.effective_size * self._scale.mean
        mass = batch.counts.sum() - batch.scored + self._scale.effective_size
        return np.divide(total, mass, out=np.full(total.shape, _START), where=mass > 0)

    def _state(self) -> dict:
        return {
            "history": self._history.state_dict(),
            "scale": self._scale.state_dict(),
            "drift": self._drift.state_dict(),
            "features": self._features.state_dict(),
            "experts": self._experts.state_dict(),
            "noise": [self._error_total, self._variance_total],
        }

    def _load_state(self, state: dict) -> None:
        keys = ("history", "scale", "drift", "features", "experts", "noise")
        checked_keys(state, keys, "the state of an adaptive baseline")
        self._history.load_state_dict(state["history"])
        self._scale.load_state_dict(state["scale"])
        self._drift.load_state_dict(state["drift"])
        self._features.load_state_dict(state["features"])
        self._experts.load_state_dict(state["experts"])
        noise = checked_array(state["noise"], "noise of an adaptive baseline", (2,), low=0.0)
        self._error_total, self._variance_total = noise.tolist()
