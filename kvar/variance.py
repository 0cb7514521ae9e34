"""Where the variance of a policy gradient comes from, and what a baseline can remove of it.

A step takes B prompts with G completions each and estimates the gradient g by ``sum A s / (B G)``, with the score ``s
= grad log pi(Y | X)`` and the advantage ``A = Z - b`` of a baseline b that has not seen the own reward Z. With V the
value of the prompt and g(x) its own gradient, the squared error is ([1], theorem 2; [2], theorem 1)::

    E|estimate - g|^2 = P / B + (R + D) / (B G)         up to terms of order 1 / (B G^2) of the group's own making

    prompt part     P = E|g(X) - g|^2                       which prompts came; no baseline changes it
    reward part     R = E[|s|^2 (Z - V)^2] - E|g(X)|^2      what an oracle that knows V leaves
    baseline part   D = E[|s|^2 (b - V)^2] - 2 E[(b - V) |s|^2 (Z - V)]

D is the *oracle gap*. Where the reward is uncorrelated with the squared norm of the score given the prompt, its
second term is zero and it is ``E|s|^2`` times the value MSE. Otherwise it can be negative, and is least at the
variance-optimal baseline ``E[|s|^2 Z | x] / E[|s|^2 | x]`` ([3], theorem 8).

[1] Kernelized Advantage Estimation (2026), arXiv 2604.28005.
[2] A U-statistic view of group-relative policy gradients (2026), arXiv 2603.01162.
[3] Greensmith, Bartlett and Baxter (2004), Variance reduction techniques for gradient estimates in reinforcement
learning, Journal of Machine Learning Research 5, 1471-1530.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from kvar.baselines import Baseline, make_baseline
from kvar.intervals import Interval
from kvar.replaying import replay_baseline
from kvar.rollouts.trace import Trace
from kvar.utils.checks import checked_count

__all__ = ["GradientVariance", "ScoreMoments", "gradient_variance"]

_NORM, _TRUTH = "score_norm", "true_value"
_SKETCH = re.compile(r"sketch_\d+")


@dataclass(frozen=True)
class ScoreMoments:
    """Moments of score and reward given the prompt, where they are known: each an array over prompts.

    Attributes
    ----------
    square : ndarray
        ``E[|s|^2 | x]``.
    cross : ndarray
        ``E[|s|^2 (Z - V) | x]``; zero under the paper's assumption.
    noise : ndarray
        ``E[|s|^2 (Z - V)^2 | x]``.
    signal : ndarray
        ``|g(x)|^2``.
    """

    square: np.ndarray
    cross: np.ndarray
    noise: np.ndarray
    signal: np.ndarray

    @property
    def reward_part(self) -> np.ndarray:
        """R of each prompt."""
        return self.noise - self.signal

    @property
    def optimal_shift(self) -> np.ndarray:
        """How far the variance-optimal baseline lies above the value."""
        return self.cross / self.square

    def baseline_part(self, error: np.ndarray) -> np.ndarray:
        """D of each prompt.

        Parameters
        ----------
        error : ndarray
            Baseline less value, of a shape that broadcasts with the moments.

        Returns
        -------
        ndarray
            ``square error**2 - 2 cross error``, least at `optimal_shift`.
        """
        return self.square * error**2 - 2.0 * self.cross * error

    def leave_one_out_part(self, reward_variance: np.ndarray, group_size: int) -> np.ndarray:
        """D of each prompt for the mean of the others in the group, or for the group mean scaled to be unbiased.

        Parameters
        ----------
        reward_variance : ndarray
            Variance of the reward given the prompt.
        group_size : int
            G, at least 2.

        Returns
        -------
        ndarray
            ``square variance / (G - 1)``: this value has no bias, so its error has no product with `cross`.
        """
        return self.square * reward_variance / (checked_count(group_size, "group_size", low=2) - 1)


@dataclass(frozen=True)
class GradientVariance:
    """Parts of the squared error of a policy gradient, estimated from a recorded run.

    Attributes
    ----------
    prompt : Interval or None
        P; None where the trace has no gradient sketches, never two prompts at one step, or never two rollouts of one.
    reward : Interval
        R; with ``E|g(X)|^2`` still in it where the trace has no sketches, or never two of a prompt at one step, since
        nothing else can tell it.
    baseline : Interval
        D, the oracle gap.
    """

    prompt: Interval | None
    reward: Interval
    baseline: Interval

    def mse(self, n_prompts: int, group_size: int) -> float:
        """Squared error of the gradient of a step, in the squared units of the score.

        Parameters
        ----------
        n_prompts : int
            B.
        group_size : int
            G.

        Returns
        -------
        float
            ``P / B + (R + D) / (B G)``, without P where that is not known.
        """
        n_prompts, group_size = checked_count(n_prompts, "n_prompts"), checked_count(group_size, "group_size")
        prompt = 0.0 if self.prompt is None else self.prompt.mean
        return prompt / n_prompts + (self.reward.mean + self.baseline.mean) / (n_prompts * group_size)

    def oracle_gap(self, group_size: int) -> float:
        """How much larger the squared error is than an oracle's.

        Parameters
        ----------
        group_size : int
            G.

        Returns
        -------
        float
            As a share of the oracle's: 0.02 is 2 % more. The number of prompts does not matter.
        """
        mse = self.mse(1, group_size)
        oracle = mse - self.baseline.mean / group_size
        return mse / oracle - 1.0


def gradient_variance(trace: Trace, baseline: str | Baseline, **parameters) -> GradientVariance:
    """Estimate the parts of the gradient's squared error under a baseline from a recorded run.

    Parameters
    ----------
    trace : Trace
        With the column ``score_norm``, the norm of each completion's score, or with columns ``sketch_0``,
        ``sketch_1``, ..., the score itself or a random projection of it that keeps squared norms in expectation. With
        sketches P is estimated too, and R without ``E|g(X)|^2`` in it. With the column ``true_value`` R and D are
        taken against it. Without, they come from groups of three rewards or more, where
        ``(Z_g - Z_j)(Z_g - Z_k)`` over distinct rollouts is free of V and has the expectation ``(Z_g - V)^2``.
    baseline : str or Baseline
        A registered name, or a fresh baseline.
    **parameters
        Of a baseline given by name.

    Returns
    -------
    GradientVariance
        Each part with a 95 % interval over prompts and steps. Rollouts without a reward, and those whose value is
        their own reward and nothing else, are left out. Cost O(n d) for n rollouts and sketches of length d.

    Raises
    ------
    ValueError
        If the trace has neither norms nor sketches, if one of them is negative or not finite, or if it has no true
        values and no group of three.

    Notes
    -----
    A value with weight w on the own reward shrinks the gradient by ``1 - w``. Such advantages are divided by it, so
    that all baselines estimate the same gradient: `group-mean` then equals `leave-one-out`.
    """
    scores = _sketches(trace)
    squares = _squared_norms(trace, scores)
    if isinstance(baseline, str):
        baseline = make_baseline(baseline, **parameters)
    replayed = replay_baseline(trace, baseline)
    kept = ~np.isnan(trace.reward) & (replayed.own_weight < 1)
    _, prompts = np.unique(trace.prompt_id, return_inverse=True)
    _, steps = np.unique(trace.step, return_inverse=True)
    _, groups = np.unique(steps * (prompts.max(initial=0) + 1) + prompts, return_inverse=True)
    scale = np.where(kept, 1.0 / (1.0 - np.where(kept, replayed.own_weight, 0.0)), 0.0)
    advantages = np.where(kept, trace.reward - replayed.values, 0.0) * scale

    def interval(values):
        return Interval.over_prompts_and_steps(np.where(kept, values, np.nan), prompts, steps)

    if _TRUTH in trace.extras:
        left = (trace.reward - trace.extras[_TRUTH]) ** 2
    else:
        left = _free_of_value(trace.reward, groups)
        if not np.isfinite(left[kept]).any():
            raise ValueError(
                "the parts of reward and baseline need the column true_value, or groups of three rewards or more"
            )
    gap = interval(squares * (advantages**2 - left))
    counts = np.bincount(groups, weights=kept)
    if scores is None or (counts < 2).all():
        return GradientVariance(None, interval(squares * left), gap)
    # Any number that none of the rewards is in leaves a product of two rollouts unbiased; the values of a baseline that
    # looks at the group would not, since each of the two is in the other's. The truth or the past makes it quiet.
    centre = (
        trace.extras[_TRUTH] if _TRUTH in trace.extras else replay_baseline(trace, make_baseline("running-mean")).values
    )
    # What is left out has no score to speak of, and may have NaN for one.
    contributions = np.where(kept, trace.reward - centre, 0.0)[:, None] * np.where(kept[:, None], scores, 0.0)
    signal, of_group = _product_of_two(contributions, groups, counts)
    group_step = np.zeros(len(counts), dtype=np.intp)
    group_step[groups] = steps
    seen = counts > 0
    of_group, group_step = of_group[seen] / counts[seen, None], group_step[seen]
    common, _ = _product_of_two(of_group, group_step, np.bincount(group_step, minlength=steps.max() + 1))
    prompt = interval(signal[groups] - common[steps])
    reward = interval(squares * left - signal[groups])
    return GradientVariance(None if math.isnan(prompt.mean) else prompt, reward, gap)


def _sketches(trace: Trace) -> np.ndarray | None:
    names = sorted((n for n in trace.extras if _SKETCH.fullmatch(n)), key=lambda n: int(n.partition("_")[2]))
    if not names:
        return None
    return np.stack([np.asarray(trace.extras[name], dtype=np.float64) for name in names], axis=1)


def _squared_norms(trace: Trace, scores: np.ndarray | None) -> np.ndarray:
    if _NORM in trace.extras:
        norms = np.asarray(trace.extras[_NORM], dtype=np.float64)
    elif scores is not None:
        norms = np.sqrt((scores**2).sum(axis=1))
    else:
        raise ValueError(
            f"gradient variance needs the column {_NORM!r} or columns 'sketch_0', 'sketch_1', ... beside the rewards; "
            f"this trace has {', '.join(trace.extras) or 'neither'}"
        )
    wrong = ~(np.isfinite(norms) & (norms >= 0)) & ~np.isnan(trace.reward)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"row {row} has a score of norm {norms[row]:g}; norms are finite and not negative")
    return norms**2


def _product_of_two(vectors: np.ndarray, groups: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean inner product of two different vectors of a group, NaN where there is one; and the sum of the vectors."""
    total = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(total, groups, vectors)
    squares = np.bincount(groups, weights=(vectors**2).sum(axis=1), minlength=len(counts))
    pairs = counts * (counts - 1)
    products = (total**2).sum(axis=1) - squares
    return np.divide(products, pairs, out=np.full(len(counts), np.nan), where=pairs > 0), total


def _free_of_value(reward: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Mean of ``(Z_g - Z_j)(Z_g - Z_k)`` over the distinct others of the group, NaN for groups of fewer than three."""
    scored = ~np.isnan(reward)
    counts = np.bincount(groups, weights=scored)
    mean = np.divide(
        np.bincount(groups, weights=np.where(scored, reward, 0.0)), counts, out=np.zeros(len(counts)), where=counts > 0
    )
    # About the mean of the group the sums of differences are small, and nothing cancels.
    centred = np.where(scored, reward - mean[groups], 0.0)
    squares = np.bincount(groups, weights=centred**2)[groups]
    n = counts[groups]
    # sum over j != g of (Z_g - Z_j) is n c_g, and of its square n c_g**2 + S.
    products = (n * centred) ** 2 - (n * centred**2 + squares)
    pairs = (n - 1) * (n - 2)
    return np.divide(products, pairs, out=np.full(len(reward), np.nan), where=scored & (pairs > 0))
