"""A baseline without settings: history, shrinkage and drift, all chosen online by how well they predict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline, Estimate
from kvar.history.visit_sums import WindowWeights, kernel_sums
from kvar.history.visits import History
from kvar.kernels import get_kernel
from kvar.online.discount import discount_for
from kvar.online.expert_weights import ExpertWeights
from kvar.online.feature_prior import FeaturePrior, feature_columns
from kvar.online.reward_scale import RewardScale
from kvar.online.shared_drift import SharedDrift
from kvar.rollouts.batch import Batch, sums_of_others
from kvar.rollouts.distinct import Distinct
from kvar.utils.checks import checked_array, checked_keys, require_flags

__all__ = ["AdaptiveBaseline", "Look", "Mixture"]

# Kernels and their windows in steps, short ones compact, long ones with a tail.
_WINDOWS = (
    *((get_kernel("triangular"), window) for window in (2.0, 5.0, 12.0, 30.0, 80.0)),
    *((get_kernel("exponential"), window) for window in (15.0, 50.0, 150.0, 500.0)),
)
# Rollouts at a time, and numbers of all candidates at a time: arrays that stay in the processor's cache.
_PART, _CELLS = 4000, 40_000
# How many rewards the prior is worth; infinity is one more candidate, the prior alone.
_PRIORS = (0.0, 1.0, 2.0, 5.0, 15.0)
_REACH = 1000.0
_NOISE_DISCOUNT = 0.95
# The value of the very first rollout, if it comes alone: the middle of the range of most rewards.
_START = 0.5


class Mixture:
    """An average of candidates under weights, with the weighted squared error of each of them."""

    def __init__(self, weights: np.ndarray, batch: Batch, distinct: Distinct, rollout_weights: np.ndarray):
        self.weights = weights
        self._kind, self._rewards = distinct.kind, batch.filled[distinct.first]
        self.average = np.zeros(self._rewards.shape)  # One a kind of rollout
        self.losses = np.zeros(len(weights))
        root = np.sqrt(distinct.sums(rollout_weights))
        self._root = None if (root == 1.0).all() else root  # cost only

    @property
    def values(self) -> np.ndarray:
        """The average for each rollout."""
        return self.average[self._kind]

    def add(self, first: int, part: slice, values: np.ndarray) -> None:
        """Take in the values of some candidates from number `first` on, for a part of the kinds; shape (C, r)."""
        members = slice(first, first + len(values))
        # Not a product of matrices, whose rounding would depend on the place of a rollout in the batch.
        self.average[part] += np.einsum("c,cr->r", self.weights[members], values)
        errors = values - self._rewards[part]
        if self._root is not None:
            errors *= self._root[part]
        self.losses[members] += np.matmul(errors[:, None], errors[..., None])[:, 0, 0]


@dataclass
class Look:
    """All that one look at a batch yields: sums of the past, priors, and the mixture of all candidates."""

    batch: Batch
    distinct: Distinct
    priors: list[np.ndarray]
    prior: np.ndarray
    mass: np.ndarray
    total: np.ndarray
    regressor: np.ndarray
    moved: np.ndarray
    mixture: Mixture
    # Of a baseline that is something else than the value: a mixture, weights of the rollouts, records of the prompts,
    # and moves that may be added.
    baselines: Mixture | None = None
    weights: np.ndarray | None = None
    records: np.ndarray | None = None
    moves: np.ndarray | None = None


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
        self._weights = WindowWeights(self._windows)
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
        return self.recalled(batch).mixture.values

    def assess(self, batch: Batch) -> Estimate[np.ndarray]:
        """Mixture estimates of the value with their uncertainty."""
        look = self.recalled(batch)
        mixture, kind = look.mixture, look.distinct.kind
        # Values at an end of the range have no variance to compare an error with, or one that is rounding.
        errors, largest = self._error_total, self._variance_total
        fraction = 1.0 if errors > largest else errors / largest if largest > 0 else np.nan
        variance, size = np.zeros(mixture.average.shape), np.zeros(mixture.average.shape)
        for first, part, values, worth in self._candidates(look):
            weights = mixture.weights[first : first + len(values), None]
            worth = np.repeat(worth, len(values) // len(worth), axis=0)
            # Half a reward at either end keeps the noise of a prompt away from zero (Agresti and Coull 1998).
            noise = fraction * self._scale.largest_variance((values * worth + self._scale.midrange) / (worth + 1))
            spread = (values - mixture.average[part]) ** 2
            variance[part] += (weights * (noise / np.maximum(worth, 1.0) + spread)).sum(axis=0)
            size[part] += (weights * worth).sum(axis=0)
        return Estimate(mixture.values, np.sqrt(variance)[kind], size[kind])

    def second_moments(self, batch: Batch) -> np.ndarray:
        """Variance of the reward at the estimated value: exact for rewards of two values, for others an upper bound."""
        return self._scale.largest_variance(self.recalled(batch).mixture.values)

    def learn(self, batch: Batch) -> None:
        """Learn from the batch's rewards, then take them into the history."""
        look = self.recalled(batch)
        values = look.mixture.values
        self._experts.learn(look.mixture.losses, batch.n_scored)
        self._features.learn(batch, look.priors)
        self._drift.learn(batch, look.mass, look.total, look.regressor)
        self._scale.learn(batch)
        if self._scale.has_range and batch.n_scored:
            errors = np.where(batch.scored, batch.rewards - values, 0.0)
            largest = self._scale.largest_variance(values)[batch.scored].sum()
            discount = discount_for(_NOISE_DISCOUNT, batch.n_scored)
            self._error_total = discount * self._error_total + float(np.vdot(errors, errors))
            self._variance_total = discount * self._variance_total + float(largest)
        self._history.add(batch.keys, batch.totals, batch.counts, batch.step)

    def _recall(self, batch: Batch) -> Look:
        """Sums of the past, priors, and the mixture of all candidates."""
        self._history.check_step(batch.step)
        total, mass, lag_mass = kernel_sums(
            self._history, batch.keys, batch.step, self._weights, ["total", "mass", "lag_mass"]
        )
        regressor = self._drift.regressor(mass, total, lag_mass, self._scale)
        moved = mass * self._drift.correction(regressor, self._scale)
        priors = [self._prior(batch)]
        if self.features:
            priors = self._features.predictions(batch, priors[0], self._scale)
        prior = self._features.mixture(priors)
        # Features may differ within a group, and the priors with them.
        distinct = Distinct.of(batch) if len(priors) == 1 else Distinct.every()
        mixture = Mixture(self._experts.weights(), batch, distinct, batch.scored.astype(np.float64))
        look = Look(batch, distinct, priors, prior, mass, total, regressor, moved, mixture)
        self._mix(look)
        return look

    def _mix(self, look: Look) -> None:
        """Run through the candidates once."""
        for first, part, values, _ in self._candidates(look):
            look.mixture.add(first, part, values)

    def _candidates(self, look: Look) -> Iterator[tuple[int, slice, np.ndarray, np.ndarray]]:
        """Candidates of some windows for a part of the kinds of rollouts at a time.

        They are the number of the first, the part, the values, shape (C, r), and the number of rewards that they are
        worth, a row for those with drift and without.
        """
        batch, first_of, n_windows = look.batch, look.distinct.first, len(self._windows)
        kappas = np.array(self._priors)[:, None]
        others, n_others, priors = (x[first_of] for x in (batch.totals_of_others, batch.n_others, look.prior))
        prompts = batch.spread(np.arange(len(batch.sizes)))[first_of]
        per_window = len(kappas) * (1 + self.drift)
        for start in range(0, len(others), _PART):
            part = slice(start, start + _PART)
            total, mass, moved = (
                np.ascontiguousarray(sums.take(prompts[part], axis=0).T)[:, None]
                for sums in (look.total, look.mass, look.moved)
            )
            total, mass, prior = total + others[part], mass + n_others[part], priors[part]
            from_prior = kappas * prior
            alone = not self._priors[0] and (mass <= 0).any()
            at_once = max(1, _CELLS // (per_window * len(prior)))
            for first in range(0, n_windows, at_once):
                windows = slice(first, first + at_once)
                worth = mass[windows] + kappas
                values = np.empty((len(worth), len(kappas), 1 + self.drift, len(prior)))
                still = np.add(total[windows], from_prior, out=values[:, :, 0])
                divisor = worth
                if alone:
                    still[:] = np.where(worth > 0, still, prior)
                    divisor = np.where(worth > 0, worth, 1.0)
                still /= divisor
                if self.drift:
                    np.divide(moved[windows], divisor, out=values[:, :, 1])
                    values[:, :, 1] += still
                yield first * per_window, part, values.reshape(-1, len(prior)), worth.reshape(-1, len(prior))
            if self.shrinkage:
                yield n_windows * per_window, part, prior[None], np.full((1, len(prior)), _PRIORS[-1])

    def _prior(self, batch: Batch) -> np.ndarray:
        """Mean of the other rewards of the batch and of the run's recent past; 1/2 before there is either."""
        total = sums_of_others(batch.filled) + self._scale.effective_size * self._scale.mean
        mass = batch.n_scored - batch.scored + self._scale.effective_size
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
