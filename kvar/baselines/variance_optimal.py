"""The baseline of least gradient variance: adaptive estimates of the value, shifted by what score norms say."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.adaptive import AdaptiveBaseline, Look, Mixture
from kvar.baselines.base import Estimate
from kvar.online.norm_shift import NormShift
from kvar.online.own_ratio import OwnRatio
from kvar.rollouts.batch import Batch
from kvar.utils.checks import checked_keys

__all__ = ["VarianceOptimal"]

_NORM = "score_norm"


@dataclass
class VarianceOptimal(AdaptiveBaseline):
    """What `adaptive` is for the value, for the baseline ``b* = E[n Z | x] / E[n | x]`` of least gradient variance.

    With s the score of a rollout, ``n = |s|^2`` and Z its reward, the part of the gradient's second moment that a
    baseline b moves is ``E[n (Z - b)^2]`` (Greensmith, Bartlett and Baxter 2004, JMLR 5:1471, theorem 8). It is least
    at b*, which is the value where n and Z are uncorrelated, and far below it where the policy is sure of the answer.

    Every candidate of `adaptive` is an estimate v of the value. It becomes one of b* by a shift that is a function of
    v, learned from the norms of all prompts (`NormShift`), and the candidates are ranked by their one-step-ahead errors
    weighted by n: a prediction that has seen neither its reward nor its norm needs no truth to be ranked. Where the
    earlier norms of a prompt depart from those of prompts of like value, the average moves further, as far as such
    moves have proved to help (`OwnRatio`). Equal norms give `adaptive`, to rounding.

    Parameters
    ----------
    history, shrinkage, drift, features : bool
        As for `adaptive`: leave an ingredient out, to see what it is worth.

    Notes
    -----
    Norms come with the rewards as ``score_norm``: the norm of the score, not its square, NaN where it is not known. Any
    common factor of them is without effect, so that proxies serve, such as `kvar.score_norm_from_logprobs`. No norm of
    a batch enters the values of that batch. Squared norms are cut at five times the mean of rollouts of like value and
    reward.
    """

    name: ClassVar[str] = "variance-optimal"
    needs: ClassVar[tuple[str, ...]] = (_NORM,)

    def __post_init__(self):
        super().__post_init__()
        self._norms = NormShift()
        self._shift = self._norms.shift(self._scale)
        self._own = OwnRatio()
        # The inherited weights rank candidates as values, on which the shift depends; these rank them as baselines.
        self._ranking = deepcopy(self._experts)

    def columns_used(self, names: Iterable[str]) -> list[str]:
        """The norms, and the features among the columns."""
        names = set(names)
        return [*({_NORM} & names), *super().columns_used(names)]

    def values(self, batch: Batch) -> np.ndarray:
        """Mixture estimates of b*."""
        look = self.recalled(batch)
        return look.baselines.values + self._own.part * self._scale.width * look.moves

    def assess(self, batch: Batch) -> Estimate[np.ndarray]:
        """Mixture estimates of b*; their standard errors are those of the values times the slope of the shift."""
        of_values = super().assess(batch)
        slopes = self._shift.slope(of_values.values)
        return Estimate(self.values(batch), slopes * of_values.standard_error, of_values.effective_sample_size)

    def assess_values(self, batch: Batch) -> Estimate[np.ndarray]:
        """Mixture estimates of the value, which b* is not."""
        return super().assess(batch)

    def second_moments(self, batch: Batch) -> np.ndarray:
        """``v W1 (1 - b)^2 + (1 - v) W0 b^2`` with rewards in [0, 1], W1 and W0 mean squared norms at the value v."""
        return self._norms.second_moments(self.recalled(batch).mixture.values, self._shift, self._scale)

    def learn(self, batch: Batch) -> None:
        """Learn from the batch's rewards and norms, then take the rewards into the history."""
        look, norms = self.recalled(batch), _norms_of(batch)
        super().learn(batch)
        self._ranking.learn(look.baselines.losses, batch.n_scored)
        relative = self._norms.learn(batch, look.mixture.values, norms, self._scale)
        if self.history:
            errors = batch.filled - look.baselines.values
            self._own.learn(batch, look.records, relative, look.weights, look.moves, errors, self._scale)
        self._shift = self._norms.shift(self._scale)

    def _mix(self, look: Look) -> None:
        batch = look.batch
        # A rough value will do for the weights: all kernels alike, and a prior worth one reward.
        total = batch.spread(look.total.mean(axis=1)) + batch.totals_of_others + look.prior
        mass = batch.spread(look.mass.mean(axis=1)) + batch.n_others + 1.0
        look.weights = self._norms.weights(batch, total / mass, _norms_of(batch), self._scale)
        look.baselines = Mixture(self._ranking.weights(), batch, look.distinct, look.weights)
        for first, part, values, _ in self._candidates(look):
            look.mixture.add(first, part, values)
            shifted = self._shift.of(values)
            shifted += values
            look.baselines.add(first, part, shifted)
        look.records = self._own.recall(batch)
        look.moves = self._own.moves(batch, look.records, look.baselines.values, self._scale)

    def _parts(self) -> dict:
        return {"norms": self._norms, "ranking": self._ranking, "own_ratios": self._own}

    def _state(self) -> dict:
        return {**super()._state(), **{name: part.state_dict() for name, part in self._parts().items()}}

    def _load_state(self, state: dict) -> None:
        checked_keys(state, (*super()._state(), *self._parts()), "the state of a variance-optimal baseline")
        super()._load_state({key: state[key] for key in super()._state()})
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self._shift = self._norms.shift(self._scale)


def _norms_of(batch: Batch) -> np.ndarray:
    """Norms of the scores, shape (R,); NaN where one is not known."""
    if _NORM not in batch.columns:
        raise ValueError(f"baseline 'variance-optimal' needs {_NORM} with every batch: pass it by name, {_NORM}=...")
    norms = batch.columns[_NORM]
    if (wrong := batch.scored & ((norms < 0) | np.isinf(norms))).any():
        raise ValueError(f"{_NORM} holds {norms[wrong][0]:g}; norms of scores are at least 0, or NaN if not known")
    return norms
