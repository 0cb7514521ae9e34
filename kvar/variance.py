"""Parts of the variance of a policy gradient, and which of them a baseline can reduce.

A step samples B prompts X with G completions Y each, and estimates the gradient g by ``sum A s / (B G)``. Here ``s =
grad log pi(Y | X)`` is the score, and ``A = Z - b`` is the advantage of the reward Z over a baseline b that does not
depend on Z. Let V be the value of the prompt and g(x) its own gradient. The mean squared error of the estimate is ([1],
theorem 2; [2], theorem 1)::

    E|estimate - g|^2 = P / B + (R + D) / (B G)         up to terms of order 1 / (B G^2) from b's use of the group

    prompt part     P = E|g(X) - g|^2                       variance over prompts; it does not depend on the baseline
    reward part     R = E[|s|^2 (Z - V)^2] - E|g(X)|^2      the rest of the variance under the oracle b = V
    baseline part   D = E[|s|^2 (b - V)^2] - 2 E[(b - V) |s|^2 (Z - V)]

D is the *oracle gap*. If the reward is uncorrelated with the squared norm of the score given the prompt, its second
term is 0, and D is ``E|s|^2`` times the value MSE. Otherwise D can be negative. It is smallest at the variance-optimal
baseline ``E[|s|^2 Z | x] / E[|s|^2 | x]`` ([3], theorem 8).

[1] Kernelized Advantage Estimation (2026), arXiv 2604.28005.
[2] A U-statistic view of group-relative policy gradients (2026), arXiv 2603.01162.
[3] Greensmith, Bartlett and Baxter (2004), Variance reduction techniques for gradient estimates in reinforcement
learning, Journal of Machine Learning Research 5, 1471-1530.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kvar.baselines import Baseline, BaselineName, make_baseline
from kvar.intervals import ClusteredSums, Interval, Ratio
from kvar.replaying import Replayed, replay_baseline
from kvar.rollouts.trace import Trace
from kvar.utils.checks import checked_count
from kvar.utils.mean_products import mean_products

__all__ = ["GradientComparison", "GradientVariance", "ScoreMoments", "compare_gradients", "gradient_variance"]

_NORM, _TRUE_VALUE = "score_norm", "true_value"
_SKETCH = re.compile(r"sketch_\d+")


@dataclass(frozen=True)
class ScoreMoments:
    """Known moments of score s and reward Z given the prompt, each an array over prompts.

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
        """Reward part R of each prompt."""
        return self.noise - self.signal

    @property
    def optimal_shift(self) -> np.ndarray:
        """Variance-optimal baseline less value."""
        return self.cross / self.square

    def baseline_part(self, error: np.ndarray) -> np.ndarray:
        """Baseline part D of each prompt.

        Parameters
        ----------
        error : ndarray
            Baseline less value, in a shape that broadcasts with the moments.

        Returns
        -------
        ndarray
            ``square error**2 - 2 cross error``, smallest at `optimal_shift`.
        """
        return self.square * error**2 - 2.0 * self.cross * error

    def leave_one_out_part(self, reward_variance: np.ndarray, group_size: int) -> np.ndarray:
        """Baseline part D of each prompt for leave-one-out, or for the group mean scaled to be unbiased.

        Parameters
        ----------
        reward_variance : ndarray
            Variance of the reward given the prompt.
        group_size : int
            G, at least 2.

        Returns
        -------
        ndarray
            ``square reward_variance / (G - 1)``. There is no term with `cross`, since the value is unbiased.
        """
        return self.square * reward_variance / (checked_count(group_size, "group_size", low=2) - 1)


@dataclass(frozen=True)
class GradientVariance:
    """Parts of the mean squared error of a policy gradient, estimated from a recorded run.

    Attributes
    ----------
    prompt : Interval or None
        P. None if the trace has no gradient sketches, no step with two prompts, or no prompt with two rollouts at one
        step.
    reward : Interval
        R. It includes ``E|g(X)|^2`` if the trace has no sketches, or no prompt with two rollouts at one step, since
        that term cannot be estimated then.
    baseline : Interval
        D, the oracle gap.
    """

    prompt: Interval | None
    reward: Interval
    baseline: Interval

    def mse(self, n_prompts: int, group_size: int) -> float:
        """Mean squared error of the gradient of a step, in squared units of the score.

        Parameters
        ----------
        n_prompts : int
            Number B of prompts a step.
        group_size : int
            Number G of completions a prompt.

        Returns
        -------
        float
            ``P / B + (R + D) / (B G)``, without P if that is None.
        """
        n_prompts, group_size = checked_count(n_prompts, "n_prompts"), checked_count(group_size, "group_size")
        prompt = 0.0 if self.prompt is None else self.prompt.mean
        return prompt / n_prompts + (self.reward.mean + self.baseline.mean) / (n_prompts * group_size)

    def oracle_gap(self, group_size: int) -> float:
        """Relative increase of the mean squared error over the oracle's.

        Parameters
        ----------
        group_size : int
            Number G of completions a prompt.

        Returns
        -------
        float
            Fraction of the oracle's error: 0.02 is 2 % more. It does not depend on the number of prompts.
        """
        mse = self.mse(1, group_size)
        oracle = mse - self.baseline.mean / group_size
        return mse / oracle - 1.0


def gradient_variance(trace: Trace, baseline: BaselineName | Baseline, **parameters: float | str) -> GradientVariance:
    """Estimate the parts of the gradient's mean squared error under a baseline from a recorded run.

    Parameters
    ----------
    trace : Trace
        A recorded run with scores: the column ``score_norm``, the norm of each completion's score, or the columns
        ``sketch_0``, ``sketch_1``, ..., the score itself or a random projection of it that preserves squared norms in
        expectation. Sketches are needed for P, and to take ``E|g(X)|^2`` out of R. R and D use the column
        ``true_value`` if there is one, and groups of at least three rewards otherwise.
    baseline : str or Baseline
        A registered name, or a baseline with an empty history.
    **parameters
        Parameters of a baseline that is given by name.

    Returns
    -------
    GradientVariance
        Each part with a 95 % confidence interval over prompts and steps. It leaves out rollouts without a reward, and
        those whose value is their own reward alone. Cost O(n d) for n rollouts and d sketches.

    Raises
    ------
    ValueError
        If the trace has neither norms nor sketches, if one of them is negative or not finite, or if it has neither
        true values nor a group of three rewards.

    Notes
    -----
    A value with weight w on the own reward shrinks the gradient by ``1 - w``. Its advantages are divided by ``1 - w``,
    so that all baselines estimate the same gradient. `group-mean` then equals `leave-one-out`.
    """
    scores = _sketches(trace)
    squared_norms = _squared_norms(trace, scores)
    replayed = _replayed(trace, baseline, **parameters)
    kept = ~np.isnan(trace.reward) & (replayed.own_weight < 1)
    rows = _Rows.of(trace, kept)
    if _TRUE_VALUE in trace.extras:
        squared_noise = (trace.reward - trace.extras[_TRUE_VALUE]) ** 2
    else:
        squared_noise = _squared_noise(trace.reward, rows.groups)
        if not np.isfinite(squared_noise[kept]).any():
            raise ValueError(
                "the reward and baseline parts need the column true_value, or groups of three rewards or more"
            )
    baseline_part = rows.interval(squared_norms * (replayed.squared_advantages(trace.reward) - squared_noise))
    if scores is None or (rows.counts < 2).all():
        return GradientVariance(None, rows.interval(squared_norms * squared_noise), baseline_part)
    of_prompt, of_step = _squared_gradients(rows, scores)
    prompt_part = rows.interval(of_prompt - of_step)
    reward_part = rows.interval(squared_norms * squared_noise - of_prompt)
    return GradientVariance(None if math.isnan(prompt_part.mean) else prompt_part, reward_part, baseline_part)


@dataclass(frozen=True)
class GradientComparison:
    """The gradient under one baseline against that under another, on the same rollouts.

    Attributes
    ----------
    difference : Interval
        R + D of the first less that of the second; R is the same for both. Negative where the first is better.
    ratio : Interval
        ``E[|s|^2 A^2]`` of the first over that of the second: R + D with the square of a prompt's gradient, which is
        small in comparison.
    """

    difference: Interval
    ratio: Interval


def compare_gradients(
    trace: Trace, baseline: BaselineName | Baseline, against: BaselineName | Baseline
) -> GradientComparison:
    """Compare the gradients that two baselines would have given on a recorded run.

    Parameters
    ----------
    trace : Trace
        A recorded run with ``score_norm`` or sketches, as for `gradient_variance`. It needs neither true values nor
        groups.
    baseline, against : str or Baseline
        Registered names, or baselines with an empty history.

    Returns
    -------
    GradientComparison
        Difference and ratio, each with a 95 % confidence interval over prompts and steps. It leaves out rollouts
        without a reward, and those whose value under one of the baselines is their own reward alone.

    Raises
    ------
    ValueError
        If the trace has neither norms nor sketches, or if one of them is negative or not finite.

    Examples
    --------
    Wrong answers have scores three times as large as right ones:

    >>> import numpy as np, kvar
    >>> from kvar.variance import compare_gradients
    >>> right = np.random.default_rng(0).random(600) < 0.5
    >>> columns = {"step": np.arange(600) // 20, "prompt_id": np.arange(600) % 20, "reward": right.astype(float)}
    >>> trace = kvar.Trace.from_columns(columns | {"score_norm": np.where(right, 1.0, 3.0)})
    >>> compare_gradients(trace, "variance-optimal", "adaptive").ratio.high < 1
    True
    """
    squared_norms = _squared_norms(trace, _sketches(trace))
    both = [_replayed(trace, name) for name in (baseline, against)]
    kept = ~np.isnan(trace.reward) & np.all([replayed.own_weight < 1 for replayed in both], axis=0)
    rows = _Rows.of(trace, kept)
    sums = ClusteredSums(3, int(rows.prompts.max(initial=0)) + 1, int(rows.steps.max(initial=0)) + 1)
    parts = [np.ones(len(trace)), *(squared_norms * replayed.squared_advantages(trace.reward) for replayed in both)]
    sums.add(np.array(parts)[:, kept], rows.prompts[kept], rows.steps[kept])
    difference = sums.interval(Ratio([1], [0]), Ratio([2], [0], -1.0))
    # A first part that is 0 counts the rollouts.
    return GradientComparison(difference, sums.interval(Ratio([0], [0], 0.0), Ratio([1], [2])))


def _replayed(trace: Trace, baseline: BaselineName | Baseline, **parameters: float | str) -> Replayed:
    return replay_baseline(trace, baseline if isinstance(baseline, Baseline) else make_baseline(baseline, **parameters))


@dataclass(frozen=True)
class _Rows:
    """Rollouts of a trace, which of them are kept, and the numbers of their prompts, steps and groups, from 0."""

    trace: Trace
    kept: np.ndarray
    prompts: np.ndarray
    steps: np.ndarray
    groups: np.ndarray

    @classmethod
    def of(cls, trace: Trace, kept: np.ndarray) -> _Rows:
        """Number prompts, steps and groups."""
        _, prompts = np.unique(trace.prompt_id, return_inverse=True)
        _, steps = np.unique(trace.step, return_inverse=True)
        _, groups = np.unique(steps * (prompts.max(initial=0) + 1) + prompts, return_inverse=True)
        return cls(trace, kept, prompts, steps, groups)

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of kept rollouts of each group."""
        return np.bincount(self.groups, weights=self.kept)

    def interval(self, values: np.ndarray) -> Interval:
        """Mean of a number a rollout over the kept rollouts; NaN is left out."""
        return Interval.over_prompts_and_steps(np.where(self.kept, values, np.nan), self.prompts, self.steps)


def _sketches(trace: Trace) -> np.ndarray | None:
    """Scores or their projections, shape (n, d); None if the trace has no such columns."""
    names = sorted((n for n in trace.extras if _SKETCH.fullmatch(n)), key=lambda n: int(n.partition("_")[2]))
    if not names:
        return None
    return np.stack([np.asarray(trace.extras[name], dtype=np.float64) for name in names], axis=1)


def _squared_norms(trace: Trace, scores: np.ndarray | None) -> np.ndarray:
    """Squared norm of each rollout's score, shape (n,); from ``score_norm``, or else from the sketches."""
    if _NORM in trace.extras:
        norms = np.asarray(trace.extras[_NORM], dtype=np.float64)
    elif scores is not None:
        norms = np.sqrt((scores**2).sum(axis=1))
    else:
        raise ValueError(
            f"gradient variance needs the column {_NORM!r} or the columns 'sketch_0', 'sketch_1', ...; "
            f"the extra columns of this trace are {', '.join(trace.extras) or 'none'}"
        )
    wrong = ~(np.isfinite(norms) & (norms >= 0)) & ~np.isnan(trace.reward)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"row {row} has a score of norm {norms[row]:g}; norms must be finite and not negative")
    return norms**2


def _squared_noise(reward: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Unbiased estimate of ``(Z - V)^2`` of each rollout from its group; NaN in groups of fewer than three rewards.

    For distinct rollouts g, j, k of a group, ``(Z_g - Z_j)(Z_g - Z_k)`` has the expectation ``(Z_g - V)^2`` given Z_g.
    The estimate is its mean over all j and k.
    """
    scored = ~np.isnan(reward)
    counts = np.bincount(groups, weights=scored)
    mean = np.divide(
        np.bincount(groups, weights=np.where(scored, reward, 0.0)), counts, out=np.zeros(len(counts)), where=counts > 0
    )
    # Deviations from the group mean keep the sums small, so that no digits cancel.
    centred = np.where(scored, reward - mean[groups], 0.0)
    squares = np.bincount(groups, weights=centred**2)[groups]
    n = counts[groups]
    # With c = Z - mean and S = sum c**2: the sum of Z_g - Z_j over j is n c_g, that of its square n c_g**2 + S.
    products = (n * centred) ** 2 - (n * centred**2 + squares)
    pairs = (n - 1) * (n - 2)
    return np.divide(products, pairs, out=np.full(len(reward), np.nan), where=scored & (pairs > 0))


def _squared_gradients(rows: _Rows, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unbiased estimates of ``|g(x)|^2`` from each rollout's group and of ``|g|^2`` from its step, shape (n,) each.

    They are products of two rollouts of a prompt, and of two prompts of a step; NaN if there is only one.
    """
    trace, kept, counts = rows.trace, rows.kept, rows.counts
    # A product of two rollouts stays unbiased if both rewards are centred by a number that depends on neither. True
    # value and running mean are such numbers, and reduce the variance. Values that use the group are not: each of the
    # two rewards would enter the other's.
    if _TRUE_VALUE in trace.extras:
        centre = trace.extras[_TRUE_VALUE]
    else:
        centre = replay_baseline(trace, make_baseline("running-mean")).values
    # The score of a rollout that is left out may be NaN.
    gradients = np.where(kept, trace.reward - centre, 0.0)[:, None] * np.where(kept[:, None], scores, 0.0)
    of_group, totals = mean_products(gradients, rows.groups, counts)
    step_of_group = np.zeros(len(counts), dtype=np.intp)
    step_of_group[rows.groups] = rows.steps
    present = counts > 0
    means, step_of_group = totals[present] / counts[present, None], step_of_group[present]
    groups_per_step = np.bincount(step_of_group, minlength=rows.steps.max() + 1)
    of_step, _ = mean_products(means, step_of_group, groups_per_step)
    return of_group[rows.groups], of_step[rows.steps]
