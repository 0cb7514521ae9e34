"""Which column of a log is what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

__all__ = ["ColumnMap", "listed", "map_columns", "parse_columns", "taken"]

_SCHEMA = ("step", "prompt_id", "reward")
_GUESSES = {
    "step": (
        *("step", "global_step", "global_steps", "train_step", "training_step", "optimizer_step"),
        *("iteration", "iter", "update", "rollout_step", "rollout_id", "policy_version", "version"),
    ),
    "prompt": (
        *("prompt_id", "task_id", "problem_id", "question_id", "example_id"),
        *("prompt", "input", "question", "problem", "query", "instruction", "messages"),
    ),
    "reward": (
        *("reward", "total_reward", "score", "rewards", "scores", "return"),
        *("correct", "is_correct", "accuracy", "acc"),
    ),
}
# A column with one of these words in its name may be a reward, whatever else it is called.
_REWARD_WORDS = {
    *("reward", "rewards", "score", "scores", "return", "returns", "correct", "correctness", "accuracy", "acc"),
    *("format", "grade", "pass", "passed", "success"),
}
_LISTED = 8


@dataclass(frozen=True)
class ColumnMap:
    """Where a log has what a trace needs.

    Attributes
    ----------
    layout : str
        Who writes such logs.
    step : str or None
        Column of the step; None where the number in the file's name is the step.
    prompt : str
        Column of the prompt, an id or the prompt itself.
    rewards : dict of str to float
        Columns of rewards with their weights.
    text_ids : bool
        Ids that are text stay text; else they are hashed.
    weights_from : str or None
        Column of advantages that tell the weights of the rewards.
    texts : list of str
        Columns that are not numbers and taken along all the same.
    extras : dict of str to str
        Further columns to take along, by the name that they shall have.
    guessed : dict of str to str
        What neither the user nor the layout has said: ``step``, ``prompt`` or ``reward``, and where it is taken from.
    passed_over : list of str
        Columns that could be the reward as well, where that is guessed.
    """

    layout: str
    step: str | None
    prompt: str
    rewards: dict[str, float]
    text_ids: bool = False
    weights_from: str | None = None
    texts: list[str] = field(default_factory=list)
    extras: dict[str, str] = field(default_factory=dict)
    guessed: dict[str, str] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)

    @property
    def needed(self) -> list[str]:
        """Columns without which a file is of no use."""
        return [*([self.step] if self.step else []), self.prompt, *self.rewards]


def parse_columns(text: str) -> dict[str, str]:
    """Read ``prompt=question,step=iteration,reward=accuracy+0.5*format``."""
    result = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not column or not name:
            raise ValueError(
                f"--columns takes NAME=COLUMN, as in prompt=question,step=iteration,reward=score; got {part!r}"
            )
        result[name] = column
    return result


def map_columns(
    layout: str, columns: Sequence[str], numeric: Sequence[str], chosen: dict[str, str], numbered: bool
) -> ColumnMap:
    """Find what a trace needs among the columns of a log."""
    for column in chosen.values():
        for name in _weights(column, columns):
            if name not in columns:
                raise ValueError(f"the log has no column {name!r}; it has {listed(columns)}")
    found = {name: chosen.get(name) or _guess(name, layout, columns) for name in _GUESSES}
    rewards = _weights(found["reward"], columns) if found["reward"] else {}
    weights_from = None
    if layout == "trl" and "reward" not in chosen:
        fixed = {"step", "prompt", "completion", "advantage", found["step"], found["prompt"]}
        rewards = {name: 1.0 for name in columns if name in numeric and name not in fixed}
        weights_from = "advantage" if len(rewards) > 1 else None
    prompt = found["prompt"] or ""
    given = {"step": found["step"] or numbered, "prompt": prompt, "reward": rewards}
    missing = [name for name, value in given.items() if not value]
    if missing:
        example = ",".join(f"{name}=COLUMN" for name in missing)
        raise ValueError(
            f"no column that looks like a {' or a '.join(missing)} among {listed(columns) or 'no columns'}; "
            f"name it by --columns {example} (in Python, columns={{'{missing[0]}': 'COLUMN'}})"
        )
    in_use = {found["step"], found["prompt"], *rewards, *_SCHEMA}
    extras = {name: name for name in numeric if name not in in_use}
    extras |= {name: column for name, column in chosen.items() if name not in _GUESSES}
    # What was recorded by ourselves comes back as it was.
    own = layout == "kvar"
    texts = [name for name in columns if own and name not in numeric and name not in in_use]
    # A layout fixes its names, but for the step of verl's dumps, which some of them lack.
    open_to_guess = list(_GUESSES) if layout == "table" else ["step"] if found["step"] not in ("step", None) else []
    guessed = {n: found[n] or "the number in the file's name" for n in open_to_guess if n not in chosen}
    unused = [name for name in numeric if name in extras and name not in chosen.values() and _like_a_reward(name)]
    passed_over = unused if "reward" in guessed else []
    return ColumnMap(layout, found["step"], prompt, rewards, own, weights_from, texts, extras, guessed, passed_over)


def listed(columns: Sequence[str]) -> str:
    """Columns as an error names them: a file that is no table may have a page of text in their place."""
    more = f" and {len(columns) - 40} more" if len(columns) > 40 else ""
    return ", ".join(f"{name:.40}" for name in columns[:40]) + more


def taken(maps: Iterable[ColumnMap]) -> list[str]:
    """Say which columns were taken by their names."""
    found: dict[str, dict[str, None]] = {}
    others: dict[str, None] = {}
    for column_map in maps:
        for name, column in column_map.guessed.items():
            found.setdefault(name, {})[column] = None
        others |= dict.fromkeys(column_map.passed_over)
    if not found:
        return []
    listed = [f"{name} = {' or '.join(columns)}" for name, columns in found.items()]
    remark = f"Taken: {', '.join(listed)}."
    if unused := [name for name in others if name not in found["reward"]]:
        more = f" and {len(unused) - _LISTED} more" if len(unused) > _LISTED else ""
        remark += f" Not used as reward: {', '.join(unused[:_LISTED])}{more}."
    return [f"{remark} Change it by --columns."]


def _like_a_reward(name: str) -> bool:
    return not _REWARD_WORDS.isdisjoint(re.split("[^a-z]+", name.lower()))


def _guess(name: str, layout: str, columns: Sequence[str]) -> str | None:
    fixed = {"verl": {"prompt": "input", "reward": "score"}, "trl": {"prompt": "prompt"}}.get(layout, {})
    if name in fixed:
        return fixed[name]
    lower = {column.lower(): column for column in reversed(columns)}
    return next((lower[guess] for guess in _GUESSES[name] if guess in lower), None)


def _weights(expression: str, columns: Sequence[str]) -> dict[str, float]:
    """``a+0.5*b`` as weights; a name that is a column is never taken apart."""
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
