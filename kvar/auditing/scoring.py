"""One pass over a trace: all baselines replayed side by side, their scores summed by prompt and by period."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence

import numpy as np

from kvar.auditing.groups import Groups
from kvar.auditing.log_statistics import StatisticsCollector
from kvar.auditing.prediction_error import TRUTH, Score, score_chunk
from kvar.auditing.score_sums import Collected
from kvar.baselines import Baseline
from kvar.intervals import ClusteredSums
from kvar.rollouts.step_chunks import SortedTrace, StepChunk
from kvar.utils.parallel import prefetch, shared_work

__all__ = ["collect", "period_length", "sum_up"]

_VISITS = ("half_square_1", "pairs_1", "half_square_2", "pairs_2")
# Stands before the part of a column in groups that some prediction has no score for.
_PARTIAL = "partial "


def period_length(n_steps: int) -> int:
    """Steps that make up a period of `ClusteredSums`: the cube root of their number."""
    return max(1, int(n_steps ** (1 / 3)))


def collect(
    order: SortedTrace,
    baselines: Sequence[Baseline],
    n_jobs: int | None = None,
    advance: Callable[[int], object] = lambda n_rollouts: None,
) -> Collected:
    """Replay baselines over a trace and sum up how they did."""
    baselines = list(baselines)
    extras = order.trace.extras
    needed = {TRUTH} & extras.keys()
    needed |= {name for baseline in baselines for name in baseline.columns_used(extras)}
    with shared_work(n_jobs, len(order.trace)) as share:

        def score(chunk: StepChunk, noise: np.ndarray) -> list[Score]:
            scores = share(score_chunk, baselines, chunk, noise)
            baselines[:] = [one.baseline for one in scores]
            return scores

        return sum_up(order, len(baselines), sorted(needed), score, advance)


def sum_up(
    order: SortedTrace,
    n: int,
    columns: Sequence[str],
    score: Callable[[StepChunk, np.ndarray], Sequence[Score]],
    advance: Callable[[int], object] = lambda n_rollouts: None,
) -> Collected:
    """Sum up over a trace what some predictions score.

    Memory grows with the number of prompts, steps and predictions, not with the number of rollouts.
    """
    n_prompts, n_steps = len(order.prompts), len(order.starts)
    length = period_length(n_steps)
    split = ["count", "noise", "noisy", *(f"{name}:{k}" for k in range(n) for name in ("error", "lone"))]
    apart = ["defined", *(("value", "known") if TRUTH in columns else ())]
    names = [*split, *(_PARTIAL + name for name in split), *(f"{name}:{k}" for k in range(n) for name in apart)]
    sums = ClusteredSums([*names, *_VISITS], n_prompts, -(-n_steps // length))
    facts = StatisticsCollector(n_prompts, n_steps)
    refusals: dict[int, str] = {}
    for chunk, groups, about in prefetch(_prepared(order, columns, length, facts)):
        scores = score(chunk, _known_noise(groups, about))
        refusals = {k: one.refusal for k, one in enumerate(scores) if one.refusal} | refusals
        about |= _sums_of(groups, about, scores, refusals)
        sums.add({name: c for name, c in about.items() if c.any()}, groups.prompt, groups.time // length)
        advance(len(chunk))
    comparable = [True] * n
    partial = sums.total(_PARTIAL + "count")
    if sums.total("count") < partial:
        comparable = [sums.total(f"defined:{k}") == partial for k in range(n)]
        parts = {name: (name, _PARTIAL + name) for name in split}
        sums.combine(parts | {f"defined:{k}": ("count", f"defined:{k}") for k in range(n)})
    return Collected([one.baseline for one in scores], sums, facts.facts(), refusals, comparable)


def _prepared(
    order: SortedTrace, columns: Sequence[str], length: int, facts: StatisticsCollector
) -> Iterator[tuple[StepChunk, Groups, dict[str, np.ndarray]]]:
    """Each chunk with its groups and with the columns of sums that no baseline is needed for."""
    first_time = 0
    for chunk in order.chunks(columns, length):
        groups = Groups.of(chunk, first_time)
        yield chunk, groups, facts.add(groups)
        first_time = int(groups.time[-1]) + 1


def _known_noise(groups: Groups, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Variance of a reward: of its group, else from the prompt's visit before, which a moving value makes too large."""
    return np.where(columns["pairs_1"] > 0, columns["half_square_1"], groups.variance)


def _sums_of(
    groups: Groups, about: dict[str, np.ndarray], scores: Sequence[Score], refusals: Container[int]
) -> dict[str, np.ndarray]:
    """The columns of one chunk that depend on baselines."""
    count = groups.count.astype(np.float64)
    whole = np.ones(len(groups), dtype=bool)
    for k, score in enumerate(scores):
        if k not in refusals:
            whole &= ~np.isnan(score.errors)
    split, columns = {"count": count, "noise": about["noise"], "noisy": about["noisy"]}, {}
    for k, score in enumerate(scores):
        defined = ~np.isnan(score.errors)
        split[f"error:{k}"] = error = np.where(defined, score.errors, 0.0)
        split[f"lone:{k}"] = np.where(groups.count == 1, error, 0.0)
        columns[f"defined:{k}"] = np.where(~whole & defined, count, 0.0)
        if score.value_errors is not None:
            right = ~np.isnan(score.value_errors)
            columns[f"value:{k}"] = np.where(right, score.value_errors, 0.0)
            columns[f"known:{k}"] = np.where(right, count, 0.0)
    for name, values in split.items():
        columns |= {name: np.where(whole, values, 0.0), _PARTIAL + name: np.where(whole, 0.0, values)}
    return columns
