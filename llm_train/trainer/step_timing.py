"""Where the time of a training step goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import TrainerCallback

__all__ = ["StepClock"]


class StepClock(TrainerCallback):
    """Seconds of an optimiser step in its parts; what no part claims is the update.

    Parameters
    ----------
    report : callable
        ``report(name, seconds)``, called for each part at the end of a step.

    Notes
    -----
    Parts that run on a device end with numbers on the host, so they are waited for.
    """

    def __init__(self, report):
        self._report = report
        self._parts: dict[str, float] = {}
        self._ahead: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def part(self, name: str, of_next_step: bool = False) -> Iterator[None]:
        """Count the time of the body to a part."""
        start, parts = time.perf_counter(), self._ahead if of_next_step else self._parts
        try:
            yield
        finally:
            parts[name] = parts.get(name, 0.0) + time.perf_counter() - start

    def on_step_begin(self, args, state, control, **kwargs):
        """Start a step."""
        self._parts, self._ahead = self._ahead, {}
        self._start = time.perf_counter() - sum(self._parts.values())

    def on_step_end(self, args, state, control, **kwargs):
        """End a step and report."""
        whole = time.perf_counter() - self._start
        for name, seconds in {**self._parts, "update": whole - sum(self._parts.values()), "step": whole}.items():
            self._report(name, seconds)
