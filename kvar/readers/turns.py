"""Several rows of one rollout, as one a turn or one a segment of a context: counted once, or refused."""

from __future__ import annotations

import re

import numpy as np

from kvar.readers.read_rows import TURN, ReadRows, codes, paired
from kvar.readers.table_file import MISSING
from kvar.rollouts.prompt_ids import prompt_key

__all__ = ["join_turns"]

_ROLLOUTS = (
    *("trajectory_id", "traj_id", "traj_uid", "trajectory", "trajectory_idx", "rollout_id", "session_id"),
    *("episode_id", "episode", "sample_id", "sample_idx", "rollout_idx", "uid"),
)
_TURNS = ("turn", "turn_id", "turn_idx", "turn_index", "n_turn", "step_in_episode", "env_step", "output_index")
# A rollout's id as verl writes it, with the number of the session and of its output.
_SESSION = re.compile(r"(.+_\d+)_(\d+)")


def join_turns(rows: ReadRows) -> None:
    """Where a column names rollouts and several rows have the same name, keep the first row of each."""
    used = {name for file in rows.files for name in (file.columns.step, file.columns.prompt)} - rows.columns.keys()
    for name in [name for name in rows.in_files(_ROLLOUTS) if name not in used]:
        if isinstance(rows.columns.get(name), np.ndarray):
            rollout = codes(np.nan_to_num(rows.columns[name], nan=-1.0))
            known = not np.isnan(rows.columns[name]).any()
        else:
            ids, output = rows.read_column(name, _text_ids, 2)
            rollout, known = codes(ids), bool((output >= 0).all())
        if known and (key := _rollout_of_row(rows, rollout)) is not None:
            _join(rows, key, name)
            return
    turns = [*rows.numbers(_TURNS), *(("step", column) for _, column in rows.numbers([TURN.lower()]))]
    for name, turn in turns:
        if (key := _counted_turns(rows, turn)) is not None:
            _join(rows, key, name)
            return


def _counted_turns(rows: ReadRows, turn: np.ndarray) -> np.ndarray | None:
    """Number of the rollout of each row, if the turns of each count up from the same number in consecutive rows."""
    change = np.diff(rows.groups, prepend=-1) != 0
    starts = turn == np.min(turn)
    up = np.diff(turn, prepend=np.nan) == 1
    if starts.all() or not (starts | up).all() or (change & ~starts).any():
        return None
    return np.cumsum(starts) - 1


def _text_ids(cells, n: int) -> list[np.ndarray]:
    """A hash of each rollout's id without the number of its output, and that number; -1 for a row without an id."""
    found: dict[str | None, tuple[int, int]] = {None: (0, -1)}
    texts = [
        None if cell is None or cell is MISSING else str(cell) for cell in ([None] * n if cells is None else cells)
    ]
    for text in {text for text in texts if text is not None}:
        parts = _SESSION.fullmatch(text)
        found[text] = (prompt_key(parts[1]), int(parts[2])) if parts else (prompt_key(text), 0)
    return list(np.array([found[text] for text in texts], dtype=np.int64).reshape(n, 2).T)


def _rollout_of_row(rows: ReadRows, rollout: np.ndarray) -> np.ndarray | None:
    """Number of the rollout that each row belongs to, or None if every row is one of its own."""
    groups = rows.groups
    within, across = paired(groups, rollout), paired(rows.step_codes, rollout)
    n_within, n_across, n_groups = (int(key.max()) + 1 for key in (within, across, groups))
    has_turns = TURN in rows.columns or any(True for _ in rows.numbers(_TURNS))
    if n_within < len(rows):
        # A name that all rows of a group share may be that of the group, unless their rewards are always the same.
        return within if has_turns or n_within > n_groups or _one_reward_each(rows, within) else None
    if n_across < len(rows):
        # Numbers from 0 in every group are no names of rollouts; a name that no other step or stretch has is one.
        consecutive = int((np.diff(across, prepend=-1) != 0).sum()) == n_across
        alone = int(rollout.max()) + 1 == n_across
        return across if consecutive and (alone or has_turns) else None
    return None


def _one_reward_each(rows: ReadRows, key: np.ndarray) -> bool:
    """Whether the rows with one key have one reward, and there is more than one reward."""
    rewards = [column for name, column in rows.columns.items() if name.startswith("reward:")]
    pairs = [int(paired(key, codes(reward)).max()) for reward in rewards]
    return max(pairs) == int(key.max()) and any(codes(reward).max() > 0 for reward in rewards)


def _join(rows: ReadRows, key: np.ndarray, name: str) -> None:
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    last = np.append(first[1:], len(order)) - 1
    sizes = np.diff(first, append=len(order))
    how = "the reward is the same in all of them"
    for column_name, column in rows.columns.items():
        if not column_name.startswith("reward:"):
            continue
        values = np.nan_to_num(column[order], nan=0.0)
        low, high = np.minimum.reduceat(values, first), np.maximum.reduceat(values, first)
        if (low == high).all():
            continue
        rest = np.add.reduceat(np.abs(values), first) - np.abs(values[last])
        if (rest > 0).any():
            k = int(np.argmax(rest > 0))
            shown = ", ".join(f"{value:g}" for value in column[order][first[k] : last[k] + 1][:5])
            raise ValueError(
                f"rows are turns of rollouts: by the column {name}, {sizes.max()} rows belong to one, and their "
                f"rewards differ ({shown}). Write one row a rollout with its return, or choose a column that holds the "
                "return with --columns reward=COLUMN"
            )
        column[order[first]] = column[order[last]]
        how = "the reward of the last is taken"
    kept = np.zeros(len(key), dtype=bool)
    kept[order[first]] = True
    rows.notes.doubt(
        f"Several rows belong to one rollout by the column {name} (up to {sizes.max()}): {len(key) - len(first):,} "
        f"rows are joined with the first of their rollout, and {how}."
    )
    rows.keep(kept)
