"""A log on disk, whoever wrote it, as a trace."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np

from kvar.readers.columns import ColumnMap, listed, map_columns, parse_columns, taken
from kvar.readers.disk_columns import Spool
from kvar.readers.file_types import open_table
from kvar.readers.parse_rows import clean
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.table_file import TableFile, UnreadableError
from kvar.readers.trl_reward_weights import reward_weights
from kvar.rollouts.trace import Trace
from kvar.utils.atomic_files import TEMPORARY_SUFFIX

__all__ = ["RolloutLog", "layout_names", "read_log"]

# Who writes which columns; the first that fits counts, and anything may be a table.
_LAYOUTS = {
    "kvar": {"step", "prompt_id", "reward"},
    "trl": {"step", "prompt", "completion", "advantage"},
    "verl": {"input", "output", "score"},
    "table": set(),
}
_NUMBER = re.compile(r"(\d+)(?!.*\d)")


@dataclass(frozen=True)
class RolloutLog:
    """A log that has been read.

    Attributes
    ----------
    trace : Trace
        Its rollouts.
    notes : ReadingNotes
        What was made of it and what was left out.
    layout : str
        Who wrote it.
    path : str
        Where it is.
    """

    trace: Trace
    notes: ReadingNotes
    layout: str
    path: str


def layout_names() -> list[str]:
    """Names of the layouts that can be read."""
    return list(_LAYOUTS)


def read_log(
    path: str | os.PathLike,
    format: str = "auto",  # noqa: A002  (the public name)
    columns: Mapping[str, str] | str | None = None,
    keep_text: bool = False,
    max_bad: float = 0.05,
    advance: Callable[[int], object] = lambda n_rows: None,
) -> RolloutLog:
    """Read a log of rollouts.

    Parameters
    ----------
    path : path
        A file, a folder, or a pattern such as ``logs/*.jsonl.gz``. In a folder the logs that lie directly in it are
        read, or if there are none, those below it.
    format : str
        Who wrote it: "kvar", "trl" (``completions/*.parquet``), "verl" (``{step}.jsonl``), "table" for any other
        Parquet, CSV or JSON Lines; "auto" goes by the columns.
    columns : mapping of str to str, or str, optional
        Which column is ``step``, ``prompt`` and ``reward``, where their names do not tell; as a string,
        ``prompt=question,step=iteration,reward=accuracy+0.5*format``. Further names become columns of the trace.
    keep_text : bool
        Keep prompts as a column ``prompt``. By default a prompt leaves nothing but a hash, see
        `prompt_key`. In the layout "kvar" ids and further columns of text come back as they are.
    max_bad : float
        The largest share of rows that may be unusable.
    advance : callable
        Told the number of rows read each time.

    Returns
    -------
    RolloutLog
        Rows in the order of files and lines. The trace's numbers are mapped from disk.

    Raises
    ------
    FileNotFoundError
        If there is no file at the path.
    ValueError
        If no file is a log of rollouts, a column is missing, or too many rows are unusable.
    """
    if format != "auto" and format not in _LAYOUTS:
        raise ValueError(f"unknown trace format {format!r}; choose auto, {', '.join(_LAYOUTS)}")
    chosen = parse_columns(columns) if isinstance(columns, str) else dict(columns or {})
    notes = ReadingNotes()
    layout, files = _files(path, format, chosen, notes)
    mapped = _mapped(layout, files, chosen, notes)
    notes.remarks += taken(column_map for _, column_map in mapped)
    batches: dict[str, int] = {}
    with Spool() as spool:
        for table, column_map in mapped:
            for rows in _cleaned(table, column_map, batches, notes, keep_text):
                spool.append(rows)
                advance(len(rows["step"]))
        notes.n_rows = len(spool)
        _check_share(notes, max_bad, os.fspath(path))
        if batches.get("repeated"):
            notes.remarks.append(f"{batches['repeated']} batches that were logged again at the next step count once.")
        return RolloutLog(_trace(spool, mapped[0][1], notes), notes, layout, os.fspath(path))


def _check_share(notes: ReadingNotes, max_bad: float, path: str) -> None:
    total = notes.n_bad + notes.n_rows
    if notes.n_bad > max_bad * total or not notes.n_rows:
        reasons = " ".join(notes.omissions()) or "The files hold no rows."
        limit = f", more than a share of {max_bad:g} (max_bad, --max-bad)" if notes.n_rows else ""
        raise ValueError(f"{notes.n_bad:,} of {total:,} rows of {path} cannot be used{limit}. {reasons}")


def _candidates(path: str | os.PathLike) -> list[Path]:
    """The files that a path stands for, by the numbers in their names."""
    text = os.fspath(path)
    place = Path(text)
    if place.is_dir():
        files = _of_folder(place)
    elif place.exists():
        files = [place]
    elif has_magic(text):
        files = [Path(name) for name in glob(text, recursive=True) if Path(name).is_file()]
    else:
        raise FileNotFoundError(f"no trace at {text}")
    if not files:
        raise FileNotFoundError(f"no step of a trace in {text}: there is no file that could be a log of rollouts")
    return sorted(files, key=lambda file: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", str(file))])


def _of_folder(folder: Path) -> list[Path]:
    def visible(file: Path) -> bool:
        return not file.name.startswith(".") and file.suffix != TEMPORARY_SUFFIX and file.is_file()

    direct = [file for file in folder.iterdir() if visible(file)]
    if any(_is_log(file) for file in direct):
        return direct
    below = [file for file in folder.rglob("*") if visible(file) and not any(p.startswith(".") for p in file.parts)]
    logs = [file for file in below if _is_log(file)]
    return logs or direct


def _is_log(file: Path) -> bool:
    """Whether the name is one of a log; what is inside decides later."""
    name = file.name.removesuffix(".gz").removesuffix(".zst")
    return name.endswith((".parquet", ".jsonl", ".ndjson", ".csv", ".tsv"))


def _files(path, wanted: str, chosen: dict[str, str], notes: ReadingNotes) -> tuple[str, list[TableFile]]:
    """Files of the layout that most of them have."""
    files, layouts = [], []
    for file in _candidates(path):
        try:
            table = open_table(file)
        except UnreadableError as reason:
            notes.refused[file] = str(reason)
            continue
        files.append(table)
        layouts.append(next(name for name, needs in _LAYOUTS.items() if needs <= set(table.columns)))
    if not files:
        reasons = "; ".join(f"{file.name}: {reason}" for file, reason in list(notes.refused.items())[:5])
        raise ValueError(f"no log of rollouts at {os.fspath(path)}: {reasons}")
    if wanted == "auto":
        # A file of nothing known is more often foreign than a log.
        known = Counter(layout for layout in layouts if layout != "table")
        wanted = known.most_common(1)[0][0] if known and "reward" not in chosen and "prompt" not in chosen else "table"
    if wanted == "table":
        return wanted, files
    kept = [table for table, layout in zip(files, layouts, strict=True) if layout == wanted]
    for table, layout in zip(files, layouts, strict=True):
        if layout != wanted:
            notes.refused[table.path] = f"it is no {wanted} log, its columns are {listed(table.columns)}"
    if not kept:
        raise ValueError(
            f"no {wanted} log at {os.fspath(path)}: that has the columns {', '.join(sorted(_LAYOUTS[wanted]))}; "
            f"found {listed(files[0].columns)}"
        )
    return wanted, kept


def _mapped(
    layout: str, files: Sequence[TableFile], chosen: dict[str, str], notes: ReadingNotes
) -> list[tuple[TableFile, ColumnMap]]:
    """Each file with its columns; a file that lacks what others have is left out."""
    mapped, first_error = [], None
    # The number in the name of a lone file, or of a table, is more often that of a run than that of a step.
    stepped = layout == "verl" or len(files) > 1
    for table in files:
        numbered = stepped and _NUMBER.search(table.path.name) is not None
        try:
            mapped.append((table, map_columns(layout, table.columns, table.numeric, chosen, numbered)))
        except ValueError as error:
            first_error = first_error or error
            notes.refused[table.path] = f"it is no log like the others: {error}"
    if not mapped:
        raise ValueError(str(first_error))
    # The reward must be made of the same columns everywhere.
    usual = Counter(tuple(m.rewards) for _, m in mapped).most_common(1)[0][0]
    for table, column_map in mapped:
        if tuple(column_map.rewards) != usual:
            notes.refused[table.path] = f"its rewards are {', '.join(column_map.rewards)}, not {', '.join(usual)}"
    return [(table, column_map) for table, column_map in mapped if tuple(column_map.rewards) == usual]


def _cleaned(
    table: TableFile, column_map: ColumnMap, batches: dict, notes: ReadingNotes, keep_text: bool
) -> Iterator[dict[str, np.ndarray | list]]:
    """The usable rows of a file, piece by piece."""
    number = _NUMBER.search(table.path.name)
    step = float(number[1]) if number else None
    names = list(dict.fromkeys([*column_map.needed, *column_map.extras.values(), *column_map.texts]))
    if column_map.layout == "trl":
        names.append("completion")
    n_rows = 0
    try:
        for piece in table.tables(names, notes):
            if column_map.layout == "trl" and _seen_before(piece.columns, batches):
                continue
            rows = clean(piece, column_map, step, table.path, notes, keep_text)
            n_rows += len(rows["step"])
            yield rows
    except UnreadableError as reason:
        notes.refused[table.path] = f"{reason} (after {n_rows} rows, which are used)"
    if n_rows:
        notes.used.append(table.path)


def _seen_before(columns: dict, batches: dict) -> bool:
    """Whether TRL has logged this batch at the last step already: one generation may serve several steps."""
    parts = (column if isinstance(column, list) else column.tolist() for n, column in columns.items() if n != "step")
    content = hash(repr(list(parts)))
    repeated = batches.get("last") == content
    batches["last"] = content
    batches["repeated"] = batches.get("repeated", 0) + repeated
    return repeated


def _trace(spool: Spool, column_map: ColumnMap, notes: ReadingNotes) -> Trace:
    columns: dict[str, Any] = spool.columns()
    rewards = {name: columns.pop(f"reward:{name}") for name in column_map.rewards}
    weights = np.array(list(column_map.rewards.values()))
    if column_map.weights_from in columns:
        # The rollouts of a group stand side by side.
        change = np.diff(columns["prompt_id"], prepend=0) != 0
        change |= np.diff(columns["step"], prepend=0) != 0
        parts = np.column_stack([column[:20_000] for column in rewards.values()])
        group = np.cumsum(change)[:20_000] - change[0]
        weights, remark = reward_weights(parts, columns[column_map.weights_from][:20_000], group, list(rewards))
        notes.remarks.append(remark)
    columns["reward"] = _weighted(rewards.values(), weights)
    if len(rewards) > 1:
        columns |= rewards
    columns["step"] = _whole_numbers(columns["step"])
    if "rollout" in columns:
        columns["rollout"] = _whole_numbers(columns["rollout"])
        if columns["rollout"].dtype.kind != "i":
            del columns["rollout"]
            notes.remarks.append("The column rollout has gaps and is left out: rollouts are numbered in row order.")
    return Trace.from_columns(columns)


def _weighted(rewards: Iterable[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Weighted sum; a reward function without an answer counts nothing, and none with one leaves NaN."""
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
    """The same as integers, if all are; changed where they lie, since both are eight bytes wide."""
    cuts = [slice(k, k + piece) for k in range(0, len(values), piece)]
    if not all((np.floor(values[cut]) == values[cut]).all() for cut in cuts):
        return values
    for cut in cuts:
        values[cut].view(np.int64)[:] = values[cut].astype(np.int64)
    return values.view(np.int64)
