"""Which columns of a log are the step, the prompt and the reward."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kvar.readers.layouts import LAYOUTS
from kvar.readers.token_lists import LOGPROBS
from kvar.utils.checks import did_you_mean

__all__ = [
    *("IN_NAME", "PROMPT_NAMES", "STEP_NAMES"),
    "ColumnMap",
    "MissingColumnsError",
    "check_column_roles",
    "guess",
    "guess_notes",
    "listed",
    "map_columns",
    "parse_columns",
    "terms",
]

_SCHEMA = ("step", "prompt_id", "reward")
# Names by which columns are chosen, in lower case; the first that a log has is taken.
NAMES = {
    "step": (
        *("step", "global_step", "global_steps", "train_step", "training_step", "optimizer_step"),
        *("iteration", "iter", "update", "gen_step", "rollout_step", "rollout_id", "policy_version", "version"),
        "tail_version",
    ),
    "prompt": (
        *("prompt_id", "task_id", "problem_id", "question_id", "example_id"),
        *("prompt", "input", "question", "problem", "query", "instruction", "messages"),
        *("prompts", "inputs", "questions", "problems", "queries"),
    ),
    "reward": (
        *("reward", "total_reward", "score", "rewards", "scores", "return"),
        *("correct", "is_correct", "accuracy", "acc"),
    ),
}
STEP_NAMES, PROMPT_NAMES = NAMES["step"], NAMES["prompt"]
# What a step is called that no column holds.
IN_NAME = "the number in the file's name"
# A column with one of these words in its name may be a reward, whatever else it is called.
_REWARD_WORDS = {
    *("reward", "rewards", "score", "scores", "return", "returns", "correct", "correctness", "accuracy", "acc"),
    *("format", "grade", "pass", "passed", "success"),
}
_LISTED = 8
_NORM = "score_norm"
# Name in --columns of a column with lists of log-probabilities.
_CHOSEN_LOGPROBS = "logprobs"


class MissingColumnsError(ValueError):
    """No column can be the step, the prompt or the reward."""

    def __init__(self, missing: Sequence[str], message: str):
        super().__init__(message)
        self.missing = list(missing)  # Which of the three


@dataclass(frozen=True)
class ColumnMap:
    """Columns of a log that make up a trace."""

    layout: str  # Name of the layout: the trainer that writes such logs, or "table"
    step: str | None  # Column of the step; None where the name of the file holds it
    prompt: str  # Column of the prompt's id or text
    rewards: dict[str, float]  # Columns of rewards with their weights
    text_ids: bool = False  # Whether ids that are text stay text; else they are hashed
    weights_from: str | None = None  # Column of advantages, from which the weights of the rewards are estimated
    texts: list[str] = field(default_factory=list)  # Columns of text to keep
    extras: dict[str, str] = field(default_factory=dict)  # Further columns of numbers to keep, by their new names
    logprobs: str | None = None  # Column of lists of log-probabilities, which becomes ``score_norm`` in the extras
    # Columns chosen by their names alone, by ``step``, ``prompt`` or ``reward``.
    guessed: dict[str, str] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)  # Columns that could be the reward too, where that is guessed
    step_of_file: float | None = None  # The step in the name of the file

    @property
    def needed(self) -> list[str]:
        """Columns without which a file cannot be used."""
        return [*([self.step] if self.step else []), self.prompt, *self.rewards]

    @property
    def read(self) -> list[str]:
        """Columns that are read, as far as a file has them."""
        content = ["completion"] if self.layout == "trl" else []
        return list(dict.fromkeys([*self.needed, *self.extras.values(), *self.texts, *content]))


def parse_columns(text: str) -> dict[str, str]:
    """Parse ``prompt=question,step=iteration,reward=accuracy+0.5*format``."""
    result = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not column or not name:
            raise ValueError(
                f"--columns takes NAME=COLUMN, as in prompt=question,step=iteration,reward=score; got {part!r}"
            )
        result[name] = column
    return result


def check_column_roles(chosen: Iterable[str]) -> None:
    """Refuse a misspelt ``step``, ``prompt``, ``reward`` or ``logprobs``, which would be a further column."""
    roles = [*NAMES, _CHOSEN_LOGPROBS]
    for name in chosen:
        if name not in roles and (near := did_you_mean(name, roles, likeness=0.8)):
            raise ValueError(f"--columns {name}=... names none of {', '.join(roles)}{near}")


def map_columns(
    layout: str,
    columns: Sequence[str],
    numeric: Sequence[str],
    lists: Sequence[str],
    chosen: dict[str, str],
    step_of_file: float | None,
) -> ColumnMap:
    """Find step, prompt, reward and norm among the columns; the name of the file may hold the step."""
    for column in chosen.values():
        for name in terms(column, columns):
            if name not in columns:
                raise ValueError(
                    f"the log has no column {name!r}; it has {listed(columns)}{did_you_mean(name, columns)}"
                )
    found = {name: chosen.get(name) or _guess(name, layout, columns) for name in NAMES}
    rewards = _weights(found["reward"], columns) if found["reward"] else {}
    weights_from = None
    if (advantage := LAYOUTS[layout].advantage) and "reward" not in chosen:
        fixed = {"step", "prompt", "completion", advantage, _NORM, found["step"], found["prompt"]}
        rewards = {name: 1.0 for name in columns if name in numeric and name not in fixed}
        weights_from = advantage if len(rewards) > 1 else None
    prompt = found["prompt"] or ""
    given = {"step": found["step"] or step_of_file is not None, "prompt": prompt, "reward": rewards}
    missing = [name for name, value in given.items() if not value]
    if missing:
        example = ",".join(f"{name}=COLUMN" for name in missing)
        by_file = "; or write the rows of each step into a file or folder step_N" if "step" in missing else ""
        likely = [name for name in numeric if _like_a_reward(name)] if "reward" in missing else []
        by_sum = f"; perhaps reward={'+'.join(likely[:_LISTED])}" if likely else ""
        raise MissingColumnsError(
            missing,
            f"no column that looks like a {' or a '.join(missing)} among {listed(columns) or 'no columns'}; "
            f"name it with --columns {example} (in Python, columns={{'{missing[0]}': 'COLUMN'}}){by_sum}{by_file}",
        )
    in_use = {found["step"], found["prompt"], *rewards, *_SCHEMA}
    extras = {name: name for name in numeric if name not in in_use}
    extras |= {name: column for name, column in chosen.items() if name not in NAMES}
    logprobs = None if _NORM in extras else _logprobs(lists, chosen)
    if logprobs is not None:
        extras[_NORM] = logprobs
        extras.pop(_CHOSEN_LOGPROBS, None)
    # A trace written by kvar comes back as it was.
    own = layout == "kvar"
    texts = [name for name in columns if own and name not in numeric and name not in {*in_use, logprobs}]
    # A layout fixes its names, except for the step, which some of verl's dumps lack.
    open_to_guess = list(NAMES) if layout == "table" else ["step"] if found["step"] not in ("step", None) else []
    guessed = {n: found[n] or IN_NAME for n in open_to_guess if n not in chosen}
    unused = [name for name in numeric if name in extras and name not in chosen.values() and _like_a_reward(name)]
    passed_over = unused if "reward" in guessed else []
    return ColumnMap(
        *(layout, found["step"], prompt, rewards, own, weights_from, texts, extras, logprobs, guessed, passed_over),
        step_of_file,
    )


def listed(columns: Sequence[str]) -> str:
    """Names for an error message, cut: the header of a file that is no table may be a page of text."""
    more = f" and {len(columns) - 40} more" if len(columns) > 40 else ""
    return ", ".join(f"{name:.40}" for name in columns[:40]) + more


def guess_notes(maps: Iterable[ColumnMap]) -> list[str]:
    """One sentence on the columns chosen by their names, or none."""
    found: dict[str, dict[str, None]] = {}
    others: dict[str, None] = {}
    for column_map in maps:
        for name, column in column_map.guessed.items():
            found.setdefault(name, {})[column] = None
        others |= dict.fromkeys(column_map.passed_over)
    if not found:
        return []
    chosen = [f"{name} = {' or '.join(columns)}" for name, columns in found.items()]
    note = f"Columns used: {', '.join(chosen)}."
    if unused := [name for name in others if name not in found["reward"]]:
        more = f" and {len(unused) - _LISTED} more" if len(unused) > _LISTED else ""
        note += f" Not used as reward: {', '.join(unused[:_LISTED])}{more}."
    return [f"{note} Change this with --columns."]


def _like_a_reward(name: str) -> bool:
    return name != _NORM and not _REWARD_WORDS.isdisjoint(re.split("[^a-z]+", name.lower()))


def guess(name: str, columns: Sequence[str]) -> str | None:
    """The column that is the step, the prompt or the reward by its name alone."""
    return _guess(name, "table", columns)


def _guess(name: str, layout: str, columns: Sequence[str]) -> str | None:
    fixed = LAYOUTS[layout].columns
    if name in fixed:
        return fixed[name]
    lower = {column.lower(): column for column in reversed(columns)}
    return next((lower[guess] for guess in NAMES[name] if guess in lower), None)


def _logprobs(lists: Sequence[str], chosen: dict[str, str]) -> str | None:
    lower = {column.lower(): column for column in lists}
    names = [chosen[_CHOSEN_LOGPROBS].lower()] if _CHOSEN_LOGPROBS in chosen else LOGPROBS
    return next((lower[name] for name in names if name in lower), None)


def terms(expression: str, columns: Sequence[str]) -> list[str]:
    """The columns and paths in ``a+0.5*b``."""
    return list(_weights(expression, columns))


def _weights(expression: str, columns: Sequence[str]) -> dict[str, float]:
    """Weights from ``a+0.5*b``; a name that is a column is never split."""
    if expression in columns:
        return {expression: 1.0}
    weights = {}
    for term in (term.strip() for term in expression.split("+")):
        factor, times, name = (piece.strip() for piece in term.partition("*"))
        if term in columns or not times:
            weights[term] = 1.0
            continue
        try:
            weights[name] = float(factor)
        except ValueError:
            weights[term] = 1.0
    return weights
