"""Recorded runs on disk: one Parquet file, or a folder with one file a step.

The folder form is what a run writes as it goes. Each step appears whole, so a killed run loses at most its last step.
"""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kvar.rollouts.trace import Trace
from kvar.utils.atomic_files import atomic_write, lock_folder
from kvar.utils.checks import checked_count

__all__ = ["TraceWriter", "write_trace"]

_LAST_STEP = 999_999_999
_STEP_FILE = re.compile(r"step-(\d{9})\.parquet")


def _polars():
    try:
        import polars
    except ImportError:
        raise ImportError("traces on disk need polars: pip install 'kvar[report]'") from None
    return polars


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
    with atomic_write(path) as temporary:
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
        weakref.finalize(self, os.close, lock_folder(self.folder))
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
