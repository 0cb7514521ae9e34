"""Prior values of prompts from a regression of rewards on features of the prompts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kvar.online.discount import discount_for
from kvar.online.expert_weights import ExpertWeights
from kvar.online.reward_scale import RewardScale
from kvar.rollouts.batch import Batch
from kvar.utils.checks import LARGEST, checked_array, checked_keys, require

__all__ = ["FeaturePrior", "feature_columns"]

_PREFIX = "feature_"
# Ridge penalties, in units of the total variance of the features.
_STRENGTHS = (3.0, 30.0)
_DISCOUNT = 0.99


def feature_columns(names: Iterable[str]) -> list[str]:
    """Names that start with ``feature_``, in the order of their numbers: by length, then alphabetically."""
    return sorted((name for name in names if name.startswith(_PREFIX)), key=lambda name: (len(name), name))


class FeaturePrior:
    """Values of prompts from features such as the coordinates of an embedding, learned online.

    Two ridge regressions, with discounted moments, predict rewards less the prior from the features and a constant. The
    prior and both regressions are averaged under exponential weights, so that uninformative features cost little.
    The regression is close to a kernel smoother over prompts, but its cost does not grow with their number. POISE
    (arXiv 2605.07579) predicts values from hidden states in a similar way.

    The penalty is ``strength * (total variance of the features) * |slopes|**2``. Predictions therefore do not depend on
    a shift, rotation or common scale of the features.

    Notes
    -----
    Cost O(N D^2 + D^3) a step of N rollouts with D features, and D^2 numbers of memory. A rollout with a feature that
    is not finite keeps its prior.
    """

    def __init__(self):
        self._names: list[str] = []
        self._moments = np.zeros((1, 1))
        self._products = np.zeros(1)
        self._experts = ExpertWeights(1 + len(_STRENGTHS))

    def predictions(self, batch: Batch, prior: np.ndarray, scale: RewardScale) -> list[np.ndarray]:
        """The prior and the prediction of each regression, shape (R,) each; the prior alone without features."""
        names = feature_columns(batch.columns)
        if self._names and names != self._names:
            raise ValueError(
                f"pass the same features at every step: they were {', '.join(self._names)} so far, "
                f"now {', '.join(names) or 'none'}"
            )
        if not names:
            return [prior]
        if not self._names:
            return [prior] * (1 + len(_STRENGTHS))
        regressors = self._regressors(batch)
        return [prior, *(scale.clipped(prior + regressors @ slopes) for slopes in self._slopes())]

    def mixture(self, predictions: list[np.ndarray]) -> np.ndarray:
        """Average of the predictions under the weights, shape (R,)."""
        if len(predictions) == 1:
            return predictions[0]
        return sum(weight * values for weight, values in zip(self._experts.weights(), predictions, strict=True))

    def learn(self, batch: Batch, predictions: list[np.ndarray]) -> None:
        """Update weights and moments by a step's rewards, given its `predictions`."""
        n_rewards = batch.n_scored
        if len(predictions) == 1 or n_rewards == 0:
            return
        errors = [np.where(batch.scored, batch.filled - values, 0.0) for values in predictions]
        self._experts.learn(np.array([np.vdot(error, error) for error in errors]), n_rewards)
        if not self._names:
            self._names = feature_columns(batch.columns)
            self._moments = np.zeros((len(self._names) + 1,) * 2)
            self._products = np.zeros(len(self._names) + 1)
        regressors = self._regressors(batch)[batch.scored]
        discount = discount_for(_DISCOUNT, n_rewards)
        self._moments = discount * self._moments + regressors.T @ regressors
        self._products = discount * self._products + regressors.T @ errors[0][batch.scored]

    def _regressors(self, batch: Batch) -> np.ndarray:
        """Features and a constant, shape (R, D + 1); all 0 if a feature of the rollout is NaN or beyond 1e100."""
        columns = [batch.columns[name] for name in feature_columns(batch.columns)]
        regressors = np.stack([*columns, np.ones(batch.rewards.shape)], axis=-1)
        return np.where((np.abs(regressors) <= LARGEST).all(axis=-1, keepdims=True), regressors, 0.0)

    def _slopes(self) -> list[np.ndarray]:
        """Slopes and constant of each regression, shape (D + 1,) each; 0 while the features have no variance."""
        n = self._moments[-1, -1]
        mean = self._moments[-1, :-1] / n if n > 0 else self._moments[-1, :-1]
        centred = self._moments[:-1, :-1] - n * np.outer(mean, mean)
        products = self._products[:-1] - self._products[-1] * mean
        variance = np.trace(centred) / n if n > 0 else 0.0
        if variance <= 0:
            return [np.zeros(len(self._products))] * len(_STRENGTHS)
        coefficients = []
        for strength in _STRENGTHS:
            slopes = np.linalg.solve(centred + strength * variance * np.eye(len(mean)), products)
            # One more reward equal to the prior bounds the constant in the first steps.
            coefficients.append(np.append(slopes, self._products[-1] / (n + 1.0) - slopes @ mean))
        return coefficients

    def state_dict(self) -> dict:
        """Plain data for `load_state_dict`."""
        return {
            "names": list(self._names),
            "moments": self._moments.copy(),
            "products": self._products.copy(),
            "experts": self._experts.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned; a damaged state raises ValueError and changes nothing."""
        checked_keys(state, ("names", "moments", "products", "experts"), "features")
        names = state["names"]
        named = isinstance(names, list) and set(map(type, names)) <= {str}
        require(named and names == feature_columns(set(names)), f"names of features must be a list like ['{_PREFIX}0']")
        size = len(names) + 1
        moments = checked_array(state["moments"], "moments of features", (size, size))
        products = checked_array(state["products"], "products of features", (size,))
        require(np.allclose(moments, moments.T, rtol=1e-9, atol=0.0), "moments of features must be symmetric")
        require(np.diagonal(moments) >= 0, "moments of features must not be negative on the diagonal")
        self._experts.load_state_dict(state["experts"])
        self._names, self._moments, self._products = list(names), moments, products
