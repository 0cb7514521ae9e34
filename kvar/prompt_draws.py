"""Which prompts a batch takes, from what the baseline says of every prompt of the dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kvar.baselines import Baseline
from kvar.rollouts.batch import Batch

__all__ = [
    "DRAWS",
    "Drawn",
    "Outlook",
    "arc_scores",
    "inclusion_probabilities",
    "variance_weights",
    "weighted_gradient_mse",
]

# Least weight of a prompt, however certain its outcome (as in SPO, arXiv 2509.13232).
_FLOOR = 0.05
# Share of a batch that is drawn uniformly. It finds out about prompts that seem to be settled, and no rollout weighs
# more than its inverse.
_UNIFORM = 0.1
# Of ARCUS (arXiv 2609.38018): the target on the arcsine scale, its width, and the temperature of the Gumbel noise.
_TARGET, _TARGET_WIDTH, _TEMPERATURE = np.pi / 4, 0.5, 0.3


@dataclass(frozen=True)
class Outlook:
    """What the history says of n prompts, each an array of shape (n,)."""

    values: np.ndarray  # Expected rewards
    standard_errors: np.ndarray
    effective_sample_sizes: np.ndarray
    second_moments: np.ndarray  # E[n (Z - b)^2], up to a common factor
    group_size: int

    @classmethod
    def by(cls, baseline: Baseline, keys: Sequence, step: float, columns: Mapping, group_size: int) -> Outlook:
        """What a baseline expects of n prompts.

        Parameters
        ----------
        baseline : Baseline
            A baseline with second moments, such as `adaptive` or `variance-optimal`.
        keys : sequence of int or str
            The prompts, all different.
        step : float
            Time of the batch that is to be drawn.
        columns : mapping
            Further columns of the prompts that the baseline uses; those that it needs of rollouts are not known yet.
        group_size : int
            Rollouts of a prompt.
        """
        nothing = np.full(len(keys), np.nan)
        batch = Batch.from_rows(keys, nothing, step, {**columns, **dict.fromkeys(baseline.needs, nothing)})
        found = baseline.assess_values(batch).in_rows(batch, nothing)
        moments = batch.to_rows(baseline.second_moments(batch))
        return cls(found.values, found.standard_error, found.effective_sample_size, moments, group_size)


@dataclass(frozen=True)
class Drawn:
    """The prompts of a batch, as places in the dataset, and the weights of their rollouts."""

    prompts: tuple[int, ...]
    weights: tuple[float, ...]


def variance_weights(values: np.ndarray, standard_errors: np.ndarray) -> np.ndarray:
    """Upper estimate of the relative variance of each prompt's reward in [0, 1], at least 0.05; shape (n,).

    It is 4 u (1 - u) at the u nearest to 1/2 within one standard error of the value. A prompt without history (NaN)
    has weight 1, so that it is soon sampled.

    Examples
    --------
    >>> variance_weights(np.array([0.5, 0.9, 0.9, 1.0, np.nan]), np.array([0.1, 0.0, 0.3, 0.0, np.nan])).round(2)
    array([1.  , 0.36, 0.96, 0.05, 1.  ])
    """
    nearest = np.clip(0.5, values - standard_errors, values + standard_errors).clip(0.0, 1.0)
    return np.maximum(np.where(np.isnan(nearest), 1.0, 4 * nearest * (1 - nearest)), _FLOOR)


def inclusion_probabilities(second_moments: np.ndarray, size: int) -> np.ndarray:
    """Probability of each prompt to be among `size` different ones; they add up to `size`.

    Nine tenths go with the root of the second moment, which leaves the mean gradient the least variance, and one tenth
    is the same for all prompts. A prompt that would get more than 1 is always drawn, and the others share the rest.

    Examples
    --------
    >>> inclusion_probabilities(np.array([0.0, 1.0, 1.0, 16.0]), 2).round(3)
    array([0.067, 0.467, 0.467, 1.   ])
    """
    roots = np.sqrt(second_moments)
    roots = roots / roots.mean() if roots.any() else np.ones(len(roots))
    shares = (1 - _UNIFORM) * roots + _UNIFORM
    certain = np.zeros(len(shares), dtype=bool)
    # Where all prompts are drawn, rounding can take every one of them above 1.
    while not certain.all():
        factor = (size - certain.sum()) / shares[~certain].sum()
        found = np.where(certain, 1.0, factor * shares)
        if (found <= 1).all():
            return found
        certain |= found > 1
    return np.ones(len(shares))


def weighted_gradient_mse(inclusion: np.ndarray, second_moments: np.ndarray, products: np.ndarray) -> float:
    """Mean squared error of the gradient of a batch with a fixed number of prompts and the weights of importance.

    Parameters
    ----------
    inclusion : ndarray, shape (n,)
        Probability of each prompt to be in the batch.
    second_moments : ndarray, shape (n,)
        ``E[n (Z - b)^2 | x]``, the second moment of the estimate of each prompt's gradient; with G rollouts a prompt,
        of their mean.
    products : ndarray, shape (n, n)
        Inner products of the exact gradients of the prompts.

    Returns
    -------
    float
        The error against the mean gradient of all n prompts, in squared units of the score. The part of the rollouts
        is exact. That of the prompts is the approximation of Hajek (1964, Annals of Mathematical Statistics 35:1491),
        which is exact for equal probabilities. Cost O(n^2).

    Examples
    --------
    Of two opposite gradients one is drawn, and the rollouts are without noise:

    >>> weighted_gradient_mse(np.array([0.5, 0.5]), np.ones(2), np.array([[1.0, -1.0], [-1.0, 1.0]]))
    1.0
    """
    n, left, squares = len(inclusion), 1.0 - inclusion, np.diag(products)
    of_rollouts = ((second_moments - squares) / inclusion).sum()
    of_prompts = (left / inclusion * squares).sum()
    if left.any():
        of_prompts -= left @ products @ left / (inclusion * left).sum()
    return float((of_rollouts + n / (n - 1) * of_prompts) / n**2)


def arc_scores(outlook: Outlook, dead_zone: bool) -> np.ndarray:
    """How well each prompt's value, on the arcsine scale, agrees with 1/2, as in ARCUS (arXiv 2609.38018); shape (n,).

    The belief is a normal distribution around arcsin sqrt v with the variance 1 / (4 m + 2) of m rewards, the target
    one around pi / 4, and the score their overlap, relative to the largest possible. With `dead_zone` it is multiplied
    by the probability that a group has two different rewards.
    """
    angles = np.arcsin(np.sqrt(np.clip(outlook.values, 0.0, 1.0)))
    spread = 1.0 / (4.0 * outlook.effective_sample_sizes + 2.0)
    total = spread + _TARGET_WIDTH**2
    scores = np.exp(-((angles - _TARGET) ** 2) / (2 * total)) * _TARGET_WIDTH / np.sqrt(total)
    if dead_zone:
        g, a = outlook.group_size, 1.0 + 2.0 * outlook.group_size * spread
        same = np.exp(-g * angles**2 / a) + np.exp(-g * (np.pi / 2 - angles) ** 2 / a)
        scores = scores * np.maximum(1.0 - same / np.sqrt(a), 0.0)
    return scores


def _by_variance(outlook: Outlook, size: int, generator: np.random.Generator) -> Drawn:
    weights = variance_weights(outlook.values, outlook.standard_errors)
    drawn = generator.choice(len(weights), size, replace=False, p=weights / weights.sum())
    return _unweighted(drawn)


def _by_importance(outlook: Outlook, size: int, generator: np.random.Generator) -> Drawn:
    """A systematic sample in random order (Madow 1949), with the weights of Horvitz and Thompson."""
    moments = np.where(np.isnan(outlook.second_moments), 0.0, outlook.second_moments)
    inclusion = inclusion_probabilities(moments, size)
    order = generator.permutation(len(inclusion))
    # A prompt is drawn where the running sum passes one of the equidistant points; rounding must not lose the last.
    passed = np.floor(np.append(np.cumsum(inclusion[order])[:-1], size) + generator.random())
    drawn = order[np.diff(passed, prepend=0.0) > 0]
    weights = size / len(inclusion) / inclusion[drawn]
    return Drawn(tuple(drawn.tolist()), tuple(weights.tolist()))


def _by_arc(outlook: Outlook, size: int, generator: np.random.Generator, dead_zone: bool = True) -> Drawn:
    noisy = arc_scores(outlook, dead_zone) / _TEMPERATURE + generator.gumbel(size=len(outlook.values))
    return _unweighted(np.argpartition(-noisy, size - 1)[:size])


def _by_arc_alone(outlook: Outlook, size: int, generator: np.random.Generator) -> Drawn:
    return _by_arc(outlook, size, generator, dead_zone=False)


def _unweighted(drawn: np.ndarray) -> Drawn:
    return Drawn(tuple(drawn.tolist()), (1.0,) * len(drawn))


# By the name of the order.
DRAWS = {
    "variance": _by_variance,
    "importance": _by_importance,
    "arc": _by_arc,
    "arc-without-dead-zone": _by_arc_alone,
}
