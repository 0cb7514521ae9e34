"""Which columns of TRL's log of completions are rewards, and their weights, as its advantages show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["RewardReading", "read_rewards"]

# Advantages are stored in single precision, and divided by the deviation plus 1e-4.
_AGREES = 1e-6
_ENOUGH = 20_000
_FEW_GROUPS = 20
_SIMILAR = 0.01
_REWARD = re.compile(
    r"reward|score|accura|acc(?![a-z])|correct|format|pass|success|grade|penalt|bonus|func|fn(?![a-z])"
)
_NO_REWARD = re.compile(
    r"token|length|len(?![a-z])|count|num|gold|answer|label|target|solution|index|idx|(?<![a-z])id(?![a-z])|level"
    r"|difficult|time|second|temperature|logp|entropy|kl(?![a-z])|seed|epoch|turn|weight|ratio"
)


@dataclass(frozen=True)
class RewardReading:
    """Weights of the columns of numbers, and what is to be said of them."""

    weights: np.ndarray
    remark: str
    sure: bool


def read_rewards(
    rewards: np.ndarray, advantage: np.ndarray, group: np.ndarray, step: np.ndarray, names: Sequence[str]
) -> RewardReading:
    """Weights of m columns of numbers, shape (n, m), from the advantages, groups and steps of the rows, shape (n,).

    In TRL the advantages of a group are the deviations of the weighted sum of its rewards from their mean, divided by
    one number for all groups of a step or by one for each group. The weights are the only vector for which this holds
    in all groups. A column that is the same in each group has no part in the advantages and is no reward.
    """
    rewards, advantage, group, step = (x[:_ENOUGH] for x in (rewards, advantage, group, step))
    deviations = np.column_stack([_centred(np.nan_to_num(column, nan=0.0), group) for column in rewards.T])
    direction = _centred(np.nan_to_num(advantage, nan=0.0), group)
    scale = np.sqrt((deviations**2).mean(axis=0))
    varies = np.flatnonzero(scale > 1e-9 * (1 + np.abs(np.nan_to_num(rewards)).max(axis=0, initial=0.0)))
    if len(varies) and np.abs(direction).max(initial=0.0) > 1e-6:
        found = deviations[:, varies] / scale[varies]
        for unit in (step, group):
            if (solution := _only_solution(found, direction, unit)) is not None:
                return _told(solution / scale[varies], varies, rewards, names)
        if (solution := _from_pairs(found, direction, group)) is not None:
            return _told(solution / scale[varies], varies, rewards, names)
    return _by_name(deviations, direction, group, varies, rewards, names)


def _centred(column: np.ndarray, group: np.ndarray) -> np.ndarray:
    count = np.maximum(np.bincount(group), 1)
    return column - (np.bincount(group, weights=column) / count)[group]


def _only_solution(deviations: np.ndarray, direction: np.ndarray, unit: np.ndarray) -> np.ndarray | None:
    """Weights by which the deviations are along the advantages in every unit, if only one vector of them does that."""
    unit = np.unique(unit, return_inverse=True)[1]
    length = np.sqrt(np.bincount(unit, weights=direction**2))
    used = length > 1e-6 * length.max()
    along_unit = np.where(used[unit], direction / np.where(used, length, 1.0)[unit], 0.0)
    along = np.column_stack([np.bincount(unit, weights=along_unit * column) for column in deviations.T])
    total = deviations.T @ deviations
    # Where the advantages are 0, the weighted sum does not vary, and all of its deviations are across.
    across = total - along.T @ along
    size = np.trace(total) / len(total)
    values, vectors = np.linalg.eigh(across)
    weights = vectors[:, 0] * (np.sign(along.sum(axis=0) @ vectors[:, 0]) or 1.0)
    agrees = weights @ across @ weights <= _AGREES * (weights @ total @ weights)
    unique = len(values) == 1 or values[1] > 100 * _AGREES * size
    forward = along @ weights
    if not (agrees and unique) or used.sum() < 2 or (forward < -1e-6 * np.abs(forward).max()).any():
        return None
    return weights


def _from_pairs(deviations: np.ndarray, direction: np.ndarray, group: np.ndarray) -> np.ndarray | None:
    """Weights from groups of two whose advantages are +-1/sqrt(2), but for the small number added to the deviation.

    With d the difference of the two and e the small number, the advantage is (d / 2) / (d / sqrt(2) + e), so that d is
    proportional to a / (1 - sqrt(2) a).
    """
    if (np.bincount(group) != 2).any():
        return None
    first = np.flatnonzero(np.diff(group, prepend=-1))
    size = np.abs(direction[first])
    rest = 1 - np.sqrt(2) * size
    used = (size > 1e-3) & (rest > 2e-6)
    if used.sum() < max(_FEW_GROUPS, 0.9 * (size > 1e-3).sum()):
        return None
    difference = direction[first][used] / rest[used]
    columns = deviations[first][used]
    weights, _, rank, _ = np.linalg.lstsq(columns, difference, rcond=1e-6)
    error = columns @ weights - difference
    return weights if rank == columns.shape[1] and (error**2).sum() <= _SIMILAR**2 * (difference**2).sum() else None


def _told(solution: np.ndarray, varies: np.ndarray, rewards: np.ndarray, names: Sequence[str]) -> RewardReading:
    weights = np.zeros(len(names))
    weights[varies] = solution / np.abs(solution).max()
    # People give weights of few digits.
    short = np.array([float(f"{weight:.3g}") for weight in weights])
    weights = np.where(np.abs(weights - short) <= 5e-4 * np.abs(weights), short, weights)
    spread = np.nan_to_num(rewards).std(axis=0)
    weights[np.abs(weights) * spread < 1e-3 * (np.abs(weights) * spread).max()] = 0.0
    used = weights != 0
    kept = _constants(rewards, names)
    if np.allclose(weights[used], weights[used][0], rtol=2e-3) and weights[used][0] > 0:
        weights = (used | kept).astype(np.float64)
        listed = " + ".join(name for name, weight in zip(names, weights, strict=True) if weight)
        remark = f"The reward is {listed}, which agrees with the advantages."
    else:
        terms = " + ".join(f"{weight:.3g} {name}" for weight, name in zip(weights, names, strict=True) if weight)
        remark = f"The advantages are those of the reward {terms} (the largest weight taken as 1), which is used."
    out = [name for name, weight in zip(names, weights, strict=True) if not weight]
    return RewardReading(weights, remark + (f" No part of them: {', '.join(out)}." if out else ""), sure=True)


def _constants(rewards: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Rewards that are the same in all rows, which move the mean of the reward and nothing else."""
    same = (np.nan_to_num(rewards) == np.nan_to_num(rewards[:1])).all(axis=0)
    return same & np.array([_is_reward(name) for name in names])


def _is_reward(name: str) -> bool:
    return bool(_REWARD.search(name.lower())) and not _NO_REWARD.search(name.lower())


def _by_name(
    deviations: np.ndarray,
    direction: np.ndarray,
    group: np.ndarray,
    varies: np.ndarray,
    rewards: np.ndarray,
    names: Sequence[str],
) -> RewardReading:
    """Take the columns that are named like rewards, and say how to choose others."""
    candidates = [names[k] for k in varies] or list(names)
    liked = [name for name in candidates if _is_reward(name)]
    liked = liked or [name for name in candidates if not _NO_REWARD.search(name.lower())] or candidates
    weights = np.array([float(name in liked) for name in names]) + _constants(rewards, names)
    weights = np.minimum(weights, 1.0)
    taken = [name for name, weight in zip(names, weights, strict=True) if weight]
    if len(candidates) == 1:
        return RewardReading(weights, f"The reward is {' + '.join(taken)}, the only column that varies.", sure=True)
    readings = ["+".join(liked), *([] if len(candidates) == len(liked) else ["+".join(candidates)]), *candidates]
    lines = ", ".join(f"--columns reward={reading}" for reading in dict.fromkeys(readings))
    pairs = len(group) > 0 and (np.bincount(group) <= 2).all()
    if pairs and not _contradicts(deviations @ weights, direction):
        why = "cannot be told from groups of two"
    elif np.abs(direction).max(initial=0.0) <= 1e-6:
        why = "cannot be told, since the advantages are 0"
    else:
        why = "cannot be told: the advantages are not those of the plain sum within groups"
    remark = (
        f"Which columns of numbers are rewards, and with what weights, {why}. The plain sum {' + '.join(taken)} is "
        f"used. Choose another with {lines}, or weights as in --columns 'reward=0.5*{candidates[0]}+...'."
    )
    return RewardReading(weights, remark, sure=False)


def _contradicts(total: np.ndarray, direction: np.ndarray) -> bool:
    still = np.abs(direction) <= 1e-6
    return bool((total * direction < 0).any() or (np.abs(total[still]) > 1e-6).any() or (total[~still] == 0).any())
