"""Work shared between processes: each takes some of the items, such as baselines, over the same chunk of data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from itertools import chain, islice
from typing import Any, TypeVar

__all__ = ["Share", "prefetch", "shared_work"]

# For fewer rollouts, starting processes costs more time than it saves.
_PARALLEL_FROM = 300_000

T = TypeVar("T")
Share = Callable[..., list]


@contextmanager
def shared_work(n_jobs: int | None, n_rollouts: int) -> Iterator[Share]:
    """Yield a function that applies another to all items, in several processes where that saves time."""
    if n_jobs == 1 or (n_jobs is None and n_rollouts < _PARALLEL_FROM):
        yield lambda function, items, *arguments: [function(item, *arguments) for item in items]
        return
    import joblib

    # A number set by joblib.parallel_config takes precedence over all cores or all workers of its cluster.
    n_jobs = joblib.effective_n_jobs(n_jobs or joblib.parallel.get_active_backend()[1] or -1)
    # Data is used once, so writing it to a file and mapping that would not pay.
    with joblib.Parallel(n_jobs=n_jobs, max_nbytes=None) as parallel:
        yield _Shared(parallel, n_jobs)


class _Shared:
    """Gives every process the same amount of work, by the time that a function took of each item before."""

    def __init__(self, parallel, n_jobs: int):
        self._parallel, self._n_jobs = parallel, n_jobs
        self._seconds: dict[Callable, list[float]] = {}

    def __call__(self, function: Callable, items: Sequence, *arguments) -> list:
        from joblib import delayed

        seconds = self._seconds.get(function, [])
        known = len(seconds) == len(items)
        parts = _balanced(seconds, self._n_jobs) if known else [[k] for k in range(len(items))]
        done = self._parallel(delayed(_timed)(function, [items[k] for k in part], arguments) for part in parts)
        by_item = dict(zip(chain(*parts), chain(*done), strict=True))
        self._seconds[function] = [by_item[k][0] for k in range(len(items))]
        return [by_item[k][1] for k in range(len(items))]


def _timed(function: Callable, items: Sequence, arguments: tuple) -> list[tuple[float, Any]]:
    done = []
    for item in items:
        start = time.process_time()
        # An item changes its state, and what a cluster sends may be read-only.
        result = function(deepcopy(item), *arguments)
        done.append((time.process_time() - start, result))
    return done


def _balanced(costs: list[float], n_groups: int) -> list[list[int]]:
    """Parts of about equal cost: the most expensive item first, each to the cheapest part (Graham 1969)."""
    groups: list[list[int]] = [[] for _ in range(min(n_groups, len(costs)))]
    loads = [0.0] * len(groups)
    for k in sorted(range(len(costs)), key=lambda k: -costs[k]):
        least = loads.index(min(loads))
        groups[least].append(k)
        loads[least] += costs[k]
    return [group for group in groups if group]


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """Prepare the next item in a thread while the current one is processed."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(list, islice(items, 1))
        while found := coming.result():
            coming = thread.submit(list, islice(items, 1))
            yield found[0]
