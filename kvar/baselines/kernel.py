"""The kernel estimate of a prompt's value from its own past: Kernelized Advantage Estimation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Real
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.baselines.batch_level import others_in_batch
from kvar.batch import Batch, sums_of_others
from kvar.history import History
from kvar.kernels import get_kernel
from kvar.past import kernel_sums

__all__ = ["KernelBaseline"]


@dataclass
class KernelBaseline(Baseline):  # numpydoc ignore=PR02
    """Weighted mean of a prompt's past rewards and of the others in its group (arXiv 2604.28005).

    At step i the reward of rollout g does not enter its own value::

        V_i^(g) = [sum_j K((i - I_j) / w) Z_j + sum_{k != g} K(0) Z^(k)] / [the same sum without the rewards]

    over the rewards Z_j seen at earlier steps I_j. A rollout with neither history nor others falls back to the mean of
    the other rollouts of the batch, or to 0 if there are none. A kernel whose tail never ends is cut where its weight
    falls below the unit roundoff, 37 bandwidths back for the exponential one.

    Parameters
    ----------
    bandwidth : float
        Half-width w of the kernel in steps, ``i h`` in the paper's notation, which holds it fixed at about 10.
    kernel : str
        A registered kernel; the paper uses the triangular one, and the exponential one to test sensitivity.

    Notes
    -----
    Cost per step O(P V + P N) for P prompts of N rollouts with V visits in the window.
    """

    name: ClassVar[str] = "kernel"
    bandwidth: float = 10.0
    kernel: str = "triangular"
    _history: History = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        if (
            not isinstance(self.bandwidth, Real)
            or isinstance(self.bandwidth, bool)
            or not 0 < self.bandwidth < math.inf
        ):
            raise ValueError(f"bandwidth must be a positive number of steps, got {self.bandwidth!r}")
        self.bandwidth = float(self.bandwidth)
        self._kernel = get_kernel(self.kernel)
        self.kernel = self._kernel.name
        self._history = History(self.bandwidth * self._kernel.reach)

    def values(self, batch: Batch) -> np.ndarray:
        """Kernel estimates.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.

        Returns
        -------
        ndarray of float64, shape (P, N)
            One value a rollout.
        """
        self._history.check_step(batch.step)
        window = (self._kernel, self.bandwidth)
        total, mass = kernel_sums(self._history, batch.prompt_ids, batch.step, [window], ["total", "mass"])
        at_zero = float(self._kernel(0.0))
        total = total + at_zero * sums_of_others(batch.filled)
        mass = mass + at_zero * (batch.counts - batch.scored)
        alone = mass == 0.0
        values = np.divide(total, mass, out=np.zeros(total.shape), where=~alone)
        if alone.any():
            values[alone] = others_in_batch(batch)[alone]
        return values

    def remember(self, batch: Batch) -> None:
        """Take the batch's rewards into the history.

        Parameters
        ----------
        batch : Batch
            A step's rollouts.
        """
        self._history.add(batch.prompt_ids, batch.filled.sum(axis=1), batch.counts[:, 0], batch.step)

    def _state(self) -> dict:
        return self._history.state_dict()

    def _load_state(self, state: dict) -> None:
        self._history.load_state_dict(state)
