"""Recorded runs: one row a rollout, in memory and as Parquet.

A trace on disk is either one Parquet file or a folder with one file a step. The folder form is what a run writes as
it goes: each step appears whole, so a killed run loses at most the step it was in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from kvar.rollouts.batch import occurrence
from kvar.utils.arrays import to_host
from kvar.utils.checks import LARGEST

__all__ = ["Trace"]

_REQUIRED = ("step", "prompt_id", "reward")
_COLUMNS = ("step", "prompt_id", "rollout", "reward")


@dataclass(frozen=True)
class Trace:
    """A recorded run, one entry a rollout; `Trace.from_columns` makes one of columns and checks them.

    The constructor itself takes what it is given, unchecked.

    Attributes
    ----------
    step : ndarray of int64 or float64, shape (n,)
        When the rollout was sampled.
    prompt_id : ndarray of int64 or str, shape (n,)
        Which prompt.
    rollout : ndarray of int64, shape (n,)
        Number of the rollout within its prompt and step; counted off in row order where it is not given.
    reward : ndarray of float64, shape (n,)
        Its reward, NaN where it could not be scored.
    extras : dict of str to ndarray, each of shape (n,)
        Whatever came along, such as ``true_value``.
    """

    step: np.ndarray
    prompt_id: np.ndarray
    rollout: np.ndarray
    reward: np.ndarray
    extras: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def from_columns(cls, columns: Mapping[str, object]) -> Trace:
        """Check columns and take them as a trace.

        Parameters
        ----------
        columns : mapping of str to array_like, each of shape (n,)
            At least ``step``, ``prompt_id`` and ``reward``.

        Returns
        -------
        Trace
            With the columns beyond the four of the schema under `extras`.

        Raises
        ------
        ValueError
            If a column is missing, lengths differ, or steps, prompt ids or rewards are not what they must be.
        """
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
            raise ValueError(f"the columns of a trace are one-dimensional and of one length, got {lengths}")

        step = _steps(values["step"])
        prompt_id = _prompt_ids(columns["prompt_id"], values["prompt_id"])
        if (extreme := (reward > LARGEST) | (reward < -LARGEST)).any():
            row = int(np.argmax(extreme))
            what = "an infinite reward" if np.isinf(reward[row]) else f"the reward {reward[row]:g}"
            raise ValueError(
                f"row {row} has {what}; rewards are at most {LARGEST:g} in size, and NaN stands for what has no score"
            )
        rollout = values.get("rollout")
        if rollout is None:
            rollout = _count_off(step, prompt_id)
        elif rollout.dtype.kind not in "iu":
            raise ValueError(
                f"column 'rollout' must hold integers and no gaps, got {rollout.dtype}; leave it out instead"
            )
        extras = {name: column for name, column in values.items() if name not in _COLUMNS}
        return cls(step, prompt_id, rollout.astype(np.int64), reward, extras)

    def __len__(self) -> int:
        """Number of rollouts."""
        return len(self.reward)

    def __repr__(self) -> str:
        """One line that says how much there is."""
        extras = f", extras {', '.join(self.extras)}" if self.extras else ""
        return (
            f"Trace({len(self)} rollouts of {len(np.unique(self.prompt_id))} prompts "
            f"in {len(np.unique(self.step))} steps{extras})"
        )

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """All columns by name, those of the schema first."""
        return {**{name: getattr(self, name) for name in _COLUMNS}, **self.extras}


def _steps(steps: np.ndarray) -> np.ndarray:
    """As int64 or float64: differences of unsigned integers are never negative."""
    kind = steps.dtype.kind
    if kind == "u" and steps.max(initial=0) > np.iinfo(np.int64).max:
        raise ValueError("column 'step' must hold integers of 64 bits")
    if kind in "iu":
        return steps.astype(np.int64, copy=False)
    # Bounds of double precision are beyond what shorter floats can hold.
    numbers = steps.astype(np.float64, copy=False) if kind == "f" else np.array([np.nan])
    if not (np.abs(numbers) <= LARGEST).all():
        raise ValueError(f"column 'step' must hold finite numbers of at most {LARGEST:g} in size")
    return numbers


def _prompt_ids(given, ids: np.ndarray) -> np.ndarray:
    """Integers of 64 bits or strings; of a mixture and of larger integers NumPy makes something else without a word."""
    if isinstance(given, (list, tuple)) or ids.dtype.kind in "Ou":
        entries = ids.tolist() if ids.dtype.kind in "Ou" else list(given)
        kinds = set(map(type, entries))
        if {int, str} <= kinds:
            raise ValueError("column 'prompt_id' must hold integers or strings, not both; convert them to strings")
        if kinds == {int}:
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


def _count_off(step, prompt_id) -> np.ndarray:
    """Number of earlier rows of the same step and prompt."""
    _, step_code = np.unique(step, return_inverse=True)
    _, prompt_code = np.unique(prompt_id, return_inverse=True)
    return occurrence(step_code * (prompt_code.max(initial=0) + 1) + prompt_code)
