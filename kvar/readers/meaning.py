"""What the rows of a log mean: which step, which prompt, and which rows are rollouts of their own."""

from __future__ import annotations

from kvar.readers.advantage_groups import say_merged_prompts
from kvar.readers.identical_rows import drop_identical_rows
from kvar.readers.prompts import settle_prompts
from kvar.readers.read_rows import PLACE, TURN, ReadRows
from kvar.readers.restarts import drop_repeated_steps
from kvar.readers.sources import drop_copies, drop_validation_rows
from kvar.readers.steps import settle_steps
from kvar.readers.turns import join_turns

__all__ = ["settle"]


def settle(rows: ReadRows) -> None:
    """Repair what the log shows how to repair, leave out rows that count twice, and say both in the notes."""
    drop_validation_rows(rows)
    drop_copies(rows)
    settle_steps(rows)
    join_turns(rows)
    settle_prompts(rows, rows.notes.prompts)
    drop_repeated_steps(rows)
    drop_identical_rows(rows)
    say_merged_prompts(rows)
    for name in (PLACE, TURN, *rows.notes.set_aside):
        rows.columns.pop(name, None)
    if rows.notes.set_aside:
        names = ", ".join(sorted(rows.notes.set_aside))
        rows.notes.remarks.append(f"Columns with lists or objects are left aside: {names}.")
    rows.notes.n_rows = len(rows)
