"""How well a baseline's value predicts a reward that it has not seen.

For such a reward Z and a value V, ``E[(Z - V)^2] = noise + MSE(V)``. The noise is the same for all baselines, so the
error ranks them without true values. A baseline that uses a rollout's own reward has a smaller error on it than on a
new reward, by ``2 Cov(Z, V)``; this optimism is added back (Efron 2004, JASA 99:619, covariance penalties). The noise
is the variance of the group where it has two rollouts or more, else half the squared difference to the prompt's last
reward, else bounded by the error of the value without the own reward.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kvar.auditing.norm_pairs import NORM, squared_norms
from kvar.baselines import Baseline
from kvar.replaying import Replayed, replay_chunk
from kvar.rollouts.batch import Batch
from kvar.rollouts.step_chunks import SortedTrace, StepChunk
from kvar.rollouts.trace import Trace

__all__ = ["TRUTH", "Score", "fresh_error", "group_noise", "looks_between", "score_chunk"]

TRUTH = "true_value"
# Number of steps at which the effective sample size is looked at, or up to twice as many.
_LOOKS = 50


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
    for chunk in SortedTrace.of(trace).chunks():
        noise[chunk.rows] = chunk.spread(chunk.whole.variances)
    return noise


def fresh_error(reward: np.ndarray, replayed: Replayed, noise: np.ndarray) -> np.ndarray:
    """Squared error of a value as a prediction of a reward that it has not seen.

    Parameters
    ----------
    reward : ndarray, shape (n,)
        Rewards.
    replayed : Replayed
        Values, and the weight of the own reward in each.
    noise : ndarray, shape (n,)
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
    unknown = np.isnan(noise)
    if unknown.any():
        with np.errstate(divide="ignore", invalid="ignore"):
            bound = np.where(weight < 1, (error / (1 - weight)) ** 2, np.nan)
        # A value that falls with its own reward looks worse than it is, so no noise is a bound.
        noise = np.where(unknown, np.where(weight >= 0, bound, 0.0), noise)
    return error**2 + 2 * weight * noise


@dataclass(frozen=True)
class Score:
    """Scores of a baseline on a chunk of a trace."""

    baseline: Baseline  # The baseline with the chunk in its history
    # shape (C,): Sum of `fresh_error` over the scored rollouts of each of C groups, in the order of the chunk; NaN
    # where one of them is undefined.
    errors: np.ndarray
    # shape (C,): The same sum of squared errors against the true value, where the trace holds it.
    value_errors: np.ndarray | None = None
    # shape (C,): The same sum of squared advantages times squared score norms, where the trace holds these; advantages
    # of a value with weight w on the own reward are divided by 1 - w, as in `kvar.variance.gradient_variance`.
    gradient_errors: np.ndarray | None = None
    refusal: str | None = None  # Why the baseline cannot be replayed over the chunk; its scores are NaN then
    # Median effective sample size of the values by number of the step, where a baseline says it.
    sizes: dict[int, float] = field(default_factory=dict)


def looks_between(n_steps: int) -> int:
    """Steps from one look at effective sample sizes to the next: a power of two, so that fewer looks are among more."""
    return 1 << max(n_steps // _LOOKS, 1).bit_length() - 1


def score_chunk(baseline: Baseline, chunk: StepChunk, noise: np.ndarray, every: int) -> Score:
    """Run a baseline over a chunk and score it; look at effective sample sizes once in so many steps."""
    sizes: dict[int, float] = {}
    truth, squares = chunk.columns.get(TRUTH), squared_norms(chunk) if NORM in chunk.columns else None
    says = type(baseline).assess is not Baseline.assess

    def look(place: slice, batch: Batch) -> None:
        time = int(chunk.time[place.start])
        if says and time % every == every - 1 and batch.n_scored:
            found = baseline.assess(batch).effective_sample_size[batch.scored]
            known = found[~np.isnan(found)]
            sizes[time] = float(np.median(known)) if known.size else np.nan

    try:
        replayed = replay_chunk(baseline, chunk, look)
    except ValueError as refusal:
        nothing = np.full(len(noise), np.nan)
        of_values, of_gradient = (None if column is None else nothing for column in (truth, squares))
        return Score(baseline, nothing, of_values, of_gradient, str(refusal))
    scored = ~np.isnan(chunk.reward)
    fresh = fresh_error(chunk.reward, replayed, chunk.spread(noise))
    # The error of a value that is its own lone reward cannot be estimated.
    fresh[(replayed.own_weight >= 1) & chunk.spread(chunk.sums(scored) == 1)] = np.nan
    errors = chunk.sums(np.where(scored, fresh, 0.0))
    value_errors = gradient_errors = None
    if truth is not None:
        value_errors = chunk.sums(np.where(scored, (replayed.values - truth) ** 2, 0.0))
    if squares is not None:
        weighted = squares * replayed.squared_advantages(chunk.reward)
        gradient_errors = chunk.sums(np.where(squares > 0, weighted, 0.0))
    return Score(baseline, errors, value_errors, gradient_errors, sizes=sizes)
