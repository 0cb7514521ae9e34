"""The kernel estimate weighted by squared score norms."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.history.visit_sums import WindowWeights, kernel_sums
from kvar.history.visits import History
from kvar.kernels import KernelName, get_kernel
from kvar.rollouts.batch import Batch
from kvar.utils.checks import checked_keys, is_number

__all__ = ["ScoreWeighted"]

_NORM = "score_norm"


@dataclass
class ScoreWeighted(Baseline):
    """Kernel estimate of the variance-optimal baseline ``E[|s|^2 Z | x] / E[|s|^2 | x]``.

    The weight of a reward is the kernel weight times the squared norm of its completion's score::

        b_i^(g) = [sum_j K((i - I_j) / w) n_j Z_j + sum_{k != g} K(0) n_k Z_k] / [the same sum without the rewards]

    with ``n = |s|^2``. Equal norms give the `kernel` baseline. A rollout with neither history nor others has value 0.

    Parameters
    ----------
    bandwidth : float
        Half-width w of the kernel in steps.
    kernel : str
        A registered kernel.

    Notes
    -----
    Norms come with the rewards as ``score_norm``. The own norm does not enter the own value, which keeps the gradient
    unbiased. Cost as that of `kernel`.
    """

    name: ClassVar[str] = "score-weighted"
    needs: ClassVar[tuple[str, ...]] = (_NORM,)
    bandwidth: float = 10.0
    kernel: KernelName = "triangular"
    _history: History = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        if not (is_number(self.bandwidth) and 0 < self.bandwidth < math.inf):
            raise ValueError(f"bandwidth must be a positive number of steps, got {self.bandwidth!r:.60}")
        kernel = get_kernel(self.kernel)
        self._at_zero, self._windows = kernel.at_zero, WindowWeights([(kernel, float(self.bandwidth))])
        self._history = History(self.bandwidth * kernel.reach, weighted=True)

    def values(self, batch: Batch) -> np.ndarray:
        """Weighted kernel estimates."""
        self._history.check_step(batch.step)
        total, mass = kernel_sums(self._history, batch.keys, batch.step, self._windows, ["total", "mass"])
        norms, at_zero = self._weights(batch), self._at_zero
        total = batch.spread(total[:, 0]) + at_zero * batch.sums_of_others(norms * batch.filled)
        mass = batch.spread(mass[:, 0]) + at_zero * batch.sums_of_others(norms)
        return np.divide(total, mass, out=np.zeros(total.shape), where=mass > 0)

    def learn(self, batch: Batch) -> None:
        """Take the batch's rewards and norms into the history."""
        norms = self._weights(batch)
        self._history.add(batch.keys, batch.sums(norms * batch.filled), batch.sums(norms), batch.step)

    def _weights(self, batch: Batch) -> np.ndarray:
        if _NORM not in batch.columns:
            raise ValueError(f"baseline {self.name!r} needs {_NORM}: pass it by name, {_NORM}=...")
        norms = np.where(batch.scored, batch.columns[_NORM], 0.0)
        if (wrong := ~(np.isfinite(norms) & (norms >= 0))).any():
            raise ValueError(f"{_NORM} holds {norms[wrong][0]:g}; norms of scores are finite and not negative")
        return norms**2

    def _state(self) -> dict:
        return {"history": self._history.state_dict()}

    def _load_state(self, state: dict) -> None:
        checked_keys(state, ("history",), "the state of a score-weighted baseline")
        self._history.load_state_dict(state["history"])
