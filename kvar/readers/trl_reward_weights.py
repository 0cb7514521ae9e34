"""The weights of the reward functions, which TRL's log of completions does not hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["reward_weights"]

# Advantages are stored in single precision, and divided by the deviation plus 1e-4.
_AGREES = 1e-6
_ENOUGH = 20_000


def reward_weights(rewards: np.ndarray, advantage: np.ndarray, group: np.ndarray, names: Sequence[str]):
    """Weights of m reward functions from rewards, shape (n, m), and advantages, shape (n,); and a sentence on them.

    In TRL the advantages of a group are proportional to the deviations of the weighted sum of its rewards from their
    mean. The weights are the vector for which this holds in all groups.
    """
    plain = np.ones(len(names))
    listed = " + ".join(names)
    moments = _moments(rewards[:_ENOUGH], advantage[:_ENOUGH], group[:_ENOUGH])
    if moments is None:
        return plain, f"The reward is the plain sum {listed}; the advantages do not contradict it."
    across, total, products = moments
    if plain @ across @ plain <= _AGREES * (plain @ total @ plain):
        return plain, f"The reward is {listed}, which agrees with the advantages."
    seen = np.flatnonzero(np.diag(total) > 0)
    scale = 1 / np.sqrt(np.diag(total)[seen])
    values, vectors = np.linalg.eigh(across[np.ix_(seen, seen)] * np.outer(scale, scale))
    weights = np.zeros(len(names))
    weights[seen] = vectors[:, 0] * scale
    weights *= np.sign(products @ weights) or 1.0
    agrees = weights @ across @ weights <= _AGREES * (weights @ total @ weights)
    unique = len(values) == 1 or values[1] > 100 * _AGREES
    if not (agrees and unique):
        return plain, (
            f"The advantages are not those of {listed} within groups. The plain sum is used; if the reward functions "
            f"have weights, give them with --columns 'reward=0.5*{names[0]}+...'."
        )
    weights /= np.abs(weights).max()
    weights[np.abs(weights) < 1e-3] = 0.0
    terms = " + ".join(f"{weight:.3g} {name}" for weight, name in zip(weights, names, strict=True) if weight)
    return weights, f"The advantages are those of the reward {terms} (the largest weight taken as 1), which is used."


def _moments(rewards, advantage, group):
    """Products of rewards about their group means: orthogonal to the advantages, total, and sums along them."""
    n_groups = int(group.max(initial=-1)) + 1
    rewards = np.nan_to_num(rewards, nan=0.0)
    count = np.maximum(np.bincount(group, minlength=n_groups), 1)

    def centred(column):
        return column - (np.bincount(group, weights=column, minlength=n_groups) / count)[group]

    direction = centred(np.nan_to_num(advantage, nan=0.0))
    length = np.sqrt(np.bincount(group, weights=direction**2, minlength=n_groups))
    used = (length > 1e-3)[group]
    if not used.any():
        return None
    direction = np.where(used, direction / np.where(length > 1e-3, length, 1.0)[group], 0.0)
    deviations = np.column_stack([centred(column) for column in rewards.T]) * used[:, None]
    along = np.column_stack(
        [np.bincount(group, weights=direction * column, minlength=n_groups) for column in deviations.T]
    )
    total = deviations.T @ deviations
    return total - along.T @ along, total, along.sum(axis=0)
