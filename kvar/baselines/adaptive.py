"""A baseline without settings: history, shrinkage and drift, all chosen online by how well they predict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline, Estimate
from kvar.batch import Batch, sums_of_others
from kvar.experts import ExpertWeights
from kvar.history import History
from kvar.kernels import get_kernel
from kvar.past import kernel_sums

__all__ = ["AdaptiveBaseline"]

# Kernels and their windows in steps, short ones compact, long ones with a tail.
_WINDOWS = (
    *((get_kernel("triangular"), window) for window in (2.0, 5.0, 12.0, 30.0, 80.0)),
    *((get_kernel("exponential"), window) for window in (15.0, 50.0, 150.0, 500.0)),
)
# How many rewards the prior is worth; infinity is one more candidate, the prior alone.
_PRIORS = (0.0, 1.0, 2.0, 5.0, 15.0)
_REACH = 1000.0
# What the past of the whole run is worth beside the other rewards of the batch, in rewards.
_PAST_MASS = 64.0
_PAST_DISCOUNT = 0.95
_DRIFT_DISCOUNT = 0.97


@dataclass
class _Assessment:
    """All that one look at a batch yields, so that remembering it needs no second look."""

    batch: Batch
    values: np.ndarray
    losses: np.ndarray
    drift_products: np.ndarray
    drift_squares: np.ndarray

    def is_of(self, batch: Batch) -> bool:
        """Whether this is an assessment of equal rollouts."""
        mine = self.batch
        return mine is batch or (
            mine.step == batch.step
            and mine.prompt_ids == batch.prompt_ids
            and np.array_equal(mine.rewards, batch.rewards, equal_nan=True)
        )


@dataclass(frozen=True)
class _Past:
    """What the history says of a batch's prompts, for each of K windows; the arrays have the shape (P, K)."""

    total: np.ndarray
    mass: np.ndarray
    mean: np.ndarray
    drifted: np.ndarray


@dataclass
class AdaptiveBaseline(Baseline):
    """Mixture of kernel estimates, each shrunk to a prior and with or without drift, weighted by their record.

    A candidate has a window w, a prior worth kappa rewards, and a share d in {0, 1} of the drift::

        V = (S_w + d D_w + sum_{k != g} Z^(k) + kappa mu) / (W_w + G - 1 + kappa)

    S_w and W_w are the kernel sums of the prompt's past and mu is the mean of the other rewards of the batch, with the
    run's recent mean worth 64 rewards beside them. D_w moves the past to the present: all prompts share one slope on
    the logistic scale, which makes a value v move by ``slope * lag * (v - lo)(hi - v) / (hi - lo)`` between the lowest
    and the highest reward seen; the slope is a discounted regression of the rewards' surprise on that product. No
    estimate sees the reward that it predicts, so ``E[(Z - V)^2] = noise + MSE(V)`` ranks the candidates without the
    truth, and the baseline is their average under exponential weights (`kvar.experts.ExpertWeights`).

    Notes
    -----
    Cost per step O(P V K + P N C) for P prompts of N rollouts with V visits within 1,000 steps, K = 9 windows and
    C = 91 candidates. A batch that is estimated and then remembered is looked at once.

    The standard error adds the posterior variance of each candidate, noise over the rewards that it is worth, to the
    spread of the candidates around their average, both under the weights. The noise of a prompt is taken proportional
    to ``(v - lo)(hi - v)``, which is exact for rewards of two values and an upper bound for others, with a factor of at
    most one that makes it agree with the errors of the recent past.
    """

    name: ClassVar[str] = "adaptive"
    _history: History = field(init=False, repr=False, compare=False)
    _experts: ExpertWeights = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        self._history = History(_REACH)
        self._experts = ExpertWeights(2 * len(_WINDOWS) * len(_PRIORS) + 1)
        self._drift_products = np.zeros(len(_WINDOWS))
        self._drift_squares = np.zeros(len(_WINDOWS))
        self._past_total = self._past_count = 0.0
        self._lowest, self._highest = math.inf, -math.inf
        self._error_total = self._spread_total = 0.0
        self._last: _Assessment | None = None

    def values(self, batch: Batch) -> np.ndarray:
        """Mixture estimates.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.

        Returns
        -------
        ndarray of float64, shape (P, N)
            One value a rollout.
        """
        return self._look_at(batch).values

    def remember(self, batch: Batch) -> None:
        """Learn from the batch's rewards, then take them into the history.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.
        """
        look = self._look_at(batch)
        count = int(batch.counts.sum())
        if count:
            self._experts.learn(look.losses, count)
            self._drift_products = _DRIFT_DISCOUNT * self._drift_products + look.drift_products
            self._drift_squares = _DRIFT_DISCOUNT * self._drift_squares + look.drift_squares
            self._past_total = _PAST_DISCOUNT * self._past_total + batch.filled.sum()
            self._past_count = _PAST_DISCOUNT * self._past_count + count
            rewards = batch.rewards[batch.scored]
            self._lowest = min(self._lowest, float(rewards.min()))
            self._highest = max(self._highest, float(rewards.max()))
            if self._lowest < self._highest:
                errors = np.where(batch.scored, batch.rewards - look.values, 0.0)
                self._error_total = _PAST_DISCOUNT * self._error_total + float(np.vdot(errors, errors))
                spread = self._spread(look.values)[batch.scored].sum()
                self._spread_total = _PAST_DISCOUNT * self._spread_total + float(spread)
        self._history.add(batch.prompt_ids, batch.filled.sum(axis=1), batch.counts[:, 0], batch.step)
        self._last = None

    def assess(self, batch: Batch) -> Estimate:
        """Mixture estimates with their uncertainty.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.

        Returns
        -------
        Estimate
            Values, standard errors, and the rewards that the average candidate is worth. Standard errors are NaN
            until two different rewards have been seen.
        """
        values = self.values(batch)
        share = min(1.0, self._error_total / self._spread_total) if self._spread_total > 0 else np.nan
        variance, size = np.zeros(values.shape), np.zeros(values.shape)
        for weight, candidate, worth in self._candidates(batch):
            # Half a reward at either end keeps the noise of a prompt away from zero (Agresti and Coull 1998).
            middle = (self._lowest + self._highest) / 2
            noise = share * self._spread((candidate * worth + middle) / (worth + 1))
            variance += weight * (noise / np.maximum(worth, 1.0) + (candidate - values) ** 2)
            size += weight * worth
        return Estimate(values, np.sqrt(variance), size)

    def _spread(self, values: np.ndarray) -> np.ndarray:
        """Largest variance that a reward with this mean can have within the range seen (Bhatia and Davis 2000)."""
        if not self._lowest < self._highest:
            return np.zeros(values.shape)
        return np.maximum((values - self._lowest) * (self._highest - values), 0.0)

    def _look_at(self, batch: Batch) -> _Assessment:
        if self._last is not None and self._last.is_of(batch):
            return self._last
        self._history.check_step(batch.step)
        past, products, squares = self._past(batch)
        values, losses = np.zeros(batch.rewards.shape), []
        for weight, candidate, _ in self._candidates(batch, past):
            values += weight * candidate
            error = np.where(batch.scored, candidate - batch.rewards, 0.0)
            losses.append(np.vdot(error, error))
        self._last = _Assessment(batch, values, np.array(losses), products, squares)
        return self._last

    def _candidates(self, batch: Batch, past: _Past | None = None):
        """Each candidate's weight, its values, and how many rewards it is worth."""
        if past is None:
            past, _, _ = self._past(batch)
        prior = self._prior(batch)
        others, n_others = sums_of_others(batch.filled), (batch.counts - batch.scored).astype(np.float64)
        weights = iter(self._experts.weights())
        for k in range(len(_WINDOWS)):
            total, mass = past.total[:, k, None] + others, past.mass[:, k, None] + n_others
            drifted = past.drifted[:, k, None]
            for kappa in _PRIORS:
                worth = mass + kappa
                if kappa:
                    still = (total + kappa * prior) / worth
                    moved = still + drifted / worth
                else:
                    still = np.divide(total, worth, out=prior.copy(), where=worth > 0)
                    moved = still + np.divide(drifted, worth, out=np.zeros(worth.shape), where=worth > 0)
                yield next(weights), still, worth
                yield next(weights), moved, worth
        yield next(weights), prior, np.full(prior.shape, _PRIORS[-1])

    def _prior(self, batch: Batch) -> np.ndarray:
        """Mean of the other rewards of the batch and of the run's recent past; 0 before there is either."""
        filled, scored = batch.filled.ravel(), batch.scored
        past_mass = min(_PAST_MASS, self._past_count)
        past_mean = self._past_total / self._past_count if self._past_count > 0 else 0.0
        total = sums_of_others(filled).reshape(scored.shape) + past_mass * past_mean
        mass = batch.counts.sum() - scored + past_mass
        return np.divide(total, mass, out=np.zeros(total.shape), where=mass > 0)

    def _past(self, batch: Batch) -> tuple[_Past, np.ndarray, np.ndarray]:
        """Kernel sums of every window, and what this batch adds to the regression that finds the drift."""
        total, mass, lag_mass = kernel_sums(
            self._history, batch.prompt_ids, batch.step, _WINDOWS, ["total", "mass", "lag_mass"]
        )
        seen = mass > 0
        mean = np.divide(total, mass, out=np.zeros(mass.shape), where=seen)
        mean_lag = np.divide(lag_mass, mass, out=np.zeros(mass.shape), where=seen)

        # The scale of the drift is that of a value held away from the ends by two rewards of the run's mean.
        run_mean = self._past_total / self._past_count if self._past_count > 0 else 0.0
        width = self._highest - self._lowest
        scale = self._spread((total + 2 * run_mean) / (mass + 2)) / (width if 0 < width < math.inf else 1.0)
        regressor = mean_lag * scale
        surprise = batch.filled.sum(axis=1, keepdims=True) - batch.counts * mean
        products = np.where(seen, surprise * regressor, 0.0).sum(axis=0)
        squares = (batch.counts * regressor**2).sum(axis=0)
        known = self._drift_squares > 0
        slope = np.divide(self._drift_products, self._drift_squares, out=np.zeros(len(_WINDOWS)), where=known)
        return _Past(total, mass, mean, mass * slope * regressor), products, squares

    def _state(self) -> dict:
        return {
            "history": self._history.state_dict(),
            "experts": self._experts.state_dict(),
            "drift_products": self._drift_products.copy(),
            "drift_squares": self._drift_squares.copy(),
            "scalars": [
                self._past_total,
                self._past_count,
                self._lowest,
                self._highest,
                self._error_total,
                self._spread_total,
            ],
        }

    def _load_state(self, state: dict) -> None:
        expected = {"history", "experts", "drift_products", "drift_squares", "scalars"}
        if set(state) != expected:
            raise ValueError(f"the state of an adaptive baseline has the keys {sorted(expected)}, got {sorted(state)}")
        self._history.load_state_dict(state["history"])
        self._experts.load_state_dict(state["experts"])
        self._drift_products = np.array(state["drift_products"], dtype=np.float64)
        self._drift_squares = np.array(state["drift_squares"], dtype=np.float64)
        (
            self._past_total,
            self._past_count,
            self._lowest,
            self._highest,
            self._error_total,
            self._spread_total,
        ) = map(float, state["scalars"])
        self._last = None
