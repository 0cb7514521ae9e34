"""What a log is and how it is understood, without an audit."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from kvar.readers.addresses import LocalCopy, local_copy
from kvar.readers.columns import IN_NAME, ColumnMap, parse_columns
from kvar.readers.layouts import LAYOUTS, LayoutName
from kvar.readers.log import RolloutLog, read_log
from kvar.readers.log_files import map_files, open_log_files
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.table_file import TableFile
from kvar.rollouts.prompt_ids import prompt_key
from kvar.rollouts.trace import Trace

__all__ = ["FileGroup", "Inspection", "inspect_log"]

_N_ROWS = 5
# Gaps that are named, and characters of a prompt that are shown.
_N_GAPS, _N_CHARACTERS = 3, 60


@dataclass
class FileGroup:
    """Files of one kind with the same columns."""

    kind: str  # Their format
    names: list[str]  # Their names
    columns: dict[str, str]  # Their columns: "number", "list of numbers" or "other"

    def to_dict(self) -> dict:
        """Plain data, with the first names only."""
        return {"kind": self.kind, "number": len(self.names), "first": self.names[:3], "columns": self.columns}


@dataclass
class Inspection:
    """What a log is and how it is understood."""

    path: str  # Where it is
    layout: str = ""  # Name of its layout; empty if no file could be opened
    files: list[FileGroup] = field(default_factory=list)
    # What step, prompt, reward and log-probabilities are, and why.
    choices: dict[str, dict[str, str]] = field(default_factory=dict)
    counts: dict[str, object] = field(default_factory=dict)  # Numbers of rollouts, steps, prompts, groups and so on
    rows: list[dict[str, object]] = field(default_factory=list)  # Some rollouts, from the first to the last
    remarks: list[str] = field(default_factory=list)  # Everything that was noticed
    error: str = ""  # Why the log cannot be read

    def to_dict(self) -> dict:
        """Plain data."""
        return {**vars(self), "files": [group.to_dict() for group in self.files]}


def inspect_log(
    path: str | os.PathLike,
    format: LayoutName | Literal["auto"] = "auto",  # noqa: A002  (as in read_log)
    columns: Mapping[str, str] | str | None = None,
    show_prompts: bool = False,
    advance: Callable[[int], object] = lambda n_rows: None,
) -> Inspection:
    """Look into a log: its files, the meaning of its columns, what it holds, and what was noticed.

    Parameters
    ----------
    path, format, columns, advance
        As in `read_log`.
    show_prompts : bool
        Show the text of prompts. By default eight digits of a hash stand for each.

    Returns
    -------
    Inspection
        With the reason in `error` if the log cannot be read; files and columns are described as far as they are known.

    Raises
    ------
    FileNotFoundError
        If there is no file at the path.
    kvar.readers.runs.ManyRunsError
        If the folder holds several runs.
    """
    found = Inspection(os.fspath(path))
    try:
        chosen = parse_columns(columns) if isinstance(columns, str) else dict(columns or {})
        with local_copy(path) as copy:
            _describe(found, copy, format, chosen)
            log = read_log(copy, format, columns, keep_text=show_prompts, max_bad=1.0, advance=advance)
    except ValueError as error:
        if hasattr(error, "runs"):
            raise
        found.error = str(error)
        return found
    found.counts = _counts(log)
    found.rows = _sample(log.trace, show_prompts)
    found.remarks = log.notes.sentences()
    return found


def _describe(found: Inspection, copy: LocalCopy, format: str, chosen: dict[str, str]) -> None:  # noqa: A002
    notes = ReadingNotes()
    found.layout, tables = open_log_files(copy, format, chosen, notes)
    groups: dict[tuple, FileGroup] = {}
    for table in tables:
        kinds = _kinds(table)
        groups.setdefault((table.kind, *kinds.items()), FileGroup(table.kind, [], kinds)).names.append(table.path.name)
    found.files = list(groups.values())
    for _, column_map in map_files(found.layout, tables, chosen, notes):
        for name, choice in _choices(column_map, chosen).items():
            found.choices.setdefault(name, choice)


def _kinds(table: TableFile) -> dict[str, str]:
    numbers, lists = set(table.numeric), set(table.lists)
    return {n: "number" if n in numbers else "list of numbers" if n in lists else "other" for n in table.columns}


def _choices(column_map: ColumnMap, chosen: dict[str, str]) -> dict[str, dict[str, str]]:
    layout = LAYOUTS[column_map.layout]
    terms = [name if weight == 1 else f"{weight:g}*{name}" for name, weight in column_map.rewards.items()]
    columns = {"step": column_map.step, "prompt": column_map.prompt, "reward": " + ".join(terms)}
    choices = {}
    for name, column in columns.items():
        if name in chosen:
            why = "chosen with --columns"
        elif name in layout.columns or column_map.layout == "kvar":
            why = f"as {column_map.layout} logs have it"
        elif name == "reward" and layout.advantage:
            why = f"the numbers of a {column_map.layout} log that have no other meaning"
        else:
            why = "by its name" if column else "since no column is called like a step"
        choices[name] = {"is": column or IN_NAME, "why": why}
    if column_map.logprobs is not None:
        why = "chosen with --columns" if "logprobs" in chosen else "by its name"
        choices["score norm"] = {"is": f"made of {column_map.logprobs}", "why": why}
    if column_map.passed_over:
        choices["not the reward"] = {"is": ", ".join(column_map.passed_over), "why": "another column comes first"}
    return choices


def _counts(log: RolloutLog) -> dict[str, object]:
    trace = log.trace
    steps, step_codes = np.unique(trace.step, return_inverse=True)
    prompts, prompt_codes = np.unique(trace.prompt_id, return_inverse=True)
    groups, sizes = np.unique(step_codes * len(prompts) + prompt_codes, return_counts=True)
    group_step, group_prompt = np.divmod(groups, len(prompts))
    # Visits of each prompt one after the other.
    order = np.lexsort((group_step, group_prompt))
    same = np.diff(group_prompt[order]) == 0
    distances = np.diff(group_step[order])[same]
    known = trace.reward[~np.isnan(trace.reward)]
    size, number = np.unique(sizes, return_counts=True)
    return {
        "rollouts": len(trace),
        "left out": log.notes.n_bad + log.notes.n_left_out,
        "steps": len(steps),
        "first step": steps[0].item(),
        "last step": steps[-1].item(),
        "gaps": _gaps(steps),
        "prompts": len(prompts),
        "groups": len(groups),
        "group sizes": {int(s): int(n) for s, n in zip(size, number, strict=True)},
        "prompts that come back": int((np.bincount(group_prompt) > 1).sum()),
        "visits of a prompt": round(len(groups) / len(prompts), 2),
        "logged steps between visits": float(np.median(distances)) if distances.size else None,
        "rewards": [float(known.min()), float(known.mean()), float(known.max())] if known.size else [],
        "different rewards": len(np.unique(known)),
        "without a reward": len(trace) - known.size,
    }


def _gaps(steps: np.ndarray) -> list[str]:
    """Places where steps are farther apart than usual."""
    distances = np.diff(steps)
    wide = np.flatnonzero(distances > np.median(distances)) if distances.size else np.zeros(0, dtype=int)
    named = [f"{steps[k]:g} to {steps[k + 1]:g}" for k in wide[:_N_GAPS]]
    return named + ([f"and {len(wide) - _N_GAPS} more"] if len(wide) > _N_GAPS else [])


def _sample(trace: Trace, show_prompts: bool) -> list[dict[str, object]]:
    rows = np.unique(np.linspace(0, len(trace) - 1, _N_ROWS).astype(int))
    texts = trace.extras.get("prompt") if show_prompts else None
    return [
        {
            "step": trace.step[k].item(),
            "prompt": _shown(trace.prompt_id[k]) if texts is None else str(texts[k])[:_N_CHARACTERS],
            "rollout": int(trace.rollout[k]),
            "reward": None if np.isnan(trace.reward[k]) else float(trace.reward[k]),
        }
        for k in rows
    ]


def _shown(prompt_id) -> str:
    """A hash of a prompt's id that no one can read it from, also where the id is the text."""
    return f"{prompt_key(str(prompt_id)) & 0xFFFFFFFF:08x}"
