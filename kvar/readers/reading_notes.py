"""Notes on how a log was read: what was used, what was left out, and why."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from kvar.readers.prompt_forms import PromptForms

__all__ = ["EXAMPLES", "ReadingNotes"]

EXAMPLES = 3


@dataclass
class ReadingNotes:
    """A record of every file and row of a log."""

    used: list[Path] = field(default_factory=list)  # Files that rollouts came from
    refused: dict[Path, str] = field(default_factory=dict)  # Files that were left out, and why
    cut: list[Path] = field(default_factory=list)  # Files that are cut off, and were read up to there
    bad_rows: dict[str, int] = field(default_factory=dict)  # Rows that could not be used, by reason
    # The first few of them as ``file:row``, some with the cell.
    examples: dict[str, list[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)  # How the log was understood
    doubts: list[str] = field(default_factory=list)  # Those of the remarks that a reader should check
    set_aside: set[str] = field(
        default_factory=set
    )  # Columns of lists and objects in place of text, which are left out
    prompts: PromptForms = field(default_factory=PromptForms)  # What the prompts look like
    n_rows: int = 0  # Rows that were used
    n_left_out: int = 0  # Rows that are no rollouts of their own or not of training; the doubts say which
    n_copies: int = 0  # Rows that are copies of others
    n_joined: int = 0  # Lines that continue a quoted field of a line before

    def reject(self, reason: str, path: Path, rows: Iterable[int], cells: Sequence = ()) -> None:
        """Count rows that cannot be used."""
        rows = list(rows)
        if not rows:
            return
        self.bad_rows[reason] = self.bad_rows.get(reason, 0) + len(rows)
        examples = self.examples.setdefault(reason, [])
        # A cell may hold a whole answer, so it is shortened.
        shown = [f": {reprlib.repr(cell)}" for cell in cells]
        for row, cell in list(zip_longest(rows[:EXAMPLES], shown, fillvalue=""))[: EXAMPLES - len(examples)]:
            examples.append(f"{path.name}:{row}{cell}")

    def doubt(self, sentence: str) -> None:
        """Remark on what a reader should check."""
        self.remarks.append(sentence)
        self.doubts.append(sentence)

    @property
    def n_bad(self) -> int:
        """Rows that could not be used."""
        return sum(self.bad_rows.values())

    def rejections(self) -> list[str]:
        """Sentences on the rows that could not be used."""
        return [
            f"{number:,} row{'s' if number > 1 else ''} left out: {reason} (first {', '.join(self.examples[reason])})."
            for reason, number in self.bad_rows.items()
        ]

    def omissions(self) -> list[str]:
        """Sentences on everything that was left out."""
        alike: dict[str, list[str]] = {}
        for path, reason in self.refused.items():
            alike.setdefault(reason, []).append(path.name)
        refused = [f"{_names(names)} left out: {reason}." for reason, names in alike.items()]
        cut = [f"{path.name} is cut off and was read up to there." for path in self.cut]
        return [*refused, *cut, *self.rejections()]

    def sentences(self) -> list[str]:
        """Sentences on how the log was read."""
        files = f"{len(self.used)} files" if len(self.used) != 1 else self.used[0].name
        joined = [f"{self.n_joined:,} lines continue a quoted field."] if self.n_joined else []
        return [f"Read {self.n_rows:,} rollouts from {files}.", *joined, *self.remarks, *self.omissions()]


def _names(names: list[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} is"
    listed = ", ".join(dict.fromkeys(names[:EXAMPLES]))
    return f"{len(names)} files ({listed}{', ...' if len(names) > EXAMPLES else ''}) are"
