"""One pass over a trace: all baselines replayed in step, their scores summed by prompt and by period."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from kvar.auditing.error_sums import ScoreColumns, ScoreSums
from kvar.auditing.groups import Groups, sum_over_groups
from kvar.auditing.norm_pairs import NORM, NormPairs, norm_ratio, squared_norms
from kvar.auditing.prediction_error import TRUTH, Score, score_chunk
from kvar.auditing.statistics_collector import NoiseTerms, StatisticsCollector
from kvar.baselines import Baseline
from kvar.rollouts.step_chunks import SortedTrace, StepChunk
from kvar.utils.parallel import shared_work

__all__ = ["score_baselines", "sum_scores"]


def score_baselines(
    order: SortedTrace,
    baselines: Sequence[Baseline],
    n_jobs: int | None = None,
    advance: Callable[[int], object] = lambda n_rollouts: None,
) -> ScoreSums:
    """Replay baselines over a trace and sum their scores."""
    baselines = list(baselines)
    extras = order.trace.extras
    needed = {TRUTH, NORM} & extras.keys()
    needed |= {name for baseline in baselines for name in baseline.columns_used(extras)}
    with shared_work(n_jobs, len(order.trace)) as share:

        def score(chunk: StepChunk, noise: np.ndarray) -> list[Score]:
            scores = share(score_chunk, baselines, chunk, noise)
            baselines[:] = [one.baseline for one in scores]
            return scores

        return sum_scores(order, len(baselines), sorted(needed), score, advance)


def sum_scores(
    order: SortedTrace,
    n: int,
    extras: Sequence[str],
    score: Callable[[StepChunk, np.ndarray], Sequence[Score]],
    advance: Callable[[int], object] = lambda n_rollouts: None,
) -> ScoreSums:
    """Sum over a trace the scores of n baselines, from a function of a chunk and its groups' noise, shape (C,)."""
    columns = ScoreColumns.of(n, TRUTH in extras, NORM in extras)
    collector = StatisticsCollector(len(order.prompts), len(order.starts))
    pairs = NormPairs(order) if NORM in extras else None
    baselines: list[Baseline] = []
    refusals: dict[int, str] = {}

    def cells_of(chunk: StepChunk, groups: Groups, terms: NoiseTerms) -> np.ndarray:
        scores = score(chunk, _reward_variance(groups, terms))
        baselines[:] = [one.baseline for one in scores]
        for k, one in enumerate(scores):
            if one.refusal:
                refusals.setdefault(k, one.refusal)
        kept = [k for k in range(len(scores)) if k not in refusals]
        cells = _cells(columns, groups, terms, scores, kept)
        if pairs is not None:
            _add_norms(cells, columns, chunk, scores, kept)
            cells[columns.norm_pairs] = pairs.add(chunk, groups, squared_norms(chunk))
        return cells

    sums = sum_over_groups(order, extras, len(columns), cells_of, collector.add, advance)
    facts = collector.statistics()
    if pairs is not None:
        ratio, limits = norm_ratio(sums, columns.norm_pairs)
        n_normed = round(sums.total(columns.normed))
        facts = dataclasses.replace(facts, n_normed=n_normed, norm_ratio=ratio, norm_ratio_limits=limits)
    return ScoreSums(baselines, columns, sums, facts, collector.recent_visits, refusals)


def _reward_variance(groups: Groups, terms: NoiseTerms) -> np.ndarray:
    """Variance of a reward: of its group, else from the prompt's visit before, which a moving value makes too large."""
    return np.where(terms.pairs[0], terms.half_square[0], groups.variance)


def _cells(
    columns: ScoreColumns, groups: Groups, terms: NoiseTerms, scores: Sequence[Score], kept: list[int]
) -> np.ndarray:
    """What one chunk adds to each column, shape (columns, C)."""
    cells = np.zeros((len(columns), len(groups)))
    errors = np.array([score.errors for score in scores])
    defined = ~np.isnan(errors)
    common = defined[kept].all(axis=0)
    errors[~defined] = 0.0
    lone = np.where(groups.count == 1, errors, 0.0)
    # Cells that stay 0 are pages that are never written, which counts where groups are many.
    for part, here in enumerate((common, ~common)):
        if here.any():
            for places, values in (
                (columns.count, groups.count),
                (columns.noise, terms.noise),
                (columns.noisy, terms.noisy),
                (columns.error, errors),
                (columns.lone, lone),
            ):
                cells[places[part]] = np.where(here, values, 0.0)
    if not common.all():
        cells[columns.defined] = np.where(defined & ~common, groups.count, 0.0)
    for k, score in enumerate(scores):
        if score.value_errors is not None:
            known = ~np.isnan(score.value_errors)
            cells[columns.value[k]] = np.where(known, score.value_errors, 0.0)
            cells[columns.known[k]] = np.where(known, groups.count, 0.0)
    cells[columns.half_square], cells[columns.pairs] = terms.half_square, terms.pairs
    return cells


def _add_norms(
    cells: np.ndarray, columns: ScoreColumns, chunk: StepChunk, scores: Sequence[Score], kept: list[int]
) -> None:
    """Fill the columns of weighted errors."""
    squares = squared_norms(chunk)
    weight, normed = chunk.sums(np.nan_to_num(squares)), chunk.sums((~np.isnan(squares)).astype(np.float64))
    errors = np.array([score.gradient_errors for score in scores])
    defined = ~np.isnan(errors)
    common = defined[kept].all(axis=0)
    errors[~defined] = 0.0
    for part, here in enumerate((common, ~common)):
        cells[columns.weight[part]], cells[columns.normed[part]] = weight * here, normed * here
        cells[columns.weighted[part]] = errors * here
    cells[columns.weighted_defined] = np.where(defined & ~common, weight, 0.0)
