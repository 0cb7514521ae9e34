"""Several runs below one folder."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

__all__ = ["ManyRunsError", "refuse_many_runs"]

_LISTED = 20
# Folders that lie inside a run: of steps, of parts of a log, and of what else trainers sort their files into.
_INSIDE = re.compile(
    r"\d+"
    r"|(global[-_]?)?(steps?|iter|iteration|epoch|version|v|checkpoint|rank|shard|node|worker|part|gpu|host)[-_]?\d.*"
    r"|train|training|val|valid|validation|test|evals?|evaluation|all|effective|dumped_evals"
    r"|completions?|rollouts?|rollout_data|generations?|trajectories|traces?|samples?|dumps?|data|logs?|outputs?"
    r"|files|media|table|debug|metrics",
    re.IGNORECASE,
)


class ManyRunsError(ValueError):
    """A folder with the logs of several runs, which are not one trace."""

    def __init__(self, place: str, runs: Sequence[str], ending: str):
        names = ", ".join(runs[:_LISTED]) + (f" and {len(runs) - _LISTED} more" if len(runs) > _LISTED else "")
        super().__init__(
            f"{place} holds {len(runs)} runs: {names}. Give one of them, as in {place.rstrip('/')}/{runs[0]}. If all "
            f"are one run, give a pattern in quotes, as in '{place.rstrip('/')}/**/*{ending}'"
        )
        self.runs = list(runs)  # Their folders, relative to the place


def refuse_many_runs(folder: Path, files: Sequence[Path], place: str) -> None:
    """Refuse the files below a folder if they belong to several runs."""
    parents: dict[tuple[str, ...], list[Path]] = {}
    for parent in {file.parent for file in files}:
        parts = parent.relative_to(folder).parts
        parents.setdefault(tuple(part for part in parts if not _INSIDE.fullmatch(part)), []).append(parent)
    runs = sorted(Path(os.path.commonpath(found)) for found in parents.values())
    # Folders that lie in each other, or in the same folders of steps, are parts of one run.
    if len(runs) < 2 or any(a == b or a in b.parents for a, b in pairwise(runs)):
        return
    raise ManyRunsError(place, [str(run.relative_to(folder)) for run in runs], "".join(files[0].suffixes))
