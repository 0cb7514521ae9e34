"""Read a log on disk, from any trainer, as a trace."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kvar.readers.addresses import local_copy
from kvar.readers.advantage_groups import groups_of_rows
from kvar.readers.columns import ColumnMap, check_column_roles, guess_notes, parse_columns
from kvar.readers.disk_columns import DiskColumns
from kvar.readers.layouts import LayoutName, layout_names
from kvar.readers.log_files import map_files, open_log_files
from kvar.readers.meaning import settle
from kvar.readers.parse_rows import parse_rows
from kvar.readers.read_rows import FileRows, ReadRows
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.repeated_batches import RepeatedBatches
from kvar.readers.table_file import MAX_UNPACKED, TableFile, UnreadableError
from kvar.readers.token_lists import norm_note
from kvar.readers.trl_reward_weights import read_rewards
from kvar.rollouts.batch import occurrence
from kvar.rollouts.trace import Trace

if TYPE_CHECKING:
    from narwhals.typing import IntoFrame

__all__ = ["RolloutLog", "read_log", "trace_of", "usable_rows"]


@dataclass(frozen=True)
class RolloutLog:
    """A log that has been read.

    Attributes
    ----------
    trace : Trace
        Its rollouts.
    notes : ReadingNotes
        How it was read and what was left out.
    layout : str
        Name of its layout, see `layout_names`.
    path : str
        Where it is, in words for a table.
    file_columns : ColumnMap or None
        The columns of its files, where further rows can be read by themselves; None where rows are judged together.
    """

    trace: Trace
    notes: ReadingNotes
    layout: str
    path: str
    file_columns: ColumnMap | None = None


def read_log(
    path: str | os.PathLike | IntoFrame,
    format: LayoutName | Literal["auto"] = "auto",  # noqa: A002  (the public name)
    columns: Mapping[str, str] | str | None = None,
    keep_text: bool = False,
    max_bad: float = 0.05,
    advance: Callable[[int], object] = lambda n_rows: None,
    max_unpacked: float = MAX_UNPACKED,
    numbers_only: bool = False,
) -> RolloutLog:
    """Read a log of rollouts from any trainer.

    Parameters
    ----------
    path : path or DataFrame
        A file, a folder, or a pattern such as ``logs/*.jsonl.gz``, here or at an address of fsspec such as
        ``s3://bucket/run``. In a folder the logs that lie directly in it are read, or if there are none, those below.
        Or a table of pandas, polars, pyarrow or another library that narwhals knows.
    format : str
        Who wrote it, one of `layout_names`, or "table" for any other Parquet, CSV, JSON or JSON Lines; "auto" decides
        by the columns.
    columns : mapping of str to str, or str, optional
        Which columns are ``step``, ``prompt`` and ``reward``, if their names do not show it; as a string,
        ``prompt=question,step=iteration,reward=accuracy+0.5*format``. Further names become columns of the trace, but
        ``logprobs`` is the column with a list of log-probabilities a row, of which ``score_norm`` is made.
    keep_text : bool
        Keep prompts as a column ``prompt``. By default only a hash of each prompt is kept, see `prompt_key`. In the
        layout "kvar" ids and further columns of text come back as they are.
    max_bad : float
        The largest fraction of rows that may be unusable.
    advance : callable
        Called with the number of rows after each piece.
    max_unpacked : float
        Number of GiB that one compressed file may unpack to; what lies behind them is left out, with a note. A line of
        more than 64 MiB is a bad row.
    numbers_only : bool
        Leave out further columns of text, which the layout "kvar" keeps in memory: completions may be larger than it.

    Returns
    -------
    RolloutLog
        Rows in the order of files and lines; the numbers of the trace are mapped from temporary files.

    Raises
    ------
    FileNotFoundError
        If there is no file at the path.
    ValueError
        If no file is a log of rollouts, a column is missing, or too many rows are unusable.
    """
    if format not in ("auto", *layout_names()):
        raise ValueError(f"unknown trace format {format!r}; choose auto, {', '.join(layout_names())}")
    chosen = parse_columns(columns) if isinstance(columns, str) else dict(columns or {})
    check_column_roles(chosen)
    notes = ReadingNotes()
    batches = RepeatedBatches()
    made_from: dict[str, int] = {}
    files_rows: list[FileRows] = []
    with local_copy(path) as copy, DiskColumns() as disk:
        layout, files = open_log_files(copy, format, chosen, notes)
        mapped = map_files(layout, files, chosen, notes)
        if numbers_only:
            mapped = [(table, replace(column_map, texts=[])) for table, column_map in mapped]
        notes.remarks += guess_notes(column_map for _, column_map in mapped)
        copy.prepare([(table, column_map.read) for table, column_map in mapped])
        for table, column_map in mapped:
            start = len(disk)
            table.max_unpacked = max_unpacked
            for piece in usable_rows(table, column_map, batches, notes, keep_text):
                disk.append(piece)
                if column_map.logprobs is not None:
                    unknown = int(np.isnan(piece["score_norm"]).sum())
                    made_from[column_map.logprobs] = made_from.get(column_map.logprobs, 0) + unknown
                advance(len(piece["step"]))
            files_rows.append(FileRows(table, column_map, start, len(disk)))
        notes.n_rows = len(disk)
        if made_from:
            notes.remarks.append(norm_note(list(made_from), sum(made_from.values())))
        _check_bad_rows(notes, max_bad, copy.source)
        if batches.n:
            notes.remarks.append(f"{batches.n} batches that were logged again at the next step are counted once.")
        rows = ReadRows(disk.columns(), files_rows, chosen, notes)
        n_remarks = len(notes.remarks)
        settle(rows)
        column_map = mapped[0][1]
        trace = trace_of(rows, column_map)
        # What is remarked on, or counted as bad, is so in the light of all rows.
        plain = rows.plain and not (batches.n or made_from or notes.n_bad) and n_remarks == len(notes.remarks)
        return RolloutLog(trace, notes, layout, copy.source, column_map if plain else None)


def _check_bad_rows(notes: ReadingNotes, max_bad: float, path: str) -> None:
    total = notes.n_bad + notes.n_rows
    if notes.n_bad > max_bad * total or not notes.n_rows:
        reasons = " ".join(notes.omissions()) or "The files hold no rows."
        limit = f", more than the fraction {max_bad:g} (max_bad, --max-bad)" if notes.n_rows else ""
        raise ValueError(f"{notes.n_bad:,} of {total:,} rows of {path} cannot be used{limit}. {reasons}")


def usable_rows(
    table: TableFile, column_map: ColumnMap, batches: RepeatedBatches, notes: ReadingNotes, keep_text: bool
) -> Iterator[dict[str, np.ndarray | list]]:
    """The usable rows of a file, piece by piece."""
    n_rows = n_seen = 0
    batches.begin_file()
    try:
        for piece in table.tables(column_map.read, notes, column_map.logprobs):
            first, n_seen = n_seen, n_seen + len(piece.rows)
            if column_map.layout == "trl" and batches.seen(piece.columns):
                continue
            rows = parse_rows(piece, column_map, table.path, notes, keep_text, first)
            n_rows += len(rows["step"])
            yield rows
    except UnreadableError as reason:
        notes.refused[table.path] = f"{reason} (after {n_rows} rows, which are used)"
    if n_rows:
        notes.used.append(table.path)


def trace_of(rows: ReadRows, column_map: ColumnMap) -> Trace:
    """The trace of rows of which it is settled what they mean."""
    columns: dict[str, Any] = rows.columns
    notes = rows.notes
    rewards = {name: columns.pop(f"reward:{name}") for name in column_map.rewards}
    weights = np.array(list(column_map.rewards.values()))
    if column_map.weights_from in columns:
        weights = _weights(columns, rewards, columns[column_map.weights_from], notes)
    columns["reward"] = _weighted(rewards.values(), weights)
    if len(rewards) > 1:
        columns |= rewards
    columns["step"] = _whole_numbers(columns["step"])
    if "rollout" in columns:
        columns["rollout"] = _whole_numbers(columns["rollout"])
        if columns["rollout"].dtype.kind != "i":
            del columns["rollout"]
            notes.remarks.append("The column rollout has gaps and is left out: rollouts are numbered in row order.")
    elif isinstance(columns["prompt_id"], np.ndarray):
        # The trace would number the groups again.
        columns["rollout"] = occurrence(rows.groups)
    return Trace.from_columns(columns)


def _weights(columns: dict, rewards: dict[str, np.ndarray], advantage: np.ndarray, notes: ReadingNotes) -> np.ndarray:
    """Weights of the rewards by the advantages; the rollouts of a group are consecutive rows."""
    change = np.diff(columns["prompt_id"], prepend=0) != 0
    change |= np.diff(columns["step"], prepend=0) != 0
    enough = slice(20_000)
    group, _ = groups_of_rows(advantage[enough], np.cumsum(change)[enough] - change[0])
    parts = np.column_stack([column[enough] for column in rewards.values()])
    found = read_rewards(parts, advantage[enough], group, columns["step"][enough], list(rewards))
    if found.sure:
        notes.remarks.append(found.remark)
    else:
        notes.doubt(found.remark)
    return found.weights


def _weighted(rewards: Iterable[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Weighted sum of rewards; one that is NaN counts 0, unless all are."""
    rewards = list(rewards)
    if len(rewards) == 1 and weights[0] == 1:
        return rewards[0]
    total, known = np.zeros(len(rewards[0])), np.zeros(len(rewards[0]), dtype=bool)
    for reward, weight in zip(rewards, weights, strict=True):
        here = ~np.isnan(reward)
        total[here] += weight * reward[here]
        known |= here
    return np.where(known, total, np.nan)


def _whole_numbers(values: np.ndarray, piece: int = 1_000_000) -> np.ndarray:
    """The values as integers, if all are whole; changed in place, since both types have eight bytes."""
    cuts = [slice(k, k + piece) for k in range(0, len(values), piece)]
    if not all((np.floor(values[cut]) == values[cut]).all() for cut in cuts):
        return values
    for cut in cuts:
        values[cut].view(np.int64)[:] = values[cut].astype(np.int64)
    return values.view(np.int64)
