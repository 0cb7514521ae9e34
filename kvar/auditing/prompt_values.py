"""The value of each prompt of a run: a table, and the curve of one prompt with its band."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kvar.auditing.groups import Groups
from kvar.auditing.prompt_verdicts import TAKES, PromptVerdicts
from kvar.auditing.recent_visits import RecentVisits
from kvar.readers.read_trace import read_trace
from kvar.rollouts.prompt_ids import prompt_key
from kvar.rollouts.step_chunks import SortedTrace
from kvar.rollouts.trace import Trace
from kvar.utils.extras import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from narwhals.typing import IntoFrame

__all__ = ["PromptValues", "prompt_values"]

# Steps with rewards that the curve of a prompt needs.
_FEW_STEPS = 5


def prompt_values(trace: Trace | str | os.PathLike | IntoFrame) -> PromptValues:
    """Value, slope and verdict of every prompt of a run.

    Parameters
    ----------
    trace : Trace, path or DataFrame
        A recorded run, or a log, which is read as by `kvar.read_trace`.

    Returns
    -------
    PromptValues
        With `table` and `plot`. Cost: one pass over n rollouts, O(n log n); memory for the last 32 visits of every
        prompt.

    Raises
    ------
    ValueError
        If the trace has no reward.

    Notes
    -----
    A verdict looks at the last 32 visits of a prompt. "improving" and "forgotten" are prompts whose rewards have a
    slope, "solved" and "stuck" are prompts with a value above 0.9 or below 0.1 of the range of the rewards. Of each
    kind at most 5 % are expected to be false, by the method of Benjamini and Hochberg (1995, Journal of the Royal
    Statistical Society B 57:289). "open" is the rest. A prompt with fewer than 4 visits or 8 rewards is "not judged".
    Values of a log from which groups were filtered out are those of what is left; `kvar.audit` recognises such a log.

    Examples
    --------
    >>> from importlib import resources
    >>> import kvar
    >>> values = kvar.prompt_values(resources.files("kvar") / "data" / "demo.parquet")
    >>> values.table.columns[:5]
    ['prompt', 'value', 'error', 'low', 'high']
    >>> values.table.filter(verdict="solved").height
    11

    The value of one prompt of a DataFrame, by its text:

    >>> import polars
    >>> log = polars.DataFrame({"step": [0, 0, 1, 1], "prompt": ["2+3=", "7*8="] * 2, "reward": [1, 0, 0, 0]})
    >>> kvar.prompt_values(log)["2+3="]["visits"]
    2
    """
    trace = trace if isinstance(trace, Trace) else read_trace(trace, numbers_only=True)
    if np.isnan(trace.reward).all():
        raise ValueError(f"no value to estimate: the trace has {len(trace)} rollouts, none of them with a reward")
    order = SortedTrace.of(trace)
    visits = RecentVisits()
    for chunk in order.chunks():
        visits.add(Groups.of(chunk))
    return PromptValues(trace, PromptVerdicts.of(order.prompts, visits))


@dataclass(frozen=True)
class PromptValues:
    """What `prompt_values` found.

    Attributes
    ----------
    trace : Trace
        The run.
    verdicts : PromptVerdicts
        Arrays over the prompts, by id.
    table : polars.DataFrame
        One row a prompt: ``value`` now with its standard ``error`` and 95 % limits, ``slope`` per step with its error,
        number of ``visits``, ``last_reward`` (the mean of the last visit) and ``verdict``. ``values[prompt]`` is the
        row of one prompt, by its id or its text.
    """

    trace: Trace
    verdicts: PromptVerdicts

    @property
    def table(self):
        """One row a prompt."""
        return self.verdicts.table

    def __repr__(self) -> str:
        """How many prompts have each verdict, and what a verdict takes."""
        return f"PromptValues({self.verdicts.summary}. {TAKES}; .table has a row a prompt)"

    def _repr_html_(self) -> str:
        return self.table._repr_html_()

    def _place(self, prompt: int | str) -> int:
        """Place of a prompt among the verdicts; where ids are hashes, by its text too."""
        ids = self.verdicts.prompts
        hashed = isinstance(prompt, str) and ids.dtype.kind in "iu"
        found = np.flatnonzero(ids == (prompt_key(prompt) if hashed else prompt))
        if not found.size:
            raise ValueError(f"no reward of the prompt {prompt!r:.60} in the trace; ids are in table['prompt']")
        return int(found[0])

    def __getitem__(self, prompt: int | str) -> dict:
        """The row of a prompt, by its id or its text."""
        return self.table.row(self._place(prompt), named=True)

    def plot(self, prompt: int | str, ax: Axes | None = None) -> Axes:
        """Draw the mean rewards of a prompt's visits, and the curve of its value with its 95 % band.

        Parameters
        ----------
        prompt : int or str
            Id of the prompt, or its text.
        ax : matplotlib Axes, optional
            Where to draw; a new figure if missing.

        Returns
        -------
        matplotlib Axes
            The drawing. The curve is a local line with the Epanechnikov kernel, its window chosen by `select_bandwidth`
            from the rewards of this prompt, and the band takes its bias out. With rewards at fewer than five steps
            there is no curve.

        Raises
        ------
        ValueError
            If the trace has no reward of the prompt.
        """
        row = self._place(prompt)
        mine = (self.trace.prompt_id == self.verdicts.prompts[row]) & ~np.isnan(self.trace.reward)
        ax = new_axes() if ax is None else ax
        step, reward = self.trace.step[mine].astype(np.float64), self.trace.reward[mine]
        steps, place, count = np.unique(step, return_inverse=True, return_counts=True)
        means = np.bincount(place, reward) / count
        ax.scatter(steps, means, s=8 + 4 * count, color="#57606a", alpha=0.6, linewidth=0, label="mean of a visit")
        curve = len(steps) >= _FEW_STEPS
        if curve:
            at = np.linspace(steps[0], steps[-1], 200)
            band = self._band(step, reward, at)
            ax.plot(at, band.estimate, color="#0072B2", label="value")
            ax.fill_between(at, band.lower, band.upper, color="#0072B2", alpha=0.2, linewidth=0, label="95 % band")
        told = self.verdicts.verdict[row] + ("" if curve else f"; a curve takes rewards at {_FEW_STEPS} steps")
        low, high = (float(end(self.trace.reward)) for end in (np.nanmin, np.nanmax))
        room = 0.05 * (high - low) or 0.5
        ax.set(xlabel="step", ylabel="reward", ylim=(low - room, high + room), title=f"prompt {prompt!s:.40}: {told}")
        ax.legend(frameon=False)
        return ax

    def _band(self, step: np.ndarray, reward: np.ndarray, at: np.ndarray):
        # Slow to import.
        from kvar.smoothing.regression import KernelRegressor

        bounds = float(np.nanmin(self.trace.reward)), float(np.nanmax(self.trace.reward))
        with warnings.catch_warnings():
            # A window at the end of the grid is what a flat curve wants.
            warnings.simplefilter("ignore", UserWarning)
            model = KernelRegressor("epanechnikov", degree=1, empty="nearest").fit(step, reward)
        return model.confidence_band(at, bounds=bounds if bounds[0] < bounds[1] else None, bias_corrected=True)
