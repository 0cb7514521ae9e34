"""The settings of a run, where a file next to its log holds them."""

from __future__ import annotations

import json
import re
from pathlib import Path

__all__ = ["differing_settings", "read_settings"]

_FILES = ("config.json", "settings.json", "args.json")
# Runs that differ in these only are repetitions of each other.
_NO_MATTER = re.compile(r"(.*\.)?((.*_)?seed|.*_(dir|path)|run_name|report_to|resume_from_checkpoint|port)")


def read_settings(log: Path) -> tuple[Path, dict[str, object]] | None:
    """The file with the settings of a run, in the folder of its log or in that around it, and what it says.

    Settings inside others have a name with dots. Seeds, and where files and messages go, are left out.
    """
    folder = log if log.is_dir() else log.parent
    for file in (place / name for place in (folder, folder.parent) for name in _FILES):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        # A model's own file has the same name.
        if isinstance(content, dict) and not {"architectures", "model_type"} & content.keys():
            content.pop("given", None)  # of llm_train, which repeats what was asked for
            return file, {name: value for name, value in _flat(content) if not _NO_MATTER.fullmatch(name)}
    return None


def _flat(content: dict, before: str = ""):
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def differing_settings(settings: list[dict[str, object]]) -> dict[str, list]:
    """Settings that are not the same in all runs, with the value of each run, None where it has none."""
    names = dict.fromkeys(name for one in settings for name in one)
    values = {name: [one.get(name) for one in settings] for name in names}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}
