"""Kernel estimate of a prompt's value from its own history: Kernelized Advantage Estimation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal, cast

import numpy as np

from kvar.baselines.base import Baseline, Estimate
from kvar.baselines.batch_mean import others_in_batch
from kvar.history.visit_sums import WindowWeights, kernel_sums
from kvar.history.visits import History
from kvar.kernels import KernelName, get_kernel
from kvar.online.expert_weights import ExpertWeights
from kvar.online.reward_scale import RewardScale
from kvar.online.shared_drift import SharedDrift
from kvar.rollouts.batch import Batch
from kvar.utils.checks import checked_keys, is_number, require_choice, require_flags

__all__ = ["AUTO_WINDOWS", "KernelBaseline"]

# Windows that bandwidth="auto" averages over, in units of the clock.
AUTO_WINDOWS = tuple(2.0**k for k in range(1, 9))
# Names of the kernel sums: of the estimate by degree, of the estimate with drift, of the variance by degree.
_SUMS = (("total", "mass"), ("total", "mass", "lag_mass", "lag_square_mass", "lag_total"))
_DRIFT_SUMS = ("total", "mass", "lag_mass")
_VARIANCE_SUMS = (("squared_mass",), ("squared_mass", "squared_lag_mass", "squared_lag_square_mass"))


@dataclass
class KernelBaseline(Baseline):
    """Kernel-weighted mean of a prompt's past rewards and the other rewards of its group (arXiv 2604.28005).

    The value of rollout g at step i leaves its own reward out::

        V_i^(g) = [sum_j K((i - I_j) / w) Z_j + sum_{k != g} K(0) Z^(k)] / [the same sum without the rewards]

    where Z_j are the rewards of earlier steps I_j. This is the leave-one-out estimate of the paper; its theorem 1 and
    corollary 1 (`kvar.theory`) bound the error. A rollout with neither history nor other rewards in its group has the
    leave-one-out mean of the batch as its value, or 0 if it is alone. A kernel of infinite support is cut where its
    weight falls below the unit roundoff: 37 bandwidths back for the exponential kernel.

    Parameters
    ----------
    bandwidth : float or "auto"
        Half-width w of the kernel, in units of `clock` (``i h`` in the notation of the paper, which uses about 10
        steps). "auto" averages over windows of 2, 4, ... 256, with weights by their past prediction errors.
    kernel : str
        Name of a kernel, see `kernel_names`. The paper uses the triangular kernel, and the exponential one as a
        sensitivity analysis.
    degree : {0, 1}
        0 for a local mean, 1 for a local line. The line has no bias under a linear drift, but several times the
        variance, and its values can leave the range of the rewards. If all rewards are at one time, it is their mean.
    clock : {"steps", "visits"}
        Unit of the window: steps, or visits of the prompt.
    drift : bool
        Whether to correct past means by a trend common to all prompts, see `kvar.online.shared_drift.SharedDrift`.

    Notes
    -----
    Cost per step O(P V + P N) for P prompts of N rollouts with V visits in the window, times 8 for "auto". The standard
    error is that of a weighted mean of rewards with variance ``(v - lo)(hi - v)``, where lo and hi are the smallest and
    largest reward so far. This is exact for rewards of two values and an upper bound for others. It excludes the bias.
    """

    name: ClassVar[str] = "kernel"
    bandwidth: float | Literal["auto"] = 10.0
    kernel: KernelName = "triangular"
    degree: int = 0
    clock: Literal["steps", "visits"] = "steps"
    drift: bool = False
    _history: History = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        require_choice("degree", self.degree, (0, 1))
        require_choice("clock", self.clock, ("steps", "visits"))
        number = is_number(self.bandwidth) and 0 < self.bandwidth < math.inf
        if not number and not (isinstance(self.bandwidth, str) and self.bandwidth == "auto"):
            raise ValueError(
                f"bandwidth must be a positive number of {self.clock} or 'auto', got {self.bandwidth!r:.60}"
            )
        require_flags(drift=self.drift)
        if self.drift and self.degree == 1:
            raise ValueError("drift=True corrects local means; a local line (degree=1) has a trend of its own")
        kernel = get_kernel(self.kernel)
        self.kernel = cast(KernelName, kernel.name)
        windows = (float(self.bandwidth),) if is_number(self.bandwidth) else AUTO_WINDOWS
        if number:
            self.bandwidth = windows[0]
        self._windows = [(kernel, width) for width in windows]
        self._weights, self._at_zero = WindowWeights(self._windows), kernel.at_zero
        reach = max(w for _, w in self._windows) * kernel.reach
        self._history = History(reach) if self.clock == "steps" else History(math.inf, max_visits=math.ceil(reach))
        self._experts = ExpertWeights(len(self._windows))
        self._drift = SharedDrift(len(self._windows))
        self._scale = RewardScale()

    def values(self, batch: Batch) -> np.ndarray:
        """Kernel estimates."""
        return self._mixed(self.window_values(batch))

    def window_values(self, batch: Batch) -> np.ndarray:
        """Kernel estimates for each of K windows, shape (R, K)."""
        return self.recalled(batch)[1]

    def assess(self, batch: Batch) -> Estimate[np.ndarray]:
        """Kernel estimates with their uncertainty."""
        past = self._past(batch, _VARIANCE_SUMS[self.degree])
        window_values = self._window_values(batch, past)
        self._memo = (batch, (past, window_values))  # it contains all that `_recall` returns
        values = self._mixed(window_values)
        size = self._mixed_sizes(self._sizes(batch, past))
        # Four pseudo-rewards at the midrange keep the variance above 0 for equal rewards (Agresti and Coull 1998).
        noise = self._scale.largest_variance((values * size + 4 * self._scale.midrange) / (size + 4))
        error = np.sqrt(noise / size) if self._scale.has_range else np.full(values.shape, np.nan)
        return Estimate(values, error, size)

    def learn(self, batch: Batch) -> None:
        """Update weights, drift and reward scale, then add the batch to the history."""
        self._history.check_step(batch.step)
        if self.drift or len(self._windows) > 1:
            past, window_values = self.recalled(batch)
            errors = np.where(batch.scored[:, None], window_values - batch.filled[:, None], 0.0)
            self._experts.learn((errors**2).sum(axis=0), batch.n_scored)
            if self.drift:
                self._drift.learn(batch, past["mass"], past["total"], self._regressor(past))
        self._scale.learn(batch)
        self._history.add(batch.keys, batch.totals, batch.counts, batch.step)

    @property
    def window_in_use(self) -> float:
        """The window, or for "auto" the geometric mean of the windows under their weights."""
        return self._experts.mean_window([width for _, width in self._windows])

    def _recall(self, batch: Batch) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Kernel sums of the history, and the values with each window, shape (R, K)."""
        past = self._past(batch)
        return past, self._window_values(batch, past)

    def _past(self, batch: Batch, more: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
        """Kernel sums of the history by name, each of shape (P, K)."""
        self._history.check_step(batch.step)
        names = (_DRIFT_SUMS if self.drift else _SUMS[self.degree]) + more
        sums = kernel_sums(self._history, batch.keys, batch.step, self._weights, names, self.clock)
        return dict(zip(names, sums, strict=True))

    def _regressor(self, past):
        return self._drift.regressor(past["mass"], past["total"], past["lag_mass"], self._scale)

    def _window_values(self, batch: Batch, past: dict[str, np.ndarray]) -> np.ndarray:
        """Values with each window, shape (R, K)."""
        past_total = past["total"]
        if self.drift:
            past_total = past_total + past["mass"] * self._drift.correction(self._regressor(past), self._scale)
        total = batch.spread(past_total) + self._at_zero * batch.totals_of_others[:, None]
        mass = batch.spread(past["mass"]) + self._at_zero * batch.n_others[:, None]
        alone = mass == 0.0
        values = np.divide(total, mass, out=np.zeros(total.shape), where=~alone)
        if self.degree == 1:
            first, second, product = (batch.spread(past[n]) for n in ("lag_mass", "lag_square_mass", "lag_total"))
            determinant, fits = _determinant(mass, first, second)
            np.divide(second * total - first * product, determinant, out=values, where=fits)
        if alone.any():
            values[alone] = np.broadcast_to(others_in_batch(batch)[:, None], values.shape)[alone]
        return values

    def _sizes(self, batch: Batch, past: dict[str, np.ndarray]) -> np.ndarray:
        """Effective sample sizes with each window, shape (R, K); NaN where the value is a fallback."""
        others = batch.n_others[:, None]
        mass = batch.spread(past["mass"]) + self._at_zero * others
        squares = batch.spread(past["squared_mass"]) + self._at_zero**2 * others
        sizes = np.divide(mass**2, squares, out=np.full(mass.shape, np.nan), where=squares > 0)
        if self.degree == 1:
            # The weights of a local line at lag 0 are w_j (second - first t_j) / determinant.
            first, second, lag, lag_square = (
                batch.spread(past[name])
                for name in ("lag_mass", "lag_square_mass", "squared_lag_mass", "squared_lag_square_mass")
            )
            determinant, fits = _determinant(mass, first, second)
            inverse = second**2 * squares - 2 * first * second * lag + first**2 * lag_square
            np.divide(determinant**2, inverse, out=sizes, where=fits)
        return sizes

    def _mixed(self, window_values: np.ndarray) -> np.ndarray:
        """Average of the windows under their weights, shape (R,)."""
        return window_values[..., 0] if len(self._windows) == 1 else window_values @ self._experts.weights()

    def _mixed_sizes(self, sizes: np.ndarray) -> np.ndarray:
        """Average of the sizes under the weights, over the windows that have one; NaN if none has."""
        weights = np.where(np.isnan(sizes), 0.0, self._experts.weights())
        total = weights.sum(axis=-1)
        return np.divide(np.nansum(weights * sizes, axis=-1), total, out=np.full(total.shape, np.nan), where=total > 0)

    def _state(self) -> dict:
        return {
            "history": self._history.state_dict(),
            "scale": self._scale.state_dict(),
            "drift": self._drift.state_dict(),
            "experts": self._experts.state_dict(),
        }

    def _load_state(self, state: dict) -> None:
        checked_keys(state, ("history", "scale", "drift", "experts"), "the state of a kernel baseline")
        self._history.load_state_dict(state["history"])
        self._scale.load_state_dict(state["scale"])
        self._drift.load_state_dict(state["drift"])
        self._experts.load_state_dict(state["experts"])


def _determinant(mass, first, second) -> tuple[np.ndarray, np.ndarray]:
    """Determinant of the normal equations of the line, and where it exceeds the rounding error of a single lag."""
    determinant = mass * second - first**2
    return determinant, determinant > 1e-12 * mass * second
