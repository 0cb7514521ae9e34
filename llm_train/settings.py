"""What a run is made of: which policy on which task, and how settings come from files and flags to it."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
import yaml
from transformers import HfArgumentParser
from trl import ModelConfig

from kvar.checks import checked_count
from llm_train.config import KAEConfig, json_object

__all__ = [
    "DATA_LOADERS",
    "RunArguments",
    "RunSettings",
    "given_settings",
    "make_parser",
    "resolve",
    "rollouts_a_step",
    "rollouts_before",
]

# By the ending of a file, which loader of datasets reads it.
DATA_LOADERS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
_SAVE_STEPS = 50
_PLAIN_SAMPLING = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}


def _help(text: str, **more) -> dict:
    return {"help": text, **more}


@dataclass
class RunArguments:  # numpydoc ignore=PR02
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


@dataclass(frozen=True)
class RunSettings:
    """All settings of a run.

    Attributes
    ----------
    given : dict
        What was said, as plain data; everything else is a default.
    run : RunArguments
        Policy and task.
    model : trl.ModelConfig
        How the policy is loaded, and LoRA.
    training : KAEConfig
        Everything else.
    """

    given: dict
    run: RunArguments
    model: ModelConfig
    training: KAEConfig

    @property
    def model_init_kwargs(self) -> dict:
        """What transformers is told beside them when it loads the policy."""
        return {"trust_remote_code": self.training.trust_remote_code, **(self.training.model_init_kwargs or {})}

    def save(self, path: Path) -> None:
        """Write all settings, defaults included, as JSON.

        Parameters
        ----------
        path : Path
            Where; the file appears whole or not at all.
        """
        from kvar.files import whole_file

        resolved = {
            "given": self.given,
            "task": vars(self.run),
            "model": {f.name: getattr(self.model, f.name) for f in fields(self.model)},
            "training": self.training.to_dict(),
        }
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(resolved, indent=2, default=str) + "\n")


def make_parser(**kwargs) -> HfArgumentParser:
    """A parser that knows every setting as a flag.

    Parameters
    ----------
    **kwargs
        As for ``argparse.ArgumentParser``.

    Returns
    -------
    transformers.HfArgumentParser
        Whose result holds only what was given.
    """
    kwargs = {"usage": "python -m llm_train [train] [--config FILE.yaml] [--NAME VALUE ...]", **kwargs}
    parser = HfArgumentParser((RunArguments, ModelConfig, KAEConfig), allow_abbrev=False, **kwargs)
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    return parser


def given_settings(
    parser: HfArgumentParser, flags: Sequence[str] = (), file: Mapping | str | Path | None = None
) -> dict:
    """Settings of a file and flags; flags win.

    Parameters
    ----------
    parser : transformers.HfArgumentParser
        From `make_parser`.
    flags : sequence of str
        As on a command line.
    file : mapping or path, optional
        A YAML file, or what one holds.

    Returns
    -------
    dict
        Plain data.

    Raises
    ------
    ValueError
        If a name is unknown, and the nearest known one is named; or if the file is no YAML of names and values.
    """
    if isinstance(file, str | Path):
        path = file
        try:
            file = yaml.safe_load(Path(path).read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is no YAML, write one 'name: value' a line: {error}") from None
        if not isinstance(file, dict):
            raise ValueError(f"{path} must hold one 'name: value' a line, as a file of settings does")
    known = {action.dest: action for action in parser._actions}
    for name in file or {}:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise ValueError(f"unknown setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    # As defaults, so that flags win and text such as 1e-5, which YAML takes for a string, becomes a number.
    for name, value in (file or {}).items():
        known[name].default = value
    try:
        return vars(parser.parse_args(list(flags)))
    finally:
        for name in file or {}:
            known[name].default = argparse.SUPPRESS


def resolve(given: Mapping) -> RunSettings:
    """Fill in what was not given.

    Parameters
    ----------
    given : mapping
        Names of settings and their values.

    Returns
    -------
    RunSettings
        Checked.

    Raises
    ------
    ValueError
        If a value is impossible.
    """
    given = dict(given)
    run = RunArguments(**{f.name: given[f.name] for f in fields(RunArguments) if f.name in given})
    if "model_name_or_path" in given:
        raise ValueError("the policy is named by --model, not by --model_name_or_path")
    model = ModelConfig(**{f.name: given[f.name] for f in fields(ModelConfig) if f.name in given})
    training = {f.name: given[f.name] for f in fields(KAEConfig) if f.name in given}
    training.setdefault("output_dir", f"results/{Path(run.model).name}-{Path(run.task).stem}")
    defaults = {
        "trace_dir": str(Path(training["output_dir"], "trace")),
        "report_to": "none",
        "temperature": 1.0,
        "top_k": 0,
        # Completions are sampled in training mode; what is computed of the policy is to be of the same one.
        "disable_dropout": True,
        # A killed run goes on from its last checkpoint.
        "save_steps": _SAVE_STEPS,
        "save_total_limit": 2,
    }
    drawn = "num_generations_eval" if training.get("num_generations_eval") else "num_generations"
    samples = checked_count(training.get(drawn, KAEConfig.num_generations), drawn)
    defaults["per_device_eval_batch_size"] = samples * -(-8 // samples)  # whole groups, eight rollouts or more
    if run.task == "sums":
        defaults["eval_on_start"] = True  # exact values cost one pass
    if training.get("eval_steps"):
        defaults |= {"eval_strategy": "steps", "eval_on_start": True}
    if not torch.cuda.is_available():
        defaults |= {"use_cpu": True, "bf16": False, "dataloader_pin_memory": False, "activation_checkpointing": False}
    elif run.tiny:
        defaults |= {"bf16": False, "activation_checkpointing": False}
    config = KAEConfig(**{**defaults, **training})
    if config.per_device_eval_batch_size * config.world_size % samples:  # over all processes, as TRL counts
        raise ValueError(
            f"per_device_eval_batch_size must be a multiple of the {samples} samples a prompt of an evaluation, got "
            f"{config.per_device_eval_batch_size}"
        )
    if config.beta and run.sft_steps and not model.use_peft:
        raise ValueError(
            "beta is the weight of the distance to the policy as it was loaded, which the warm-up of sft_steps has "
            "left behind: set one of them to 0, or use_peft"
        )
    if run.task == "sums":
        for name, needed in _PLAIN_SAMPLING.items():
            if getattr(config, name) != needed:
                raise ValueError(f"the exact value of sums holds for plain sampling only: {name} must be {needed}")
        longest = len(str(2 * run.largest)) + 1
        if config.max_completion_length < longest:
            raise ValueError(
                f"max_completion_length must be at least {longest} for sums of numbers up to {run.largest}, got "
                f"{config.max_completion_length}"
            )
    return RunSettings(given, run, model, config)


def rollouts_a_step(config: KAEConfig) -> float:
    """Rollouts that an optimiser step uses.

    Parameters
    ----------
    config : KAEConfig
        Of a run.

    Returns
    -------
    float
        Over all processes; less than a generation where several steps share one.
    """
    generations = config.gradient_accumulation_steps / (config.steps_per_generation * config.num_iterations)
    return config.generation_batch_size * generations


def rollouts_before(settings: RunSettings) -> int:
    """Rollouts that are spent before the first step.

    Parameters
    ----------
    settings : RunSettings
        Of a run.

    Returns
    -------
    int
        Those of the warm start, over all prompts.
    """
    return settings.training.warm_start_rollouts * settings.run.n_prompts
