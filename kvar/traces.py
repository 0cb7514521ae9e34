"""Recorded runs: one row a rollout, in memory and as Parquet.

A trace on disk is either one Parquet file or a folder with one file a step. The folder form is what a run writes as
it goes: each step appears whole, so a killed run loses at most the step it was in.
"""

from __future__ import annotations

import os
import re
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kvar.arrays import to_host
from kvar.batch import occurrence
from kvar.checks import LARGEST, checked_count
from kvar.files import claimed, whole_file

__all__ = ["Trace", "TraceWriter", "read_trace", "write_trace"]

_REQUIRED = ("step", "prompt_id", "reward")
_COLUMNS = ("step", "prompt_id", "rollout", "reward")
_LAST_STEP = 999_999_999
_STEP_FILE = re.compile(r"step-(\d{9})\.parquet")


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


def _polars():
    try:
        import polars
    except ImportError:
        raise ImportError("traces on disk need polars: pip install 'kvar[report]'") from None
    return polars


def read_trace(
    path: str | os.PathLike,
    format: str = "auto",  # noqa: A002  (the public name)
    columns: Mapping[str, str] | str | None = None,
    **options,
) -> Trace:
    """Read a recorded run, whoever recorded it.

    Parameters
    ----------
    path : path
        A file, a folder, or a pattern such as ``logs/*.jsonl.gz``: what a `TraceWriter` wrote, TRL's ``completions``
        folder, verl's rollout dumps, or any Parquet, CSV or JSON Lines (gzip and zstd too) with a row a rollout.
    format : str
        "auto" goes by the columns; "kvar", "trl", "verl" and "table" insist.
    columns : mapping of str to str, or str, optional
        Which column is ``step``, ``prompt`` and ``reward``, where their names do not tell, as in
        ``"prompt=question,step=iteration,reward=accuracy+0.5*format"``.
    **options
        ``keep_text=True`` keeps the prompts as a column, ``max_bad`` is the largest share of rows that may be unusable
        (0.05 by default); see `kvar.readers.read_log`, which also says what was left out.

    Returns
    -------
    Trace
        All rollouts in the order of files and rows.

    Raises
    ------
    FileNotFoundError
        If there is nothing at the path.
    ValueError
        If the format is unknown, no file is a log of rollouts, a column is missing, or too many rows are unusable.

    Warns
    -----
    UserWarning
        If files or rows were left out.
    """
    from kvar.readers import read_log

    log = read_log(path, format, columns, **options)
    if omissions := log.notes.omissions():
        warnings.warn(" ".join(omissions), UserWarning, stacklevel=2)
    return log.trace


def write_trace(trace: Trace, path: str | os.PathLike) -> Path:
    """Write a recorded run as one Parquet file.

    Parameters
    ----------
    trace : Trace
        What to write; columns beyond the schema are kept.
    path : path
        Where; the file appears whole or not at all.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If a column holds what is neither a number nor a string.
    OSError
        If the disk is full.
    """
    polars = _polars()
    frame = polars.DataFrame({name: _for_parquet(column) for name, column in trace.columns.items()})
    if strange := [name for name, dtype in frame.schema.items() if dtype == polars.Object]:
        raise ValueError(f"column {strange[0]!r} holds objects that Parquet has no form for; convert them to strings")
    with whole_file(path) as temporary:
        frame.write_parquet(temporary)
    return Path(path)


def _for_parquet(column: np.ndarray):
    """Strings as a list, which no library mistakes for objects."""
    return column.tolist() if column.dtype.kind in "UTO" else column


class TraceWriter:
    """Writes a run as it goes, one Parquet file a step.

    Parameters
    ----------
    folder : path
        Where the steps go; made if need be.
    resume_from : int, optional
        Go on after this step: later ones, left by a run that was cut off, are removed. By default the folder must
        hold no step yet.

    Raises
    ------
    FileExistsError
        If the folder holds steps and `resume_from` is not given, or another process is recording into it.
    FileNotFoundError
        If the folder holds steps, but not the one to resume from.
    """

    def __init__(self, folder: str | os.PathLike, resume_from: int | None = None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if resume_from is not None:
            checked_count(resume_from, "resume_from", low=0, high=_LAST_STEP)
        # Before anything is looked at or removed: the steps there may be those of a run that is still going.
        weakref.finalize(self, os.close, claimed(self.folder))
        steps = {int(match[1]): match[0] for match in map(_STEP_FILE.fullmatch, os.listdir(self.folder)) if match}
        if not steps:
            return
        if resume_from is None:
            raise FileExistsError(
                f"{self.folder} already holds {len(steps)} step{'s' if len(steps) > 1 else ''} of a run: choose "
                "another trace_dir, delete the folder, or resume the run from its checkpoint"
            )
        if resume_from not in steps:
            raise FileNotFoundError(
                f"{self.folder} holds no step {resume_from} to go on after: it is of another run; choose another folder"
            )
        for step, name in steps.items():
            if step > resume_from:
                (self.folder / name).unlink()

    def write(self, step: int, columns: Mapping[str, Any]) -> None:
        """Write one step.

        Parameters
        ----------
        step : int
            When; written again, a step replaces the earlier one.
        columns : mapping of str to array_like, each of shape (n,)
            The columns of a trace but for ``step``.

        Raises
        ------
        ValueError
            If the columns are not those of a trace, or the step is no whole number of up to nine digits.
        """
        step = checked_count(step, "a recorded step", low=0, high=_LAST_STEP)
        if "step" in columns:
            raise ValueError(f"the rows of step {step} have that step; leave the column 'step' out")
        rows = np.shape(columns.get("reward", ()))[:1]
        trace = Trace.from_columns({"step": np.full(rows, step, dtype=np.int64), **columns})
        write_trace(trace, self.folder / f"step-{step:09d}.parquet")
