"""Read a recorded run from the logs of any trainer."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from kvar.rollouts.trace import Trace

if TYPE_CHECKING:
    from narwhals.typing import IntoFrame

    from kvar.readers.layouts import LayoutName

__all__ = ["ReadOptions", "read_trace"]


class ReadOptions(TypedDict, total=False):
    """Further arguments of `kvar.readers.read_log`."""

    keep_text: bool
    max_bad: float
    max_unpacked: float
    numbers_only: bool


def read_trace(
    path: str | os.PathLike | IntoFrame,
    format: LayoutName | Literal["auto"] = "auto",  # noqa: A002  (the public name)
    columns: Mapping[str, str] | str | None = None,
    **options: Unpack[ReadOptions],
) -> Trace:
    """Read a recorded run from the logs of any trainer.

    Parameters
    ----------
    path : path or DataFrame
        A file, a folder, or a pattern such as ``logs/*.jsonl.gz``: what a `TraceWriter` wrote, TRL's ``completions``
        folder, the rollout logs of other trainers, or any Parquet, CSV, JSON or JSON Lines (gzip and zstd too) with a
        row per rollout or per prompt; also at an address of fsspec, such as ``s3://bucket/run``.
        Or such a table in memory: a DataFrame of pandas or polars, a table of pyarrow.
    format : str
        Who wrote the log: "kvar", "trl", "verl", "ms-swift", "areal", "skyrl", "slime", "nemo-rl", "prime-rl",
        "open-instruct", or "table" for any other; "auto" decides by the columns.
    columns : mapping of str to str, or str, optional
        Which columns are ``step``, ``prompt`` and ``reward``, if their names do not show it, as in
        ``"prompt=question,step=iteration,reward=accuracy+0.5*format"``. Paths lead into nested cells:
        ``"prompt=content[0],reward=traces[0].rewards.correct"``; ``rewards[]`` takes each element as a rollout, and
        ``sum(rewards)`` adds them up.
    **options
        ``keep_text=True`` keeps the prompts as a column; ``max_bad`` is the largest fraction of rows that may be
        unusable, 0.05 by default; ``max_unpacked`` is how many GiB a compressed file may unpack to;
        ``numbers_only=True`` leaves out columns of text. See `kvar.readers.read_log`, which also reports what was left
        out.

    Returns
    -------
    Trace
        All rollouts in the order of files and rows. Numbers are mapped from temporary files, not held in memory.

    Raises
    ------
    FileNotFoundError
        If there is nothing at the path.
    ValueError
        If the format is unknown, no file is a log of rollouts, a column is missing, or too many rows are unusable.

    Warns
    -----
    UserWarning
        If files or rows were left out, or it is not clear what the rows are.

    Examples
    --------
    >>> from importlib import resources
    >>> trace = read_trace(resources.files("kvar") / "data" / "demo.parquet")
    >>> len(trace), sorted(trace.extras)
    (25600, ['completion_length', 'true_value'])

    A DataFrame, whose columns are found by their names:

    >>> import polars
    >>> read_trace(polars.DataFrame({"step": [0, 0, 1], "prompt": ["2+3=", "7*8=", "2+3="], "score": [1, 0, 1]}))
    Trace(3 rollouts of 2 prompts in 2 steps)
    """
    from kvar.readers import read_log

    log = read_log(path, format, columns, **options)
    if said := [*log.notes.omissions(), *log.notes.doubts]:
        warnings.warn(" ".join(said), UserWarning, stacklevel=2)
    return log.trace
