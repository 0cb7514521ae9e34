"""Tasks: prompts, a reward function, and examples to imitate before reinforcement learning."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from datasets import Dataset, Features, Value
from transformers.utils import logging

from kvar.rollouts.prompt_ids import prompt_key
from kvar.utils.checks import did_you_mean
from llm_train.policy.exact_value import ExactValue
from llm_train.policy.tiny import answer_reward, skewed_sums, sums
from llm_train.tasks.answers import math_reward, text_reward, verifier_reward
from llm_train.tasks.multiples import ExactSums, demonstrated_multiples, multiples, one_of_answers_reward
from llm_train.tasks.padded_sums import LARGEST, first_digits_reward, padded_demonstrations, padded_sums
from llm_train.tasks.reward_range import RescaledValue, rescaled_reward
from llm_train.tasks.run_arguments import DATA_LOADERS, RunArguments
from llm_train.tasks.word_problems import last_answer_reward, word_problems

__all__ = ["Task", "load_task"]

logger = logging.get_logger(__name__)

_WORKED_SUMS = "2+3=5\n14+7=21\n38+45=83\n"


@dataclass(frozen=True)
class Task:
    """What a policy learns."""

    train: Dataset  # Prompts to train on, with the columns ``prompt`` and ``answer``
    held_out: Dataset | None  # Other prompts, for evaluation
    reward: Callable  # A reward function of TRL
    # ``exact_value(model, examples)`` gives the value of each example; None where it cannot be computed.
    exact_value: Callable | None
    # ``demonstrations(seed)`` yields dicts with ``prompt`` and ``completion``, without end.
    demonstrations: Callable[[int], Iterator[dict]]


def load_task(run: RunArguments, tokenizer, seed: int) -> Task:
    """Make or read the task that the settings name.

    Raises
    ------
    ValueError
        If there is no such task or file, it has too few prompts, or the tiny policy cannot read it.
    """
    task = _load(run, tokenizer, seed)
    if run.wrong_reward:
        exact = task.exact_value and RescaledValue(task.exact_value, run.wrong_reward)
        task = replace(task, reward=rescaled_reward(task.reward, run.wrong_reward), exact_value=exact)
    return task


def _load(run: RunArguments, tokenizer, seed: int) -> Task:
    if run.is_exact:
        return {"sums": _sums, "multiples": _multiples, "padded-sums": _padded_sums}[run.task](run, tokenizer, seed)
    if run.is_file:
        task = _from_rows(_file_rows(run), run, tokenizer, seed)
    elif run.task == "word-problems":
        task = _word_problems(run, tokenizer, seed)
    elif run.is_family:
        task = _reasoning_gym(run, tokenizer, seed)
    else:
        from datasets import load_dataset

        task = _from_rows(load_dataset(run.task, split="train", **run.task_kwargs), run, tokenizer, seed)
    if run.tiny:
        unknown = {c for prompt in task.train["prompt"] for c in prompt if c not in tokenizer.get_vocab()}
        if unknown:
            raise ValueError(
                f"the tiny policy reads only digits, + - * = and the space, but prompts of task {run.task!r} have "
                f"{''.join(sorted(unknown))[:20]!r}; choose another --model"
            )
    return task


def _require_sums(run: RunArguments) -> None:
    if run.n_prompts + run.n_held_out > (run.largest + 1) ** 2:
        raise ValueError(
            f"there are {(run.largest + 1) ** 2} sums of operands up to {run.largest}, fewer than --n_prompts "
            f"{run.n_prompts} plus --n_held_out {run.n_held_out}; raise --largest"
        )


def _end_with_the_line(tokenizer) -> None:
    line_end = tokenizer("1\n", add_special_tokens=False)["input_ids"][-1]
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(line_end)


def _sums(run: RunArguments, tokenizer, seed: int) -> Task:
    _require_sums(run)
    train = sums(run.n_prompts, run.largest, seed)
    held_out = sums(run.n_held_out, run.largest, seed, without=train) if run.n_held_out else None
    context = ""
    if not run.tiny:
        context = _WORKED_SUMS  # which show a language model the format
        _end_with_the_line(tokenizer)

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


def _require_tiny(run: RunArguments) -> None:
    if not run.tiny:
        raise ValueError(f"task {run.task!r} is for the tiny policy, which has a token for each character")


def _multiples(run: RunArguments, tokenizer, seed: int) -> Task:
    _require_tiny(run)
    rows = multiples(run.n_prompts + run.n_held_out, seed)

    def demonstrations(seed):
        for row in demonstrated_multiples(seed):
            yield {"prompt": row["prompt"], "completion": row["answer"] + tokenizer.eos_token}

    return Task(
        train=rows.select(range(run.n_prompts)),
        held_out=rows.select(range(run.n_prompts, len(rows))) if run.n_held_out else None,
        reward=one_of_answers_reward(tokenizer),
        exact_value=ExactSums(tokenizer),
        demonstrations=demonstrations,
    )


def _padded_sums(run: RunArguments, tokenizer, seed: int) -> Task:
    _require_tiny(run)
    _require_sums(run)
    if run.largest > LARGEST:
        raise ValueError(f"sums of two digits need --largest of at most {LARGEST}, got {run.largest}")
    train = padded_sums(run.n_prompts, run.largest, seed)

    def demonstrations(seed):
        for row in padded_demonstrations(run.largest, seed):
            yield {"prompt": row["prompt"], "completion": row["answer"] + tokenizer.eos_token}

    return Task(
        train=train,
        held_out=padded_sums(run.n_held_out, run.largest, seed, without=train) if run.n_held_out else None,
        reward=first_digits_reward(tokenizer),
        exact_value=ExactValue(tokenizer, ended=False),
        demonstrations=demonstrations,
    )


def _word_problems(run: RunArguments, tokenizer, seed: int) -> Task:
    rows = word_problems(run.n_prompts + run.n_held_out, seed)
    if not run.tiny:
        _end_with_the_line(tokenizer)
    return _task(rows, run, last_answer_reward, seed)


def _file_rows(run: RunArguments) -> Dataset:
    from datasets import load_dataset

    if not Path(run.task).is_file():
        raise ValueError(f"no such file: --task {run.task}")
    return load_dataset(DATA_LOADERS[Path(run.task).suffix], data_files=run.task, split="train")


def _from_rows(rows: Dataset, run: RunArguments, tokenizer, seed: int) -> Task:
    for name in (run.prompt_column, run.answer_column):
        if name not in rows.column_names:
            raise ValueError(
                f"task {run.task!r} has no column {name!r}, only {', '.join(rows.column_names)}; set --prompt_column "
                "and --answer_column"
            )
    names = {run.prompt_column: "prompt", run.answer_column: "answer"}
    # A column that is in the way of a new name, such as short answers where full solutions are used as answers.
    rows = rows.remove_columns([name for name in names.values() if name in rows.column_names and name not in names])
    rows = rows.rename_columns({old: new for old, new in names.items() if old != new})
    whole = rows.filter(lambda row: not (_is_missing(row["prompt"]) or _is_missing(row["answer"])))
    if left_out := len(rows) - len(whole):
        counts = (run.task, left_out, len(rows))
        logger.warning("Task %r: left out %d of %d rows, which have no prompt or no answer.", *counts)
    # Without this type, text that looks like a number would become a number again in a column of numbers.
    as_text = Features({**whole.features, "answer": Value("string")})
    rows = whole.map(lambda row: {"answer": _as_answer(row["answer"])}, features=as_text)
    rows = rows.map(lambda row: {"prompt": _as_prompt(row["prompt"], tokenizer)})
    return _task(rows, run, _comparison(run), seed)


def _comparison(run: RunArguments) -> Callable:
    return math_reward if run.reward == "math" else text_reward


def _reasoning_gym(run: RunArguments, tokenizer, seed: int) -> Task:
    from reasoning_gym.factory import CURRICULA, DATASETS, create_curriculum, create_dataset

    if run.task not in DATASETS:
        raise ValueError(
            f"unknown task {run.task!r}: not 'sums', a reasoning-gym family, a file or OWNER/NAME"
            f"{did_you_mean(run.task, ['sums', *DATASETS])}"
        )
    parameters = dict(run.task_kwargs)
    if run.difficulty is not None:
        if run.task not in CURRICULA:
            raise ValueError(f"{run.task!r} has no curriculum: set --task_kwargs in place of --difficulty")
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
    reward = verifier_reward(family, entries) if run.reward == "auto" else _comparison(run)
    return _task(rows, run, reward, seed)


def _task(rows: Dataset, run: RunArguments, reward: Callable, seed: int) -> Task:
    needed = run.n_prompts + run.n_held_out
    # A prompt that occurs twice, in a file or in a family with few questions, could be trained on and held out too.
    first = {prompt_key(prompt): k for k, prompt in reversed(list(enumerate(rows["prompt"])))}
    rows = rows.select(sorted(first.values()))
    if len(rows) < needed:
        raise ValueError(
            f"task {run.task!r} has {len(rows)} different prompts, fewer than --n_prompts {run.n_prompts} plus "
            f"--n_held_out {run.n_held_out}; lower one of them"
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
    """An answer as text; whole numbers, which an empty cell in their column makes floats, lose their final .0."""
    return str(int(answer) if isinstance(answer, float) and answer.is_integer() else answer)


def _as_prompt(prompt, tokenizer):
    """A prompt as a chat message if the tokenizer has a chat template; a list of messages stays as it is."""
    if isinstance(prompt, str) and tokenizer.chat_template:
        return [{"role": "user", "content": prompt}]
    return prompt
