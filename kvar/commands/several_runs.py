"""Several runs on the command line: their paths, names and settings."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from kvar.auditing.audit_runs import audit_runs
from kvar.auditing.runs_report import RunsReport
from kvar.readers import is_address

__all__ = ["NamedRuns", "audit_several", "folder_of_runs", "named_runs"]


@dataclass(frozen=True)
class NamedRuns:
    """Paths by the names of the runs, and the setting of each if settings were named."""

    paths: dict[str, str]
    settings: list[str] | None


def named_runs(arguments: list[str]) -> NamedRuns:
    """Runs given as PATH or SETTING=PATH; their names are the paths without the folders that all have in common."""
    split = [_split(argument) for argument in arguments]
    paths = [path for _, path in split]
    if twice := {path for path in paths if paths.count(path) > 1}:
        raise ValueError(f"{min(twice)} is given twice; give each run once")
    named = [setting for setting, _ in split if setting is not None]
    if named and len(named) < len(split):
        bare = next(path for setting, path in split if setting is None)
        raise ValueError(f"{bare} has no setting, but other runs have; name all of them, as in SETTING={bare}")
    return NamedRuns(dict(zip(_names(paths), paths, strict=True)), named or None)


def folder_of_runs(folder: str, runs: list[str]) -> NamedRuns:
    """The runs below a folder."""
    return NamedRuns({run: f"{folder.rstrip('/')}/{run}" for run in runs}, None)


def audit_several(runs: NamedRuns, baseline: list[str] | None, auditing: dict, reading: dict) -> RunsReport:
    """Audit them."""
    return audit_runs(runs.paths, runs.settings, baseline or None, **auditing, **reading)


def _split(argument: str) -> tuple[str | None, str]:
    """Setting and path; what exists as it stands is a path, such as a folder lr=1e-6."""
    setting, equals, path = argument.partition("=")
    if not equals or os.path.lexists(argument) or not setting or "/" in setting:
        return None, argument
    return setting, path


def _names(paths: list[str]) -> list[str]:
    """Paths without the folders before the first in which they differ."""
    if any(is_address(path) for path in paths):
        return paths
    parts = [Path(path).parts for path in paths]
    shortest = min(map(len, parts)) - 1
    common = next((k for k in range(shortest) if len({one[k] for one in parts}) > 1), shortest)
    return [str(Path(*one[common:])) for one in parts]
