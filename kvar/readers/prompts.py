"""Whether the ids of prompts tell them apart, and what to take where they do not."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from kvar.readers.columns import PROMPT_NAMES
from kvar.readers.prompt_cells import prompt_ids
from kvar.readers.prompt_forms import PromptForms, lacks_media
from kvar.readers.prompt_text import first_date, is_conversation, plain_text, without_dates, without_padding
from kvar.readers.read_rows import ReadRows, codes, paired
from kvar.readers.table_file import MISSING, UnreadableError
from kvar.rollouts.prompt_ids import prompt_key

__all__ = ["settle_prompts"]

_ENVIRONMENTS = (
    *("env", "env_id", "env_name", "env_class", "environment", "data_source", "dataset", "dataset_name"),
    *("task", "task_name", "taskset", "domain"),
)
_IS_ID = ("id", "idx", "index", "uid", "ids", "key", "no", "number")
_MOST_ENVIRONMENTS = 200
# Names of columns that hold the text of a prompt, whatever stands beside.
_PROMPT = re.compile(r"prompt|question|problem|query|instruction|message|conversation")
# Files whose first rows are compared.
_HEADS = 50


def settle_prompts(rows: ReadRows, forms: PromptForms) -> None:
    """Repair the ids of prompts where the log shows how, and say what it shows."""
    if len(rows) == 0:
        return
    if forms.n_texts and forms.n_messages:
        _join_texts_and_messages(rows)
    if forms.n_dated > 0.5 * forms.n_read:
        _mask_dates(rows)
    if forms.padding:
        _strip_padding(rows, forms.padding.most_common(1)[0][0])
    if _leave_ids_of_the_batch(rows):
        return
    if not _scope_to_environments(rows):
        _leave_ids_of_several_texts(rows)
    if forms.n_without_media:
        _say_missing_media(rows)


def _say_missing_media(rows: ReadRows) -> None:
    _, lack = _again(rows, lambda prompt: (None, int(lacks_media(prompt)) + 1))
    rows.notes.doubt(
        f"{(lack == 2).sum():,} rows have prompts with an image or other media that the log does not hold: prompts "
        "that differ in it only count as one. Log a column of ids and name it with --columns prompt=COLUMN."
    )


def _again(rows: ReadRows, change: Callable) -> list[np.ndarray]:
    """Ids of the prompts after a change that returns the changed prompt and one more value of each."""

    def make(file, piece):
        cells = piece.columns.get(file.columns.prompt, [None] * len(piece.rows))
        pairs = [(None, None) if c is None or c is MISSING else change(c) for c in cells]
        return [prompt_ids([pair[k] for pair in pairs])[0] for k in (0, 1)]

    return rows.read_again(lambda file: [file.columns.prompt], make, 2)


def _n(ids: np.ndarray) -> int:
    return int(ids.max(initial=-1)) + 1


def _join_texts_and_messages(rows: ReadRows) -> None:
    ids, is_text = _again(rows, lambda prompt: (plain_text(prompt) or None, 2 - int(is_conversation(prompt))))
    in_text, in_messages = np.unique(ids[is_text == 2]), np.unique(ids[is_text == 1])
    n_text, n_messages = int((is_text == 2).sum()), int((is_text == 1).sum())
    forms = f"Prompts are text in {n_text:,} rows and messages in {n_messages:,}"
    if len(np.intersect1d(in_text, in_messages, assume_unique=True)):
        rows.replace("prompt_id", ids)
        rows.notes.remarks.append(f"{forms}; those that say the same are one prompt.")
    else:
        rows.notes.doubt(
            f"{forms}, and none is found in both forms: the same prompt may count as two. Name a column of ids with "
            "--columns prompt=COLUMN."
        )


def _mask_dates(rows: ReadRows) -> None:
    ids, dates = _again(rows, lambda prompt: (without_dates(prompt), first_date(prompt)))
    date, masked = codes(dates), codes(ids)
    # A date of the day is the same all over a step; the dates in questions are not.
    if _n(date) < 2 or _n(paired(rows.step_codes, date)) > 1.5 * _n(rows.step_codes) + 1:
        return
    if _n(masked) < (n_before := _n(rows.prompt_codes)):
        rows.replace("prompt_id", ids)
        rows.notes.remarks.append(
            f"{_n(date)} dates stand in the prompts, one at each step: without them {n_before:,} prompts are "
            f"{_n(masked):,}, which are used."
        )


def _strip_padding(rows: ReadRows, token) -> None:
    ids, _ = _again(rows, lambda prompt: (without_padding(prompt, token), None))
    if (n_after := _n(codes(ids))) < (n_before := _n(rows.prompt_codes)):
        rows.replace("prompt_id", ids)
        rows.notes.remarks.append(
            f"Prompts are lists of tokens, padded with {token}: without padding {n_before:,} prompts are {n_after:,}."
        )


def _leave_ids_of_the_batch(rows: ReadRows) -> bool:
    """Take another column for the prompt where ids never come back, or are positions in the batch."""
    if _n(rows.step_codes) < 3:
        return False
    if _n(rows.groups) <= 1.02 * _n(rows.prompt_codes):
        return _take_other_column(rows, "never comes back", several=False)
    if not _are_positions(rows, rows.columns["prompt_id"]):
        return False
    fault = "counts from the same number at every step, as positions in the batch do"
    if _take_other_column(rows, fault, several=True):
        return True
    # What kvar writes itself has ids of prompts, and numbers the rollouts of each.
    if "rollout" not in rows.columns:
        rows.notes.doubt(
            f"The prompt {rows.files[0].columns.prompt} {fault}. If that is what it is, name a column of ids or texts "
            "with --columns prompt=COLUMN."
        )
    return False


def _leave_ids_of_several_texts(rows: ReadRows) -> None:
    """Take another column for the prompt where the same id has several texts."""
    fault = "has different texts"
    used = rows.files[0].columns.prompt
    if _have_several_texts(rows, used) and not _take_other_column(rows, fault, several=True):
        rows.notes.doubt(
            f"The prompt {used} {fault}. If it does not tell prompts apart, name another column with --columns "
            "prompt=COLUMN."
        )


def _ids(cells: np.ndarray | list | None, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `prompt_ids`, of n rows that may lack the column."""
    return prompt_ids([None] * n if cells is None else cells)


def _take_other_column(rows: ReadRows, fault: str, several: bool) -> bool:
    """Take the first column that comes back, and that has several values for one id if that is asked for."""
    used = rows.files[0].columns.prompt
    step, prompt = rows.step_codes, rows.prompt_codes
    n_pairs = _n(rows.groups)
    for name in _other_prompts(rows, used):
        ids, missing = rows.read_column(
            name, lambda cells, n: prompt_ids([None] * n if cells is None else cells)[:2], 2
        )
        other = codes(ids)
        n_other_pairs = _n(paired(step, other))
        if missing.mean() > 0.05 or n_other_pairs <= 1.5 * _n(other):
            continue
        if several and _n(paired(prompt, other)) <= 1.05 * _n(prompt):
            continue
        # The other column must have as many groups as the ids, unless these have none, or merge prompts.
        same_groups = n_pairs == len(rows) or n_other_pairs >= 0.9 * n_pairs
        named = name.lower() in PROMPT_NAMES or _PROMPT.search(name.lower())
        if not named and (not same_groups or _is_counted(step, ids)):
            continue
        if "prompt" in rows.chosen or not same_groups or not named:
            rows.notes.doubt(
                f"The prompt {used} {fault}, but {name} comes back. If that names the prompt, use --columns "
                f"prompt={name}."
            )
        else:
            rows.replace("prompt_id", ids)
            rows.notes.doubt(
                f"The prompt is {name}, because {used} {fault} and {name} comes back. If that is wrong, choose with "
                f"--columns prompt={used}."
            )
        return True
    return False


def _other_prompts(rows: ReadRows, used: str) -> list[str]:
    """Columns that may name the prompt: those of known names first, then others of text, then ids."""
    numeric = {name for file in rows.files for name in file.table.numeric}
    columns = list(dict.fromkeys(name for file in rows.files for name in file.table.columns))
    texts = [name for name in columns if _PROMPT.search(name.lower()) and name not in numeric]
    ids = [name for name in columns if _ends_like_an_id(name)]
    return [name for name in dict.fromkeys([*rows.in_files(PROMPT_NAMES), *texts, *ids]) if name != used]


def _have_several_texts(rows: ReadRows, used: str) -> bool:
    """Whether an id has several texts in the first rows of the files."""
    if not _ends_like_an_id(used):
        return False
    found: dict[str, set] = {}
    for name in [name for name in _other_prompts(rows, used) if not _ends_like_an_id(name)][:1]:
        for file in rows.files[:_HEADS]:
            try:
                head = file.table.head([used, name])
            except UnreadableError:  # a column that nobody has read may be damaged
                continue
            for key, text in zip(head.get(used, []), head.get(name, []), strict=False):
                if isinstance(text, (str, list)) and text:
                    found.setdefault(repr(key), set()).add(repr(without_dates(text)))
    return sum(len(texts) > 1 for texts in found.values()) > 0.05 * len(found)


def _ends_like_an_id(name: str) -> bool:
    return re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())[-1] in _IS_ID


def _is_counted(step: np.ndarray, ids: np.ndarray) -> bool:
    """Whether whole numbers are the same few ones at every step, as positions in a batch or in a group are."""
    code = codes(ids)
    return _n(paired(step, code)) > 0.9 * _n(step) * _n(code)


def _are_positions(rows: ReadRows, ids) -> bool:
    """Whether the ids of every step are 0, 1, 2 and so on, or 1, 2, 3."""
    step, prompt, n_steps = rows.step_codes, rows.prompt_codes, _n(rows.step_codes)
    first = np.zeros(_n(rows.groups), dtype=np.int64)
    first[rows.groups] = step
    n_different = np.bincount(first, minlength=n_steps)
    if not 1 < n_different.max() == _n(prompt):
        return False
    if not isinstance(ids, np.ndarray) or ids.dtype.kind != "i" or not (ids >= 0).all() or ids.max() > len(rows):
        # Numbers in text.
        (ids,) = _again(rows, lambda prompt: (_number(prompt), None))[:1]
    if ids.min() not in (0, 1) or ids.max() > len(rows):
        return False
    top = np.full(n_steps, -1, dtype=np.int64)
    np.maximum.at(top, step, ids)
    return bool((n_different == top - ids.min() + 1).all())


def _number(prompt) -> int:
    """The whole number that a prompt is, or -1."""
    return int(prompt) if isinstance(prompt, str) and prompt.isdecimal() and len(prompt) < 16 else -1


def _scope_to_environments(rows: ReadRows) -> bool:
    """Tell apart equal ids of several environments; whether there are any."""
    used = rows.files[0].columns.prompt
    ids = rows.columns["prompt_id"]
    if not isinstance(ids, np.ndarray) or not _ends_like_an_id(used):
        return False
    for name in [name for name in rows.in_files(_ENVIRONMENTS) if name != used]:
        (of_row,) = rows.read_column(name, lambda cells, n: _ids(cells, n)[:1], 1)
        environment = codes(of_row)
        n_scoped = _n(paired(rows.prompt_codes, environment))
        if not 1 < _n(environment) <= _MOST_ENVIRONMENTS or n_scoped <= (n_before := _n(rows.prompt_codes)):
            continue
        if "prompt" in rows.chosen:
            rows.notes.doubt(
                f"The same {used} occurs with several values of {name}: {n_before:,} prompts may be {n_scoped:,}. If "
                f"the ids count within {name}, leave prompt out of --columns."
            )
            return True
        scope = np.array([prompt_key(str(value)) for value in np.unique(of_row)])
        with np.errstate(over="ignore"):
            rows.replace("prompt_id", ids.astype(np.int64) * 1_000_003 + scope[environment])
        rows.notes.remarks.append(
            f"The same {used} occurs with several values of {name}: a prompt is a {used} within a {name}, which makes "
            f"{n_scoped:,} instead of {n_before:,}."
        )
        return True
    return False
