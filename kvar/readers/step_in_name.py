"""The step in the name of a file or of a folder above it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["steps_in_names"]

# "step_3", "global-step3", "iteration_0003", "iter3"; the word stands alone or after a separator.
_NAMED = re.compile(r"(?<![a-z])(?:step|steps|iteration|iter)[-_. ]?(\d+)", re.IGNORECASE)
_EPOCH = re.compile(r"(?<![a-z])epochs?[-_. ]?(\d+)", re.IGNORECASE)
_BARE = re.compile(r"\d+")


def steps_in_names(files: Sequence[Path], bare: bool) -> list[float | None]:
    """The step of each file by its name, or None.

    A step is the digits after "step" or "iteration" in the name of the file, or else of the nearest folder. With `bare`
    a name that is nothing but digits counts too, if no two files have the same: it may as well be a rank or a task.
    Digits after other words are ranks, shards, sizes of models or data sets. Steps that start again in each epoch, as
    the names say, are counted on.
    """
    found, epochs = ([_named(file, pattern) for file in files] for pattern in (_NAMED, _EPOCH))
    pairs = {(epoch, step) for epoch, step in zip(epochs, found, strict=True) if epoch is not None and step is not None}
    if len(pairs) > len({step for _, step in pairs}):
        length = max(step for _, step in pairs) + 1
        return [
            None if step is None or epoch is None else epoch * length + step
            for epoch, step in zip(epochs, found, strict=True)
        ]
    if bare and not any(step is not None for step in found):
        stems = [file.name.partition(".")[0] for file in files]
        if all(map(_BARE.fullmatch, stems)) and len(set(map(int, stems))) == len(stems):
            return [float(stem) for stem in stems]
    return found


def _named(file: Path, pattern: re.Pattern[str]) -> float | None:
    for part in [file.name, *(folder.name for folder in file.parents)]:
        if numbers := pattern.findall(part):
            return float(numbers[-1])
    return None
