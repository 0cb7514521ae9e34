"""Baselines replayed side by side, chunk by chunk, their scores summed by prompt and by period."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from kvar.auditing.error_sums import ScoreColumns, ScoreSums
from kvar.auditing.groups import Groups
from kvar.auditing.norm_pairs import NORM, NormPairs, squared_norms
from kvar.auditing.prediction_error import TRUTH, Score, looks_between, score_chunk
from kvar.auditing.statistics_collector import NoiseTerms, StatisticsCollector
from kvar.baselines import Baseline
from kvar.intervals import LONGEST_PERIOD, ClusteredSums
from kvar.rollouts.step_chunks import StepChunk
from kvar.utils.parallel import Share, prefetch

__all__ = ["BaselineReplay", "ErrorCollector", "alone"]


def alone(function: Callable, items: Iterable, *arguments) -> list:
    """Apply a function to all items in this process."""
    return [function(item, *arguments) for item in items]


class ErrorCollector:
    """Sums the scores of n baselines over chunks, which come in the order of steps and in whole longest periods.

    Only the last chunk of a log may end within a period. So a log may grow: its last steps go to a copy.
    """

    def __init__(self, n: int, extras: Sequence[str]):
        self._columns = ScoreColumns.of(n, TRUTH in extras, NORM in extras)
        self._statistics = StatisticsCollector()
        self._pairs = NormPairs() if NORM in extras else None
        self._sums = ClusteredSums(len(self._columns), longest=LONGEST_PERIOD)
        self._refusals: dict[int, str] = {}

    def grow(self, n_prompts: int, n_steps: int) -> None:
        """Expect so many prompts and steps."""
        self._statistics.grow(n_prompts, n_steps)
        self._sums.grow(n_prompts, n_steps)

    def add(
        self,
        chunks: Iterable[StepChunk],
        score: Callable[[StepChunk, np.ndarray], Sequence[Score]],
        advance: Callable[[int], object] = lambda n_rollouts: None,
    ) -> None:
        """Sum scores from a function of a chunk and its groups' noise, shape (C,)."""

        def prepared() -> Iterator[tuple[StepChunk, Groups, NoiseTerms]]:
            for chunk in chunks:
                groups = Groups.of(chunk)
                yield chunk, groups, self._statistics.add(groups)

        # One chunk ahead, in a thread.
        for chunk, groups, terms in prefetch(prepared()):
            scores = score(chunk, _reward_variance(groups, terms))
            for k, one in enumerate(scores):
                if one.refusal:
                    self._refusals.setdefault(k, one.refusal)
            kept = [k for k in range(len(scores)) if k not in self._refusals]
            cells = _cells(self._columns, groups, terms, scores, kept)
            if self._pairs is not None:
                _add_norms(cells, self._columns, chunk, scores, kept)
                cells[self._columns.norm_pairs] = self._pairs.add(chunk, groups, squared_norms(chunk))
            self._sums.add(cells, groups.prompt, groups.time)
            advance(len(chunk))

    def found(self, baselines: Sequence[Baseline]) -> ScoreSums:
        """What was summed."""
        facts = self._statistics.statistics()
        if self._pairs is not None:
            ratio, limits = self._pairs.ratio(self._sums, self._columns.norm_pairs)
            n_normed = round(self._sums.total(self._columns.normed))
            facts = dataclasses.replace(facts, n_normed=n_normed, norm_ratio=ratio, norm_ratio_limits=limits)
        visits = self._statistics.recent_visits
        return ScoreSums(list(baselines), self._columns, self._sums, facts, visits, dict(self._refusals))


class BaselineReplay:
    """Replays baselines over chunks, as `ErrorCollector` takes them, with the columns that they use."""

    def __init__(self, baselines: Sequence[Baseline], extras: Iterable[str]):
        self._baselines = list(baselines)
        extras = set(extras)
        used = {name for baseline in baselines for name in baseline.columns_used(extras)}
        self.columns = sorted({TRUTH, NORM} & extras | used)
        self._collector = ErrorCollector(len(self._baselines), self.columns)
        self._n_steps = 0
        # Effective sample sizes by the number of the step at which they were looked at.
        self._sizes: list[dict[int, float]] = [{} for _ in baselines]

    def grow(self, n_prompts: int, n_steps: int) -> None:
        """Expect so many prompts and steps."""
        self._collector.grow(n_prompts, n_steps)
        self._n_steps = max(self._n_steps, n_steps)

    def add(
        self,
        chunks: Iterable[StepChunk],
        share: Share = alone,
        advance: Callable[[int], object] = lambda n_rollouts: None,
    ) -> None:
        """Replay chunks."""

        def score(chunk: StepChunk, noise: np.ndarray) -> list[Score]:
            self._n_steps = max(self._n_steps, int(chunk.time[-1]) + 1)
            scores = share(score_chunk, self._baselines, chunk, noise, looks_between(self._n_steps))
            self._baselines[:] = [one.baseline for one in scores]
            for sizes, one in zip(self._sizes, scores, strict=True):
                sizes.update(one.sizes)
            return scores

        self._collector.add(chunks, score, advance)

    def found(self) -> ScoreSums:
        """What was summed."""
        return self._collector.found(self._baselines)

    def effective_sample_size(self, k: int) -> float:
        """Median effective sample size of the values of baseline k, in rewards; NaN if it does not say.

        It is the median over steps, some fifty or more, of the median over the rollouts of a step.
        """
        every = looks_between(self._n_steps)
        sizes = [size for time, size in self._sizes[k].items() if time % every == every - 1 and not np.isnan(size)]
        return float(np.median(sizes)) if sizes else np.nan


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
