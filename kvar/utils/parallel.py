"""Work shared between processes: each does some of the items, such as baselines, and all see the same stretch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from copy import deepcopy
from itertools import chain, islice
from typing import Any, TypeVar

__all__ = ["Share", "prefetch", "shared_work"]

# Below this many rollouts starting processes costs more than it saves.
_PARALLEL_FROM = 300_000

T = TypeVar("T")
Share = Callable[..., list]


@contextmanager
def shared_work(n_jobs: int | None, n_rollouts: int) -> Iterator[Share]:
    """Share work between several processes where that pays."""
    joblib = None
    if n_jobs != 1 and (n_jobs is not None or n_rollouts >= _PARALLEL_FROM):
        with suppress(ImportError):
            import joblib  # type: ignore[no-redef]
    if joblib is None:
        yield lambda function, items, *arguments: [function(item, *arguments) for item in items]
        return
    # What the caller has set by joblib.parallel_config goes before all cores, or all workers of its cluster.
    n_jobs = joblib.effective_n_jobs(n_jobs or joblib.parallel.get_active_backend()[1] or -1)
    # Everything is used once, which is not worth a file to map it from.
    with joblib.Parallel(n_jobs=n_jobs, max_nbytes=None) as parallel:
        yield _Shared(parallel, n_jobs)


class _Shared:
    """Gives every process the same amount of work, by what each item took the last time."""

    def __init__(self, parallel, n_jobs: int):
        self._parallel, self._n_jobs = parallel, n_jobs
        self._seconds: list[float] = []

    def __call__(self, function: Callable, items: Sequence, *arguments) -> list:
        from joblib import delayed

        parts = _balanced(self._seconds, self._n_jobs) if self._seconds else [[k] for k in range(len(items))]
        done = self._parallel(delayed(_timed)(function, [items[k] for k in part], arguments) for part in parts)
        by_item = dict(zip(chain(*parts), chain(*done), strict=True))
        self._seconds = [by_item[k][0] for k in range(len(items))]
        return [by_item[k][1] for k in range(len(items))]


def _timed(function: Callable, items: Sequence, arguments: tuple) -> list[tuple[float, Any]]:
    done = []
    for item in items:
        start = time.process_time()
        # An item moves on, and what a cluster hands over may be read only.
        result = function(deepcopy(item), *arguments)
        done.append((time.process_time() - start, result))
    return done


def _balanced(costs: list[float], n_groups: int) -> list[list[int]]:
    """Parts of about equal cost: the dearest first, each to the part that has least (Graham 1969)."""
    groups: list[list[int]] = [[] for _ in range(min(n_groups, len(costs)))]
    loads = [0.0] * len(groups)
    for k in sorted(range(len(costs)), key=lambda k: -costs[k]):
        least = loads.index(min(loads))
        groups[least].append(k)
        loads[least] += costs[k]
    return [group for group in groups if group]


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """Make the next item in a thread while one is worked on."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(list, islice(items, 1))
        while found := coming.result():
            coming = thread.submit(list, islice(items, 1))
            yield found[0]
