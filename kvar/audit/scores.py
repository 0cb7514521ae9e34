"""How well a baseline's value predicts a reward that it has not seen.

For such a reward Z, ``E[(Z - V)^2] = noise + MSE(V)`` and the noise is the same for all baselines, so the error ranks
them without knowing the truth. A baseline that takes a rollout's own reward in looks better on it than on a fresh one
by ``2 Cov(Z, V)``; that optimism is added back (Efron 2004, JASA 99:619, covariance penalties). The noise is that of
the group where it has two rollouts or more, else half the squared difference to the prompt's last reward, else bounded
by the error of the value without the own reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kvar.baselines import Baseline
from kvar.baselines.group import group_variances
from kvar.replaying import Replayed, Stretch, batches
from kvar.traces import Trace

__all__ = ["TRUTH", "Scores", "fresh_error", "group_noise", "score_stretch"]

TRUTH = "true_value"


def group_noise(trace: Trace) -> np.ndarray:
    """Estimate the variance of each rollout's reward from its group.

    Parameters
    ----------
    trace : Trace
        A recorded run.

    Returns
    -------
    ndarray of float64, shape (n,)
        Unbiased variance of the group's rewards; NaN where fewer than two are scored.
    """
    noise = np.empty(len(trace))
    for rows, batch in batches(trace):
        noise[rows] = batch.to_rows(np.broadcast_to(group_variances(batch), batch.rewards.shape))
    return noise


def fresh_error(reward: np.ndarray, replayed: Replayed, noise: np.ndarray) -> np.ndarray:
    """Squared error of a value as a prediction of a reward that it has not seen.

    Parameters
    ----------
    reward : ndarray, shape (n,) or (P, N)
        Rewards.
    replayed : Replayed
        Values, and how much of the own reward is in each.
    noise : ndarray, shape (n,), (P, N) or (P, 1)
        Variance of each reward, NaN where it is not known.

    Returns
    -------
    ndarray of float64, of the shape of `reward`
        Unbiased where the own reward is left out or the noise is known; an upper bound in expectation where it is
        not (for a value that is linear in the own reward); NaN there if the value is the own reward and nothing else.
    """
    error = reward - replayed.values
    weight = replayed.own_weight
    if not weight.any():
        return error**2
    with np.errstate(divide="ignore", invalid="ignore"):
        bound = np.where(weight < 1, (error / (1 - weight)) ** 2, np.nan)
    # A value that falls with the own reward looks worse than it is, at least by nothing.
    unknown = np.where(weight >= 0, bound, 0.0)
    return error**2 + 2 * weight * np.where(np.isnan(noise), unknown, noise)


@dataclass(frozen=True)
class Scores:
    """What some baselines scored on a stretch of a trace.

    Attributes
    ----------
    baselines : list of Baseline
        With the stretch in their history.
    errors : ndarray of float64, shape (C, K)
        Sum over the scored rollouts of each of C groups, in the order of the stretch, of `fresh_error`; NaN where one
        of them has none.
    value_errors : ndarray of float64, shape (C, K), or None
        The same sum of squared errors against the true value, where the trace holds it.
    refusals : dict of str to str
        What a baseline said against the stretch, by its place; its scores are NaN from there on.
    """

    baselines: list[Baseline]
    errors: np.ndarray
    value_errors: np.ndarray | None
    refusals: dict[int, str]


def score_stretch(baselines: Sequence[Baseline], stretch: Stretch, noise: np.ndarray) -> Scores:
    """Run baselines over a stretch and score them.

    Parameters
    ----------
    baselines : sequence of Baseline
        With what came before in their history; they are moved on.
    stretch : Stretch
        With all columns that the baselines need, and the true values if they are to be compared.
    noise : ndarray, shape (C,)
        Variance of a reward of each group in the order of the stretch, NaN where it is not known.

    Returns
    -------
    Scores
        A row a group.
    """
    errors, value_errors, refusals, done = [], [], {}, 0
    for _, batch in stretch.batches():
        known_noise = noise[done : done + len(batch.prompt_ids), None]
        done += len(batch.prompt_ids)
        truth = batch.columns.get(TRUTH)
        error = np.full((len(batch.prompt_ids), len(baselines)), np.nan)
        value_error = error.copy()
        for k, baseline in enumerate(baselines):
            if k in refusals:
                continue
            try:
                replayed = Replayed(baseline.values(batch), baseline.own_weight(batch))
                baseline.remember(batch)
            except ValueError as refusal:
                refusals[k] = str(refusal)
                continue
            fresh = fresh_error(batch.rewards, replayed, known_noise)
            # Nothing can be said of a value that is its own lone reward.
            fresh[(replayed.own_weight >= 1) & (batch.counts == 1)] = np.nan
            error[:, k] = np.where(batch.scored, fresh, 0.0).sum(axis=1)
            if truth is not None:
                value_error[:, k] = np.where(batch.scored, (replayed.values - truth) ** 2, 0.0).sum(axis=1)
        errors.append(error)
        value_errors.append(value_error)
    known = TRUTH in stretch.columns
    return Scores(list(baselines), np.concatenate(errors), np.concatenate(value_errors) if known else None, refusals)
