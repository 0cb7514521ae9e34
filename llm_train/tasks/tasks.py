"""What a policy is to learn: prompts, a judge of answers, and examples to imitate before."""

from __future__ import annotations

import difflib
import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset, Features, Value
from transformers.utils import logging

from kvar.rollouts.prompt_ids import prompt_key
from llm_train.policy.exact_value import ExactValue
from llm_train.policy.tiny import answer_reward, skewed_sums, sums
from llm_train.tasks.answers import math_reward, text_reward, verifier_reward
from llm_train.tasks.arguments import DATA_LOADERS, RunArguments

__all__ = ["Task", "load_task"]

logger = logging.get_logger(__name__)

_WORKED_SUMS = "2+3=5\n14+7=21\n38+45=83\n"


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes
    ----------
    train : datasets.Dataset
        Prompts to train on, with the columns ``prompt`` and ``answer``.
    held_out : datasets.Dataset or None
        Other prompts, for evaluation.
    reward : callable
        A reward function of TRL.
    exact_value : callable or None
        ``exact_value(model, examples)`` where the value of a prompt can be computed.
    demonstrations : callable
        ``demonstrations(seed)`` yields dicts with ``prompt`` and ``completion``, without end.
    """

    train: Dataset
    held_out: Dataset | None
    reward: Callable
    exact_value: Callable | None
    demonstrations: Callable[[int], Iterator[dict]]


def load_task(run: RunArguments, tokenizer, seed: int) -> Task:
    """Make or read a task."""
    if run.task == "sums":
        return _sums(run, tokenizer, seed)
    if run.is_file:
        task = _from_rows(_file_rows(run), run, tokenizer, seed)
    elif run.is_family:
        task = _reasoning_gym(run, tokenizer, seed)
    else:
        from datasets import load_dataset

        task = _from_rows(load_dataset(run.task, split="train", **run.task_kwargs), run, tokenizer, seed)
    if run.tiny:
        unknown = {c for prompt in task.train["prompt"] for c in prompt if c not in tokenizer.get_vocab()}
        if unknown:
            raise ValueError(
                f"the tiny policy reads digits, + - * = and the space only, but the prompts of task {run.task!r} hold "
                f"{''.join(sorted(unknown))[:20]!r}; choose another --model"
            )
    return task


def _sums(run: RunArguments, tokenizer, seed: int) -> Task:
    if run.n_prompts + run.n_held_out > (run.largest + 1) ** 2:
        raise ValueError(
            f"there are {(run.largest + 1) ** 2} sums of operands up to {run.largest}, fewer than --n_prompts "
            f"{run.n_prompts} and --n_held_out {run.n_held_out} together; raise --largest"
        )
    train = sums(run.n_prompts, run.largest, seed)
    held_out = sums(run.n_held_out, run.largest, seed, without=train) if run.n_held_out else None
    context = ""
    if not run.tiny:
        # Worked sums show a language model the form, and it ends its answer with the line.
        context = _WORKED_SUMS
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(tokenizer("1\n", add_special_tokens=False)["input_ids"])[
            -1
        ]

    def in_context(row):
        return {"prompt": context + row["prompt"]}

    def demonstrations(seed):
        for row in skewed_sums(run.largest, seed):
            yield {"prompt": context + row["prompt"], "completion": row["answer"] + tokenizer.eos_token}

    return Task(
        train=train.map(in_context),
        held_out=held_out and held_out.map(in_context),
        reward=answer_reward(tokenizer),
        exact_value=ExactValue(tokenizer),
        demonstrations=demonstrations,
    )


def _file_rows(run: RunArguments) -> Dataset:
    from datasets import load_dataset

    if not Path(run.task).is_file():
        raise ValueError(f"--task {run.task}: there is no such file")
    return load_dataset(DATA_LOADERS[Path(run.task).suffix], data_files=run.task, split="train")


def _from_rows(rows: Dataset, run: RunArguments, tokenizer, seed: int) -> Task:
    for name in (run.prompt_column, run.answer_column):
        if name not in rows.column_names:
            raise ValueError(
                f"task {run.task!r} has no column {name!r}; it has {', '.join(rows.column_names)}. Name the right ones "
                "with --prompt_column and --answer_column"
            )
    names = {run.prompt_column: "prompt", run.answer_column: "answer"}
    # Such as the short answers of a data set whose solutions are to be the answers.
    rows = rows.remove_columns([name for name in names.values() if name in rows.column_names and name not in names])
    rows = rows.rename_columns({old: new for old, new in names.items() if old != new})
    whole = rows.filter(lambda row: not (_is_missing(row["prompt"]) or _is_missing(row["answer"])))
    if left_out := len(rows) - len(whole):
        logger.warning("Task %r: %d of %d rows have no prompt or no answer: left out.", run.task, left_out, len(rows))
    # Without the type named, text that reads like a number would become one again in a column of numbers.
    as_text = Features({**whole.features, "answer": Value("string")})
    rows = whole.map(lambda row: {"answer": _as_answer(row["answer"])}, features=as_text)
    rows = rows.map(lambda row: {"prompt": _as_prompt(row["prompt"], tokenizer)})
    return _task(rows, run, math_reward if run.reward == "math" else text_reward, seed)


def _reasoning_gym(run: RunArguments, tokenizer, seed: int) -> Task:
    from reasoning_gym.factory import CURRICULA, DATASETS, create_curriculum, create_dataset

    if run.task not in DATASETS:
        near = difflib.get_close_matches(run.task, ["sums", *DATASETS], 3)
        raise ValueError(
            f"unknown task {run.task!r}: neither 'sums', nor a family of reasoning-gym, nor a file, nor OWNER/NAME"
            + (f"; did you mean {' or '.join(near)}?" if near else "")
        )
    parameters = dict(run.task_kwargs)
    if run.difficulty is not None:
        if run.task not in CURRICULA:
            raise ValueError(f"{run.task!r} has no curriculum; set its parameters by --task_kwargs instead")
        curriculum = create_curriculum(run.task)
        curriculum.set_global_level(run.difficulty)
        parameters = {**vars(curriculum.generate_configuration()), **parameters}
    size = 2 * (run.n_prompts + run.n_held_out)
    family = create_dataset(run.task, **{**parameters, "seed": seed, "size": size})
    form = " Give the final answer between <answer> and </answer>."
    entries = list(itertools.islice(family, size))
    rows = Dataset.from_list(
        [
            {"prompt": _as_prompt(entry["question"] + form, tokenizer), "answer": str(entry["answer"]), "entry": k}
            for k, entry in enumerate(entries)
        ]
    )
    return _task(rows, run, verifier_reward(family, entries) if run.reward == "auto" else (
        math_reward if run.reward == "math" else text_reward
    ), seed)  # fmt: skip


def _task(rows: Dataset, run: RunArguments, reward: Callable, seed: int) -> Task:
    needed = run.n_prompts + run.n_held_out
    # A prompt that stands there twice, in a file or in a family with few questions, would be trained on and held out.
    first = {prompt_key(prompt): k for k, prompt in reversed(list(enumerate(rows["prompt"])))}
    rows = rows.select(sorted(first.values()))
    if len(rows) < needed:
        raise ValueError(
            f"task {run.task!r} has {len(rows)} different prompts, fewer than --n_prompts {run.n_prompts} and "
            f"--n_held_out {run.n_held_out} together"
        )
    rows = rows.shuffle(seed=seed)
    train = rows.select(range(run.n_prompts))

    def demonstrations(seed):
        order = random.Random(seed)
        while True:
            row = train[order.randrange(len(train))]
            chat = not isinstance(row["prompt"], str)
            answer = f"<answer>{row['answer']}</answer>" if "entry" in row else row["answer"]
            yield {
                "prompt": row["prompt"],
                "completion": [{"role": "assistant", "content": answer}] if chat else answer,
            }

    held_out = rows.select(range(run.n_prompts, needed)) if run.n_held_out else None
    return Task(train, held_out, reward, None, demonstrations)


def _is_missing(value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _as_answer(answer) -> str:
    """A column of whole numbers with an empty cell comes as floats, and 5 is not to be answered by 5.0."""
    return str(int(answer) if isinstance(answer, float) and answer.is_integer() else answer)


def _as_prompt(prompt, tokenizer):
    """Text becomes a message where the policy was made to chat; what is a conversation already stays."""
    if isinstance(prompt, str) and tokenizer.chat_template:
        return [{"role": "user", "content": prompt}]
    return prompt
