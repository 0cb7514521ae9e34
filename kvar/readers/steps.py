"""Which of a log's columns is the training step, judged by what it does from row to row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kvar.readers.columns import IN_NAME, STEP_NAMES
from kvar.readers.read_rows import TURN, ReadRows, codes, paired
from kvar.readers.step_in_name import steps_in_names

__all__ = ["settle_steps"]

# Names that trainers also give to samples.
_OF_SAMPLES = ("rollout_id", "rollout_step")
_EPOCHS = ("epoch", "epochs", "epoch_idx", "cur_epoch", "current_epoch")
_AGAIN = "starts again"
_ONE_PROMPT = "has one prompt at each of"


def settle_steps(rows: ReadRows) -> None:
    """Replace a step that belongs to a sample or counts turns by a better one, and join steps within epochs."""
    if "step" not in rows.chosen:
        _choose(rows)
    _join_epochs(rows)


def _choose(rows: ReadRows) -> None:
    used = rows.files[0].columns.step or IN_NAME
    name, values = used, rows.step
    reasons = {}
    others = dict(_others(rows, used))
    for name, values in [(used, rows.step), *others.items()]:
        reason = _reason_against(name, values, others, rows)
        if reason is None:
            break
        reasons[name] = reason
    else:
        if used.lower() in _OF_SAMPLES or (used == IN_NAME and _ONE_PROMPT in reasons[used]):
            raise ValueError(
                f"no column is the training step: {'; '.join(f'{n} {why}' for n, why in reasons.items())}. Name the "
                "column of the step with --columns step=COLUMN, or put each step into a file step_N"
            )
        # In a trace of kvar's own a step may have one rollout.
        if rows.files[0].columns.layout != "kvar" and reasons[used].startswith("has a value"):
            rows.notes.doubt(
                f"The step {used} {reasons[used]}, so no two rollouts share a step. If it counts samples, name the "
                "training step with --columns step=COLUMN."
            )
        return
    if name == used:
        return
    said = "; ".join(f"{n} {why}" for n, why in reasons.items())
    rows.notes.doubt(f"The step is {name}, because {said}. If that is wrong, choose with --columns step={used}.")
    if _AGAIN in reasons[used]:
        rows.columns[TURN] = rows.step
    elif used not in ("step", IN_NAME):
        rows.columns[used] = rows.step
    rows.replace("step", values.astype(np.float64))


def _others(rows: ReadRows, used: str) -> Iterator[tuple[str, np.ndarray]]:
    for name, values in rows.numbers(STEP_NAMES[1:]):
        if name != used and np.isfinite(values).all() and values.min() < values.max():
            yield name, values
    steps = steps_in_names(rows.paths(), bare=True)
    if used != IN_NAME and len(rows.files) > 1 and None not in steps:
        yield IN_NAME, np.repeat(np.array(steps, dtype=np.float64), [f.stop - f.start for f in rows.files])


def _reason_against(name: str, values: np.ndarray, others: dict[str, np.ndarray], rows: ReadRows) -> str | None:
    """Why a column is not the training step, or None."""
    value_codes = codes(values)
    n_values, n = int(value_codes.max(initial=0)) + 1, len(values)
    if n_values == 1 and any((np.diff(other) >= 0).all() for other in others.values()):
        return "is the same in all rows"
    if n_values == n and n > 1:
        return "has a value of its own in every row"
    n_prompts = int(rows.prompt_codes.max(initial=0)) + 1
    groups = rows.groups if values is rows.step else paired(value_codes, rows.prompt_codes)
    n_pairs = int(groups.max(initial=0)) + 1
    if name.lower() in _OF_SAMPLES and n_prompts > 1 and n_pairs == n_values > 1:
        return f"{_ONE_PROMPT} its values, as a number of samples has"
    if name == IN_NAME and n_pairs < 1.5 * n_values and n_prompts > 1:
        return f"{_ONE_PROMPT} the files"
    back = np.diff(values) < 0
    if back.sum() <= n_values:
        return None
    # A turn starts again while the training step stays.
    for other, numbers in others.items():
        change = np.diff(numbers)
        if other != name and (change < 0).sum() < 0.1 * back.sum() and (change[back] == 0).mean() > 0.5:
            return f"{_AGAIN} {int(back.sum()):,} times, mostly within one {other}, as a turn does"
    return None


def _join_epochs(rows: ReadRows) -> None:
    """Count steps on over the epochs, where they start again in each."""
    steps = rows.step
    back = np.flatnonzero(np.diff(steps) < 0)
    if not len(back):
        return
    for name, values in rows.numbers(_EPOCHS):
        epoch = np.floor(values)
        if np.isfinite(epoch).all() and (np.diff(epoch)[back] > 0).mean() > 0.95:
            length = steps.max() - steps.min() + 1
            rows.replace("step", steps + (epoch - epoch.min()) * length)
            rows.notes.remarks.append(
                f"Steps start again in each {name} ({len(back)} times), so they are counted on: step + {length:g} * "
                f"{name}."
            )
            return
