"""What is trained on what: the settings of policy and task."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from llm_train.json_settings import json_object

__all__ = ["DATA_LOADERS", "RunArguments"]

# By the ending of a file, which loader of datasets reads it.
DATA_LOADERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


def _help(text: str, **more) -> dict:
    return {"help": text, **more}


@dataclass
class RunArguments:
    """What is trained on what.

    Parameters
    ----------
    model, task : str
        The policy and what it is to learn.
    task_kwargs : dict or str, optional
        Parameters of a reasoning-gym family; JSON on the command line.
    difficulty : int, optional
        Level of a reasoning-gym family's own curriculum.
    n_prompts, n_held_out : int
        How many prompts are trained on, and how many others are kept for evaluation.
    largest : int
        Largest operand of a sum.
    prompt_column, answer_column : str
        Columns of a file or data set.
    prompt_features : int
        Coordinates of the policy's hidden state that the baseline is given of each prompt.
    reward : {"auto", "text", "math"}
        How an answer is judged.
    sft_steps : int, optional
        Supervised steps before.
    sft_until : float, optional
        End the warm-up when the mean exact value has reached this.
    sft_learning_rate : float, optional
        Of the warm-up.
    threads : int, optional
        CPU threads of torch.
    policy_cache : str, optional
        Folder that keeps warmed-up policies.
    resume : bool
        Go on with the run in `output_dir`.
    """

    model: str = field(
        default="tiny",
        metadata=_help(
            "'tiny': 0.66M parameters, made here. 'smollm2-135m': SmolLM2-135M-Instruct out of a wheel. Anything else: "
            "an id or a path that transformers loads."
        ),
    )
    task: str = field(
        default="sums",
        metadata=_help(
            "'sums': a+b=. A reasoning-gym family, such as chain_sum or gsm_symbolic. A file .jsonl, .json, .csv or "
            ".parquet with a prompt and an answer column. OWNER/NAME: a data set of the hub."
        ),
    )
    task_kwargs: dict | str | None = field(
        default=None, metadata=_help("Parameters of a reasoning-gym family as JSON, such as '{\"max_terms\": 2}'.")
    )
    difficulty: int | None = field(
        default=None,
        metadata=_help("Level of a reasoning-gym family's curriculum, 0 the easiest. Default: the family's."),
    )
    n_prompts: int = field(default=480, metadata=_help("Number of different prompts to train on."))
    n_held_out: int = field(default=128, metadata=_help("Number of other prompts kept for evaluation; 0 for none."))
    largest: int = field(default=49, metadata=_help("Largest operand of a sum."))
    prompt_column: str = field(default="prompt", metadata=_help("Column of a file or data set with the prompt."))
    answer_column: str = field(default="answer", metadata=_help("Column of a file or data set with the answer."))
    prompt_features: int = field(
        default=0,
        metadata=_help(
            "Give the baseline this many coordinates of the policy's hidden state at each prompt (adaptive learns from "
            "them which prompts resemble each other); 0 for none."
        ),
    )
    reward: str = field(
        default="auto",
        metadata=_help(
            "How an answer is judged. 'text': the same characters. 'math': equal as mathematics (math-verify, reads "
            "LaTeX). 'auto': by token for sums, by the family's verifier for reasoning-gym, else 'text'.",
            choices=["auto", "text", "math"],
        ),
    )
    sft_steps: int | None = field(
        default=None,
        metadata=_help(
            "Supervised steps before, which spread the success rates over (0, 1). Default: 300 for the tiny policy, "
            "else none."
        ),
    )
    sft_until: float | None = field(
        default=None,
        metadata=_help("End the supervised steps once the mean exact value of the prompts has reached this."),
    )
    sft_learning_rate: float | None = field(
        default=None, metadata=_help("Of the supervised steps. Default: 2e-3 for the tiny policy, else 1e-5.")
    )
    threads: int | None = field(
        default=None,
        metadata=_help(
            "CPU threads of torch. Default: 1 for the tiny policy, which is fastest for a model this small on a busy "
            "machine; else torch's own."
        ),
    )
    policy_cache: str | None = field(
        default=None,
        metadata=_help("Keep policies after their supervised steps in this folder, and take them from there."),
    )
    resume: bool = field(
        default=False, metadata=_help("Go on with the run in output_dir, from its last whole checkpoint.")
    )

    def __post_init__(self):
        self.task_kwargs = json_object(self.task_kwargs, "task_kwargs", '{"max_terms": 2}')
        if self.reward not in ("auto", "text", "math"):
            raise ValueError(f"reward must be 'auto', 'text' or 'math', got {self.reward!r}")
        if self.n_prompts < 1 or self.n_held_out < 0:
            raise ValueError(
                f"n_prompts must be at least 1 and n_held_out at least 0, got {self.n_prompts} and {self.n_held_out}"
            )
        if self.difficulty is not None and not self.is_family:
            raise ValueError(
                f"difficulty is the level of a reasoning-gym family, and task {self.task!r} is none; leave it out"
            )
        if self.task_kwargs and (self.task == "sums" or self.is_file):
            raise ValueError(
                "task_kwargs are parameters of a reasoning-gym family or of a data set of the hub, and task "
                f"{self.task!r} takes none; leave them out"
            )
        if self.tiny:
            self.threads = 1 if self.threads is None else self.threads
        if self.sft_steps is None:
            self.sft_steps = 300 if self.tiny else 0
        if self.sft_learning_rate is None:
            self.sft_learning_rate = 2e-3 if self.tiny else 1e-5

    @property
    def is_file(self) -> bool:
        """Whether the task is read from a file."""
        return Path(self.task).suffix in DATA_LOADERS

    @property
    def is_family(self) -> bool:
        """Whether the task is made by reasoning-gym."""
        return self.task != "sums" and "/" not in self.task and not self.is_file

    @property
    def tiny(self) -> bool:
        """Whether the policy is the one made here."""
        return self.model == "tiny"
