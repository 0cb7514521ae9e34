"""Recorded runs in memory, one row a rollout."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kvar.rollouts.batch import occurrence
from kvar.utils.arrays import to_host
from kvar.utils.checks import LARGEST
from kvar.utils.frames import columns_of, is_frame

if TYPE_CHECKING:
    from narwhals.typing import IntoFrame

__all__ = ["Trace", "as_trace", "part_of"]

_REQUIRED = ("step", "prompt_id", "reward")
_COLUMNS = ("step", "prompt_id", "rollout", "reward")


@dataclass(frozen=True)
class Trace:
    """A recorded run, one entry a rollout.

    Use `Trace.from_columns` to make one: it checks the columns, the constructor does not.

    Attributes
    ----------
    step : ndarray of int64 or float64, shape (n,)
        Step at which the rollout was sampled.
    prompt_id : ndarray of int64 or str, shape (n,)
        Prompt of the rollout.
    rollout : ndarray of int64, shape (n,)
        Number of the rollout within its prompt and step, from 0; by default in order of rows.
    reward : ndarray of float64, shape (n,)
        Reward of the rollout; NaN if it could not be scored.
    extras : dict of str to ndarray, each of shape (n,)
        Further columns, such as ``true_value``.

    Examples
    --------
    >>> import kvar
    >>> columns = {"step": [0, 0, 1], "prompt_id": ["2+3=", "2+3=", "7*8="], "reward": [1.0, 0.0, 1.0]}
    >>> trace = kvar.Trace.from_columns({**columns, "true_value": [0.5, 0.5, 0.9]})
    >>> trace
    Trace(3 rollouts of 2 prompts in 2 steps, extras true_value)
    >>> trace.rollout
    array([0, 1, 0])
    """

    step: np.ndarray
    prompt_id: np.ndarray
    rollout: np.ndarray
    reward: np.ndarray
    extras: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def from_columns(cls, columns: Mapping[str, object] | IntoFrame) -> Trace:
        """Make a trace of columns, and check them.

        Parameters
        ----------
        columns : mapping of str to array_like, each of shape (n,), or DataFrame
            At least ``step``, ``prompt_id`` and ``reward``; `kvar.read_trace` takes a DataFrame with other names.

        Returns
        -------
        Trace
            Columns other than ``step``, ``prompt_id``, ``rollout`` and ``reward`` are in `extras`.

        Raises
        ------
        ValueError
            If a column is missing, lengths differ, a step or reward is not a number of at most 1e100 in size, or a
            prompt id is neither an integer of 64 bits nor a string.
        """
        columns = columns_of(columns)
        missing = [name for name in _REQUIRED if name not in columns]
        if missing:
            raise ValueError(
                f"a trace needs the columns {', '.join(_REQUIRED)}; missing {', '.join(missing)} among "
                f"{', '.join(columns) or 'none'}"
            )
        try:
            reward = to_host(columns["reward"], "column 'reward'")
        except TypeError as error:
            raise ValueError(str(error)) from None
        values = {"reward": reward, **{name: np.asarray(c) for name, c in columns.items() if name != "reward"}}
        lengths = {name: column.shape for name, column in values.items()}
        if len(set(lengths.values())) > 1 or len(lengths["step"]) != 1:
            raise ValueError(f"the columns of a trace must be one-dimensional and of one length, got {lengths}")

        step = _steps(values["step"])
        prompt_id = _prompt_ids(columns["prompt_id"], values["prompt_id"])
        if (extreme := (reward > LARGEST) | (reward < -LARGEST)).any():
            row = int(np.argmax(extreme))
            what = "an infinite reward" if np.isinf(reward[row]) else f"the reward {reward[row]:g}"
            raise ValueError(
                f"row {row} has {what}; rewards must be from {-LARGEST:g} to {LARGEST:g}, or NaN for a completion "
                "without a score"
            )
        rollout = values.get("rollout")
        if rollout is None:
            rollout = _rollout_numbers(step, prompt_id)
        elif rollout.dtype.kind not in "iu":
            raise ValueError(f"column 'rollout' must hold integers without gaps, got {rollout.dtype}; or leave it out")
        extras = {name: column for name, column in values.items() if name not in _COLUMNS}
        return cls(step, prompt_id, rollout.astype(np.int64), reward, extras)

    def __len__(self) -> int:
        """Number of rollouts."""
        return len(self.reward)

    def __repr__(self) -> str:
        """One line with the numbers of rollouts, prompts and steps."""
        extras = f", extras {', '.join(self.extras)}" if self.extras else ""
        return (
            f"Trace({len(self)} rollouts of {len(np.unique(self.prompt_id))} prompts "
            f"in {len(np.unique(self.step))} steps{extras})"
        )

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """All columns by name, the extras last."""
        return {**{name: getattr(self, name) for name in _COLUMNS}, **self.extras}


def as_trace(trace: Trace | IntoFrame) -> Trace:
    """A trace as it is, or the columns of a DataFrame as one."""
    if isinstance(trace, Trace):
        return trace
    if isinstance(trace, (str, os.PathLike)) or not is_frame(trace):
        raise TypeError(
            f"trace must be a Trace or a DataFrame, got {trace!r:.60}; read a file with kvar.read_trace(path)"
        )
    return Trace.from_columns(trace)


def part_of(trace: Trace, rows: np.ndarray | slice) -> Trace:
    """Some rows of a trace."""
    extras = {name: column[rows] for name, column in trace.extras.items()}
    return Trace(trace.step[rows], trace.prompt_id[rows], trace.rollout[rows], trace.reward[rows], extras)


def _steps(steps: np.ndarray) -> np.ndarray:
    """Steps as int64 or float64; not as unsigned integers, whose differences are never negative."""
    kind = steps.dtype.kind
    if kind == "u" and steps.max(initial=0) > np.iinfo(np.int64).max:
        raise ValueError(f"column 'step' must hold integers of 64 bits, got {steps.max()}")
    if kind in "iu":
        return steps.astype(np.int64, copy=False)
    # In double precision first, since shorter floats cannot represent the bound.
    numbers = steps.astype(np.float64, copy=False) if kind == "f" else np.array([np.nan])
    if not (np.abs(numbers) <= LARGEST).all():
        wrong = numbers[~(np.abs(numbers) <= LARGEST)][0] if kind == "f" else steps.dtype
        raise ValueError(f"column 'step' must hold finite numbers from {-LARGEST:g} to {LARGEST:g}, got {wrong}")
    return numbers


def _prompt_ids(column, ids: np.ndarray) -> np.ndarray:
    """Prompt ids as int64 or strings. NumPy silently converts mixed or large ids, hence also the original column."""
    if isinstance(column, (list, tuple)) or ids.dtype.kind in "Ou":
        entries = ids.tolist() if ids.dtype.kind in "Ou" else list(column)
        types = set(map(type, entries))
        if {int, str} <= types:
            raise ValueError("column 'prompt_id' must hold integers or strings, not both; convert them to strings")
        if types == {int}:
            try:
                return np.array(entries, dtype=np.int64)
            except OverflowError:
                raise ValueError(
                    f"column 'prompt_id' must hold integers of 64 bits or strings, got {max(entries, key=abs)!r:.60}; "
                    "convert them to strings"
                ) from None
        if ids.dtype.kind == "O" and (wrong := [i for i in entries if type(i) is not str]):
            raise ValueError(f"column 'prompt_id' must hold integers or strings, got {wrong[0]!r:.60}")
    if ids.dtype.kind not in "iUTO":
        raise ValueError(f"column 'prompt_id' must hold integers or strings, got {ids.dtype}")
    return ids


def _rollout_numbers(step, prompt_id) -> np.ndarray:
    """Number of earlier rows of the same step and prompt."""
    _, step_code = np.unique(step, return_inverse=True)
    _, prompt_code = np.unique(prompt_id, return_inverse=True)
    return occurrence(step_code * (prompt_code.max(initial=0) + 1) + prompt_code)
