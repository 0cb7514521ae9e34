"""The settings of policy and task."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llm_train.json_settings import json_object

__all__ = ["DATA_LOADERS", "RunArguments"]

# Loaders of the library datasets, by the ending of a file.
DATA_LOADERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
_EXACT = ("sums", "multiples", "padded-sums")
_OWN = (*_EXACT, "word-problems")
_REWARDS = ["auto", "text", "math"]


def _setting(default, text: str, **more):
    """A field with a help text for the command line."""
    return field(default=default, metadata={"help": text, **more})


@dataclass
class RunArguments:
    """Which policy is trained on which task; the help of each field says what it does."""

    model: str = _setting(
        "tiny",
        "The policy. 'tiny' is a character model of 0.66M parameters that is made here. 'smollm2-135m' is "
        "SmolLM2-135M-Instruct from a wheel. Anything else is an id or a path that transformers loads.",
    )
    task: str = _setting(
        "sums",
        "The task. 'sums' asks for a+b=. 'multiples', for the tiny policy alone, asks for any multiple of d plus r "
        "below 100. 'padded-sums', for the tiny policy too, asks for the two digits of a sum and any six more. "
        "'word-problems', for language models, asks who has more, or how many, after a worked example. A name "
        "such as chain_sum or gsm_symbolic is a family of reasoning-gym. A file "
        "ending in .jsonl, .json, .csv or .parquet has one column of prompts and one of answers. OWNER/NAME is a data "
        "set of the Hugging Face hub.",
    )
    task_kwargs: dict | str | None = _setting(  # noqa: RUF009  (a field, as the others are)
        None, "Parameters of a reasoning-gym family, or of the hub's data set, as JSON such as '{\"max_terms\": 2}'."
    )
    difficulty: int | None = _setting(
        None, "Level of a reasoning-gym family's curriculum; 0 is the easiest. By default the family's own parameters."
    )
    n_prompts: int = _setting(480, "Number of different prompts to train on.")
    n_held_out: int = _setting(128, "Number of other prompts that are kept for evaluation; 0 keeps none.")
    largest: int = _setting(49, "Largest operand of the tasks 'sums' and 'padded-sums'.")
    prompt_column: str = _setting("prompt", "Name of the column of prompts in a file or a data set.")
    answer_column: str = _setting("answer", "Name of the column of answers in a file or a data set.")
    prompt_features: int = _setting(
        0,
        "Number of principal coordinates of the policy's hidden states that the baseline gets for each prompt; 0 gives "
        "none. The baseline adaptive learns from them which prompts resemble each other.",
    )
    reward: Literal["auto", "text", "math"] = _setting(
        "auto",
        "How an answer is judged. 'text' compares characters. 'math' compares as mathematics, with math-verify, which "
        "reads LaTeX. 'auto' compares tokens for sums, asks the family's verifier for reasoning-gym, and is 'text' "
        "otherwise.",
    )
    wrong_reward: float = _setting(0.0, "Reward of a wrong answer, below 1; a right one has 1.")
    sft_steps: int | None = _setting(
        None,
        "Number of supervised steps before reinforcement learning, which spread the success rates over (0, 1). By "
        "default 300 for the tiny policy and 0 for others.",
    )
    sft_until: float | None = _setting(
        None, "Stop the supervised steps early once the mean exact value of the training prompts is this high."
    )
    sft_learning_rate: float | None = _setting(
        None, "Learning rate of the supervised steps. By default 2e-3 for the tiny policy and 1e-5 for others."
    )
    threads: int | None = _setting(
        None,
        "Number of CPU threads of torch. By default 1 for the tiny policy, which is fastest on a busy machine, and "
        "torch's own choice for others.",
    )
    policy_cache: str | None = _setting(
        None, "Folder that keeps policies after their supervised steps, so that other runs can start from them."
    )
    resume: bool = _setting(False, "Resume the run in output_dir from its last complete checkpoint.")

    def __post_init__(self):
        self.task_kwargs = json_object(self.task_kwargs, "task_kwargs", '{"max_terms": 2}')
        if self.reward not in _REWARDS:
            raise ValueError(f"reward must be one of {', '.join(_REWARDS)}, got {self.reward!r}")
        if not self.wrong_reward < 1:
            raise ValueError(f"wrong_reward must be below 1, the reward of a right answer, got {self.wrong_reward:g}")
        if self.n_prompts < 1 or self.n_held_out < 0:
            raise ValueError(
                f"n_prompts must be at least 1 and n_held_out at least 0, got {self.n_prompts} and {self.n_held_out}"
            )
        if self.difficulty is not None and not self.is_family:
            raise ValueError(
                f"difficulty={self.difficulty} is for families of reasoning-gym, and task {self.task!r} is none; leave "
                "it out"
            )
        if self.task_kwargs and (self.task in _OWN or self.is_file):
            raise ValueError(
                f"task_kwargs are for reasoning-gym families and data sets of the hub, and task {self.task!r} is "
                "neither; leave them out"
            )
        if self.tiny:
            self.threads = 1 if self.threads is None else self.threads
        if self.sft_steps is None:
            self.sft_steps = 300 if self.tiny else 0
        if self.sft_learning_rate is None:
            self.sft_learning_rate = 2e-3 if self.tiny else 1e-5

    @property
    def is_exact(self) -> bool:
        """Whether the values of the task can be computed."""
        return self.task in _EXACT

    @property
    def is_file(self) -> bool:
        """Whether the task is read from a file."""
        return Path(self.task).suffix in DATA_LOADERS

    @property
    def is_family(self) -> bool:
        """Whether the task is a family of reasoning-gym."""
        return self.task not in _OWN and "/" not in self.task and not self.is_file

    @property
    def tiny(self) -> bool:
        """Whether the policy is the tiny one."""
        return self.model == "tiny"
