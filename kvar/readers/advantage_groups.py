"""Groups of rollouts by their advantages, which sum to 0 in each."""

from __future__ import annotations

import numpy as np

from kvar.readers.read_rows import ReadRows

__all__ = ["groups_of_rows", "say_merged_prompts"]

_ENOUGH = 20_000
_FEW_GROUPS = 20


def say_merged_prompts(rows: ReadRows) -> None:
    """Say so where the advantages show that several prompts count as one."""
    for _, advantage in rows.numbers(("advantage", "advantages")):
        change = np.diff(rows.prompt_codes[:_ENOUGH], prepend=-1) != 0
        change |= np.diff(rows.step_codes[:_ENOUGH], prepend=-1) != 0
        _, size = groups_of_rows(advantage[:_ENOUGH], np.cumsum(change) - 1)
        if size is not None:
            rows.notes.doubt(
                f"The advantages sum to 0 over every {size} rows, but a prompt has more rows at a step: different "
                "prompts look the same in this log and count as one. Log a column of ids and name it with --columns "
                "prompt=COLUMN."
            )


def groups_of_rows(advantage: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, int | None]:
    """Groups by the advantages, which sum to 0 in each, and their size where rows of one prompt hold several groups."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.diff(starts, append=len(group))
    place = np.arange(len(group)) - np.repeat(starts, sizes)
    advantage = np.nan_to_num(advantage, nan=0.0)
    for size in range(2, int(np.median(sizes)) // 2 + 1 if len(sizes) else 0):
        if (sizes % size).any():
            continue
        block = np.cumsum(place % size == 0) - 1
        length = np.bincount(block, weights=np.abs(advantage))
        used = length > 1e-3
        total = np.abs(np.bincount(block, weights=advantage))
        if used.sum() >= _FEW_GROUPS and (total[used] <= 1e-4 * length[used]).all():
            return block, size
    return group, None
