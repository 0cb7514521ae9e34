"""Layouts of the logs that trainers write: how each is recognised, and which of its columns are which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["LAYOUTS", "Layout", "LayoutName", "layout_names", "layout_of"]

# For type checkers.
LayoutName = Literal[
    "kvar", "trl", "ms-swift", "verl", "areal", "skyrl", "slime", "nemo-rl", "prime-rl", "open-instruct", "openrlhf",
    "table",
]  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """What one trainer writes."""

    needs: frozenset[str]  # Columns by which it is recognised
    # Columns or paths of step, prompt and reward; the step is None where it stands in the name of a file or folder.
    columns: dict[str, str | None] = field(default_factory=dict)
    lacks: frozenset[str] = frozenset()  # Columns that it never has
    advantage: str | None = None  # Column of advantages; the other numbers are then rewards
    refusal: str = ""  # Why such a log cannot be audited as it is


def _layout(
    needs: str, advantage: str | None = None, refusal: str = "", lacks: str = "", **columns: str | None
) -> Layout:
    return Layout(frozenset(needs.split()), columns, frozenset(lacks.split()), advantage, refusal)


# The first whose columns a file has is taken, and anything may be a table.
LAYOUTS = {
    "kvar": _layout("step prompt_id reward"),
    "trl": _layout("step prompt completion advantage", "advantage", prompt="prompt"),
    "ms-swift": _layout(
        "prompt completion advantages", "advantages", lacks="advantage reward rewards score", prompt="prompt"
    ),
    "verl": _layout("input output score", prompt="input", reward="score"),
    "areal": _layout(
        "task_id sample_idx tail_version reward prompt", step="tail_version", prompt="prompt", reward="reward"
    ),
    "skyrl": _layout("input_prompt output_response score", step=None, prompt="input_prompt", reward="score"),
    # Its rollout_id counts samples.
    "slime": _layout("group_index index prompt response reward", step=None, prompt="prompt", reward="reward"),
    "nemo-rl": _layout("content rewards input_lengths", step=None, prompt="content[0][0]", reward="rewards[0]"),
    "prime-rl": _layout("task traces", step=None, prompt="task.data", reward="sum(traces[0].rewards)"),
    # Its prompt_idx is a position in the batch.
    "open-instruct": _layout(
        "step prompt_idx prompt_tokens response_tokens reward", step="step", prompt="prompt_tokens", reward="reward"
    ),
    "openrlhf": _layout(
        "global_step text reward",
        refusal="this is OpenRLHF's table of samples, one a step, with prompt and answer in one text, from which "
        "nothing can be learned about a prompt: write step, prompt and reward of every rollout as JSON Lines; or if "
        "text is the prompt alone, say so with --columns prompt=text",
        step="global_step",
        prompt="text",
        reward="reward",
    ),
    "table": _layout(""),
}


def layout_names() -> list[str]:
    """Names of the layouts that can be read."""
    return list(LAYOUTS)


def layout_of(columns: Iterable[str]) -> str:
    """The layout of a file with these columns."""
    present = set(columns)
    return next(name for name, layout in LAYOUTS.items() if layout.needs <= present and not layout.lacks & present)
