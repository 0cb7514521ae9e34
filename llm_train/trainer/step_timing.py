"""Where the time of a training step goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import TrainerCallback

__all__ = ["StepTimer"]


class StepTimer(TrainerCallback):
    """Seconds of each part of an optimizer step; the rest of the step is the part "update".

    `report` is called as ``report(name, seconds)`` for each part and for the whole "step" when the step ends. Work on a
    device is included, because every part ends with numbers on the host.
    """

    def __init__(self, report):
        self._report = report
        self._parts: dict[str, float] = {}
        self._parts_of_next: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def part(self, name: str, of_next_step: bool = False) -> Iterator[None]:
        """Add the time of the body to a part, of the next step if it prepares that one, as drawing its prompts does."""
        start, parts = time.perf_counter(), self._parts_of_next if of_next_step else self._parts
        try:
            yield
        finally:
            parts[name] = parts.get(name, 0.0) + time.perf_counter() - start

    def on_step_begin(self, args, state, control, **kwargs):
        """Start a step."""
        self._parts, self._parts_of_next = self._parts_of_next, {}
        self._start = time.perf_counter() - sum(self._parts.values())

    def on_step_end(self, args, state, control, **kwargs):
        """End a step and report."""
        whole = time.perf_counter() - self._start
        for name, seconds in {**self._parts, "update": whole - sum(self._parts.values()), "step": whole}.items():
            self._report(name, seconds)
