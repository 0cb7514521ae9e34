"""Recorded runs on disk: one Parquet file, or a folder with one file a step.

A run writes the folder while it is going on. Each file appears complete or not at all, so that a run that is killed
loses at most its last step.
"""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kvar.rollouts.trace import Trace, as_trace
from kvar.utils.atomic_files import TEMPORARY_SUFFIX, atomic_write, lock_folder
from kvar.utils.checks import checked_count
from kvar.utils.frames import columns_of

if TYPE_CHECKING:
    from narwhals.typing import IntoFrame

__all__ = ["TraceWriter", "write_trace"]

_LAST_STEP = 999_999_999
_STEP_FILE = re.compile(r"step-(\d{9})\.parquet")


def write_trace(trace: Trace | IntoFrame, path: str | os.PathLike) -> Path:
    """Write a recorded run as one Parquet file.

    Parameters
    ----------
    trace : Trace or DataFrame
        A recorded run, or a table with its columns, as in `Trace.from_columns`; extra columns are written too.
    path : path
        The file. It appears complete or not at all, and replaces an earlier file. Missing folders are created.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If a column contains an object that is neither a number nor a string.
    OSError
        If the file cannot be written, for instance because the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> import kvar
    >>> trace = kvar.Trace.from_columns({"step": [0, 1], "prompt_id": [7, 8], "reward": [1.0, 0.0]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     kvar.read_trace(kvar.write_trace(trace, f"{folder}/run.parquet"))
    Trace(2 rollouts of 2 prompts in 2 steps)
    """
    import polars

    frame = polars.DataFrame({name: _for_parquet(column) for name, column in as_trace(trace).columns.items()})
    if strange := [name for name, dtype in frame.schema.items() if dtype == polars.Object]:
        raise ValueError(f"column {strange[0]!r} holds objects that Parquet cannot store; convert them to strings")
    with atomic_write(path) as temporary:
        frame.write_parquet(temporary)
    return Path(path)


def _for_parquet(column: np.ndarray):
    """Strings as a list, which polars never reads as objects."""
    return column.tolist() if column.dtype.kind in "UTO" else column


class TraceWriter:
    """Records a run while it is going on, one Parquet file a step.

    Parameters
    ----------
    folder : path
        Folder of the files; created if it is missing.
    resume_from : int, optional
        Continue after this step. Files of later steps, from a run that was interrupted, are removed. Without it, the
        folder must not contain any step.

    Raises
    ------
    FileExistsError
        If the folder contains steps and `resume_from` is not given, or another process is recording into it.
    FileNotFoundError
        If the folder contains steps, but not `resume_from`.

    Examples
    --------
    >>> import tempfile
    >>> import kvar
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     writer = kvar.TraceWriter(folder)
    ...     writer.write(1, {"prompt_id": ["2+3=", "2+3="], "reward": [1.0, 0.0]})
    ...     writer.write(2, {"prompt_id": ["7*8=", "7*8="], "reward": [0.0, 0.0]})
    ...     kvar.read_trace(folder)
    Trace(4 rollouts of 2 prompts in 2 steps)
    """

    def __init__(self, folder: str | os.PathLike, resume_from: int | None = None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if resume_from is not None:
            checked_count(resume_from, "resume_from", low=0, high=_LAST_STEP)
        # The lock comes before any reading or removal: the steps may belong to a run that is still recording.
        weakref.finalize(self, os.close, lock_folder(self.folder))
        # A process that was killed while it wrote left an unfinished file, which nobody else is writing now.
        for unfinished in self.folder.glob(f".step-*{TEMPORARY_SUFFIX}"):
            unfinished.unlink()
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
                f"cannot resume after step {resume_from}: {self.folder} contains no such step, so it belongs to "
                "another run; choose another folder"
            )
        for step, name in steps.items():
            if step > resume_from:
                (self.folder / name).unlink()

    def write(self, step: int, columns: Mapping[str, object] | IntoFrame) -> None:
        """Write one step.

        Parameters
        ----------
        step : int
            Number of the step. If it was written before, the file is replaced.
        columns : mapping of str to array_like, each of shape (n,), or DataFrame
            The columns of a trace without ``step``.

        Raises
        ------
        ValueError
            If the columns are not those of a trace, or the step is not a whole number from 0 to 999,999,999.
        """
        step = checked_count(step, "a recorded step", low=0, high=_LAST_STEP)
        found = columns_of(columns)
        if "step" in found:
            raise ValueError(f"all rows of a file are of step {step}; leave the column 'step' out")
        rows = np.shape(found.get("reward", ()))[:1]
        trace = Trace.from_columns({"step": np.full(rows, step, dtype=np.int64), **found})
        write_trace(trace, self.folder / f"step-{step:09d}.parquet")
