"""Read a recorded run, whoever recorded it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping

from kvar.rollouts.trace import Trace

__all__ = ["read_trace"]


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
