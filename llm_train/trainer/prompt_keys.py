"""Ids by which a history knows the prompts of a batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

from accelerate.utils import gather_object

from kvar.rollouts.prompt_ids import prompt_key

__all__ = ["PromptKeys", "has_environments"]


def has_environments(trainer: Any) -> bool:
    """Whether the prompts of a trainer are made by environments; TRL 1.8 and later fill `environments` at a batch."""
    return bool(getattr(trainer, "environment_factories", None) or getattr(trainer, "environments", None))


class PromptKeys:
    """Ids of the prompts of a trainer: from a column, by a function of the example, or from the text of the prompt.

    Where environments make the prompts, an id is that of the text after ``reset()`` and of all other columns of the
    example, among them the name of the environment: what ``reset()`` is given may differ where its text does not.
    """

    def __init__(self, trainer: Any, column: str | None = None, function: Callable[[dict], int | str] | None = None):
        if column is not None and function is not None:
            raise ValueError(
                f"prompt_id_column={column!r} and prompt_key_func both say what the id of a prompt is: leave one out"
            )
        self._trainer, self._column, self._function = trainer, column, function

    @property
    def needs_text(self) -> bool:
        """Whether ids come from the text of the prompts."""
        return self._column is None and self._function is None

    @property
    def by_example(self) -> bool:
        """Whether an example alone has an id, before a prompt is made of it."""
        return not (self.needs_text and has_environments(self._trainer))

    def of_example(self, example: dict) -> int | str:
        """Id of an example of the dataset."""
        if self._function is not None:
            found = self._function(example)
            if isinstance(found, bool) or not isinstance(found, Integral | str):
                raise TypeError(f"prompt_key_func must return an integer or a string, got {found!r:.80}")
            return found if isinstance(found, str) else int(found)
        if self._column is None:
            return prompt_key(example["prompt"])
        try:
            return example[self._column]
        except KeyError:
            raise ValueError(
                f"prompt_id_column={self._column!r} is not a column of the dataset: choose one of {', '.join(example)}"
            ) from None

    def before(self, inputs: Sequence[dict]) -> list:
        """What is known of the examples of this process before rewards or environments can change them."""
        if self.by_example:
            return [self.of_example(example) for example in inputs]
        columns = ({name: value for name, value in example.items() if name != "prompt"} for example in inputs)
        return [json.dumps(some, sort_keys=True, default=lambda value: type(value).__name__) for some in columns]

    def gathered(self, before: list, prompts: Sequence, group_size: int) -> list[int | str]:
        """Ids of the N rollouts of all processes; refused if a group has more than one."""
        if not self.by_example:
            before = [prompt_key([known, prompt]) for known, prompt in zip(before, prompts, strict=True)]
        keys = gather_object(before)
        for k, key in enumerate(keys):
            if key != (first := keys[k - k % group_size]):
                raise ValueError(
                    f"the rollouts of one group have different prompts, {first!r:.60} and {key!r:.60}: let reset() "
                    "make the same task of the same example, say by a seed in a column, or pass prompt_key_func"
                )
        return keys
