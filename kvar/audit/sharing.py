"""Scoring shared between processes: each holds some of the baselines, and all see the same stretch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np

from kvar.audit.scores import Scores, score_stretch
from kvar.baselines import Baseline
from kvar.replaying import Stretch

__all__ = ["shared_scoring"]

# Below this many rollouts starting processes costs more than it saves.
_PARALLEL_FROM = 300_000

Scorer = Callable[[list[Baseline], Stretch, np.ndarray], Scores]


@contextmanager
def shared_scoring(
    n_jobs: int | None, n_rollouts: int
) -> Iterator[Callable[[list[Baseline], Stretch, np.ndarray], Scores]]:
    """Score stretches by several processes where that pays.

    Parameters
    ----------
    n_jobs : int, optional
        Processes, as in joblib; by default what `joblib.parallel_config` says, or all cores if the trace is long.
    n_rollouts : int
        How long it is.

    Yields
    ------
    callable
        Like `score_stretch`. Without joblib, or for a short trace, it is that.
    """
    joblib = None
    if n_jobs != 1 and (n_jobs is not None or n_rollouts >= _PARALLEL_FROM):
        with suppress(ImportError):
            import joblib  # type: ignore[no-redef]
    if joblib is None:
        yield score_stretch
        return
    # What the caller has set by joblib.parallel_config goes before all cores, or all workers of its cluster.
    n_jobs = joblib.effective_n_jobs(n_jobs or joblib.parallel.get_active_backend()[1] or -1)
    # Baselines move on in the processes, so nothing of theirs may be mapped from a file that cannot be written to.
    with joblib.Parallel(n_jobs=n_jobs, max_nbytes=None) as parallel:
        yield _Shared(parallel, n_jobs)


class _Shared:
    """Gives every process some of the baselines, the same amount of work to each."""

    def __init__(self, parallel, n_jobs: int):
        self._parallel, self._n_jobs = parallel, n_jobs
        self._groups: list[list[int]] | None = None

    def __call__(self, baselines: list[Baseline], stretch: Stretch, noise: np.ndarray) -> Scores:
        from joblib import delayed

        if self._groups is None:
            parts = [[k] for k in range(len(baselines))]
            timed = self._parallel(delayed(_timed)([baselines[k]], stretch, noise) for k in range(len(baselines)))
            self._groups = _balanced([seconds for seconds, _ in timed], self._n_jobs)
            scores = [one for _, one in timed]
        else:
            parts = self._groups
            scores = self._parallel(
                delayed(score_stretch)([baselines[k] for k in part], stretch, noise) for part in parts
            )
        places = np.argsort(np.concatenate(parts))
        moved_on = [baseline for one in scores for baseline in one.baselines]
        known = scores[0].value_errors is not None
        return Scores(
            [moved_on[k] for k in places],
            np.concatenate([one.errors for one in scores], axis=1)[:, places],
            np.concatenate([one.value_errors for one in scores], axis=1)[:, places] if known else None,
            {part[k]: why for part, one in zip(parts, scores, strict=True) for k, why in one.refusals.items()},
        )


def _timed(baselines: list[Baseline], stretch: Stretch, noise: np.ndarray) -> tuple[float, Scores]:
    start = time.process_time()
    scores = score_stretch(baselines, stretch, noise)
    return time.process_time() - start, scores


def _balanced(costs: list[float], n_groups: int) -> list[list[int]]:
    """Parts of about equal cost: the dearest first, each to the part that has least (Graham 1969)."""
    groups: list[list[int]] = [[] for _ in range(min(n_groups, len(costs)))]
    loads = [0.0] * len(groups)
    for k in sorted(range(len(costs)), key=lambda k: -costs[k]):
        least = loads.index(min(loads))
        groups[least].append(k)
        loads[least] += costs[k]
    return [group for group in groups if group]
