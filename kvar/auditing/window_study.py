"""Which fixed window of the kernel baseline has the least error, over the run and in each part of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.auditing.prediction_error import Score
from kvar.auditing.replay_errors import sum_scores
from kvar.baselines import Baseline
from kvar.baselines.kernel import AUTO_WINDOWS, KernelBaseline
from kvar.intervals import Interval
from kvar.rollouts.step_chunks import SortedTrace, StepChunk

__all__ = ["WindowStudy", "effective_sample_size", "study_windows"]

_PARTS = 8
# Number of steps at which the effective sample size is looked at.
_LOOKS = 50


@dataclass(frozen=True)
class WindowStudy:
    """The kernel baseline with fixed windows from short to long."""

    windows: list[float]  # In steps of the log
    value_mse: list[Interval]  # Estimated value MSE of each
    above_best: list[Interval]  # One-step-ahead error of each less that of the best
    best: float  # The window with the least error
    path: list[float]  # The best window in successive parts of the run


def study_windows(order: SortedTrace) -> WindowStudy:
    """Replay the kernel baseline with several windows."""
    step, kernel = order.trace.step, KernelBaseline(bandwidth="auto")
    windows = [w for w in AUTO_WINDOWS if w == AUTO_WINDOWS[0] or w < float(step.max() - step.min())]

    def score(chunk: StepChunk, noise: np.ndarray) -> list[Score]:
        sums = []
        for _, batch in chunk.batches:
            errors = np.where(batch.scored[:, None], kernel.window_values(batch) - batch.filled[:, None], 0.0)
            sums.append([batch.sums(column) for column in (errors**2).T[: len(windows)]])
            kernel.remember(batch)
        return [Score(kernel, column) for column in np.concatenate(sums, axis=1)]

    found = sum_scores(order, len(windows), (), score)
    errors = [found.prediction.mean(k).mean for k in range(len(windows))]
    best = int(np.argmin(errors))
    by_part = np.array([found.prediction.by_part(k, _PARTS) for k in range(len(windows))])
    seen = ~np.isnan(by_part).any(axis=0)
    return WindowStudy(
        windows=list(windows),
        value_mse=[found.estimated_value_mse(k, best) for k in range(len(windows))],
        above_best=[found.prediction.difference(k, best) for k in range(len(windows))],
        best=windows[best],
        path=[windows[k] for k in by_part[:, seen].argmin(axis=0)],
    )


def effective_sample_size(order: SortedTrace, baseline: Baseline) -> float:
    """Median over rollouts of the effective sample size of a value, in rewards; NaN if the baseline does not say."""
    if type(baseline).assess is Baseline.assess:
        return np.nan
    baseline = type(baseline)(**baseline.parameters)
    every = -(-len(order.starts) // _LOOKS)
    sizes, time = [], 0
    for chunk in order.chunks(baseline.columns_used(order.trace.extras)):
        for _, batch in chunk.batches:
            if time % every == every - 1 and batch.scored.any():
                sizes.append(baseline.assess(batch).effective_sample_size[batch.scored])
            baseline.remember(batch)
            time += 1
    found = np.concatenate(sizes) if sizes else np.array([np.nan])
    return float(np.nanmedian(found)) if not np.isnan(found).all() else np.nan
