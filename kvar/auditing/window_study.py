"""Which fixed window of the kernel baseline has the least error, over the run and in each part of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kvar.auditing.prediction_error import Score
from kvar.auditing.replay_errors import ErrorCollector, alone
from kvar.baselines.kernel import AUTO_WINDOWS, KernelBaseline
from kvar.intervals import Interval
from kvar.rollouts.step_chunks import StepChunk
from kvar.utils.parallel import Share

__all__ = ["WindowReplay", "WindowStudy"]

_PARTS = 8


@dataclass(frozen=True)
class WindowStudy:
    """The kernel baseline with fixed windows from short to long."""

    windows: list[float]  # In steps of the log
    value_mse: list[Interval]  # Estimated value MSE of each
    above_best: list[Interval]  # One-step-ahead error of each less that of the best
    best: float  # The window with the least error
    path: list[float]  # The best window in successive parts of the run


class WindowReplay:
    """Replays the kernel baseline with all windows side by side, over chunks as `ErrorCollector` takes them."""

    def __init__(self) -> None:
        self._kernel = KernelBaseline(bandwidth="auto")
        self._collector = ErrorCollector(len(AUTO_WINDOWS), ())
        self._first, self._last = np.inf, -np.inf

    def add(self, chunks: Iterable[StepChunk], share: Share = alone) -> None:
        """Replay chunks; the windows share their work, so that there is none for other processes."""
        self._collector.add(chunks, self._score)

    def _score(self, chunk: StepChunk, noise: np.ndarray) -> list[Score]:
        self._first, self._last = min(self._first, chunk.step[0]), max(self._last, chunk.step[-1])
        values = np.empty((len(chunk), len(AUTO_WINDOWS)))
        for place, batch in chunk.batches:
            values[place] = self._kernel.window_values(batch)
            self._kernel.remember(batch)
        whole = chunk.whole
        errors = np.where(whole.scored, values.T - whole.filled, 0.0) ** 2
        return [Score(self._kernel, whole.sums(column)) for column in errors]

    def study(self) -> WindowStudy:
        """Compare the windows that are shorter than the run."""
        windows = [w for w in AUTO_WINDOWS if w == AUTO_WINDOWS[0] or w < self._last - self._first]
        found = self._collector.found([])
        errors = [found.prediction.mean(k).mean for k in range(len(windows))]
        best = int(np.argmin(errors))
        by_part = np.array([found.prediction.by_part(k, _PARTS) for k in range(len(windows))])
        seen = ~np.isnan(by_part).any(axis=0)
        return WindowStudy(
            windows=windows,
            value_mse=[found.estimated_value_mse(k, best) for k in range(len(windows))],
            above_best=[found.prediction.difference(k, best) for k in range(len(windows))],
            best=windows[best],
            path=[windows[k] for k in by_part[:, seen].argmin(axis=0)],
        )
