"""The settings of a run: policy, task and training, read from a YAML file and from flags."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
import yaml
from transformers import HfArgumentParser
from trl import ModelConfig

from kvar.utils.atomic_files import atomic_write_text
from kvar.utils.checks import checked_count, did_you_mean
from llm_train.secret_settings import masked, masked_text
from llm_train.tasks.padded_sums import SUM_DIGITS
from llm_train.tasks.run_arguments import RunArguments
from llm_train.trainer.config import KAEConfig
from llm_train.trainer.generation_norms import PLAIN_SAMPLING

__all__ = [
    "RunSettings",
    "given_settings",
    "make_parser",
    "resolve",
    "rollouts_a_step",
    "rollouts_before",
]

_SAVE_STEPS = 50


@dataclass(frozen=True, repr=False)  # no message shows what may be secret
class RunSettings:
    """All settings of a run."""

    given: dict  # The settings that the user gave, as plain data; all others have their defaults
    run: RunArguments  # Policy and task
    model: ModelConfig  # How the policy is loaded, with LoRA or without
    training: KAEConfig  # The settings of the trainer

    @property
    def model_init_kwargs(self) -> dict:
        """Further arguments with which transformers loads the policy."""
        return {"trust_remote_code": self.training.trust_remote_code, **(self.training.model_init_kwargs or {})}

    def save(self, path: Path) -> None:
        """Write all settings as JSON, defaults included and secrets masked."""
        resolved = {
            "given": self.given,
            "task": vars(self.run),
            "model": {f.name: getattr(self.model, f.name) for f in fields(self.model)},
            "training": self.training.to_dict(),
        }
        plain = masked(json.loads(json.dumps(resolved, default=str)))
        atomic_write_text(path, json.dumps(plain, indent=2) + "\n")


class _Parser(HfArgumentParser):
    def error(self, message):
        # A misspelt flag may be that of a token, so that its value is not shown.
        head, unknown, words = message.partition("unrecognized arguments: ")
        shown = head + unknown + " ".join(word for word in words.split() if word.startswith("-"))
        near = did_you_mean(shown.partition(unknown)[2].split("=")[0], self._option_string_actions) if unknown else ""
        super().error(masked_text((shown if unknown else message) + near))


def make_parser(**kwargs) -> HfArgumentParser:
    """A parser with a flag for every setting, which returns only the flags that were given."""
    kwargs = {"usage": "python -m llm_train [train] [--config FILE.yaml] [--NAME VALUE ...]", **kwargs}
    parser = _Parser((RunArguments, ModelConfig, KAEConfig), allow_abbrev=False, **kwargs)
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    return parser


def given_settings(
    parser: HfArgumentParser, flags: Sequence[str] = (), file: Mapping | str | Path | None = None
) -> dict:
    """Settings from a file, or a mapping, and from flags; flags win."""
    if isinstance(file, str | Path):
        path = file
        try:
            file = yaml.safe_load(Path(path).read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not valid YAML, write one 'name: value' per line: {error}") from None
        if not isinstance(file, dict):
            raise ValueError(f"{path} holds no settings, write one 'name: value' per line")
    known = {action.dest: action for action in parser._actions}
    for name in file or {}:
        if name not in known:
            raise ValueError(f"unknown setting {name!r}{did_you_mean(name, known)}")
    # As defaults of the parser, so that flags win and 1e-5, which YAML reads as text, becomes a number.
    for name, value in (file or {}).items():
        known[name].default = value
    try:
        return vars(parser.parse_args(list(flags)))
    finally:
        for name in file or {}:
            known[name].default = argparse.SUPPRESS


def resolve(given: Mapping) -> RunSettings:
    """Fill in the defaults and check what no single setting can check.

    Raises
    ------
    ValueError
        If settings are impossible by themselves or together.
    """
    given = dict(given)
    run = RunArguments(**{f.name: given[f.name] for f in fields(RunArguments) if f.name in given})
    if "model_name_or_path" in given:
        raise ValueError("model_name_or_path is not used here: name the policy with --model")
    model = ModelConfig(**{f.name: given[f.name] for f in fields(ModelConfig) if f.name in given})
    training = {f.name: given[f.name] for f in fields(KAEConfig) if f.name in given}
    training.setdefault("output_dir", f"results/{Path(run.model).name}-{Path(run.task).stem}")
    defaults = {
        "trace_dir": str(Path(training["output_dir"], "trace")),
        "report_to": "none",
        "temperature": 1.0,
        "top_k": 0,
        # Completions are sampled in training mode; without dropout, exact values and scores are of the same policy.
        "disable_dropout": True,
        # A killed run is resumed from its last checkpoint.
        "save_steps": _SAVE_STEPS,
        "save_total_limit": 2,
    }
    source = "num_generations_eval" if training.get("num_generations_eval") else "num_generations"
    samples = checked_count(training.get(source, KAEConfig.num_generations), source)
    defaults["per_device_eval_batch_size"] = samples * -(-8 // samples)  # whole groups, eight rollouts or more
    if run.is_exact:
        defaults["eval_on_start"] = True  # exact values cost one forward pass
    if training.get("eval_steps"):
        defaults |= {"eval_strategy": "steps", "eval_on_start": True}
    if not torch.cuda.is_available():
        defaults |= {"use_cpu": True, "bf16": False, "dataloader_pin_memory": False, "activation_checkpointing": False}
    elif run.tiny:
        defaults |= {"bf16": False, "activation_checkpointing": False}
    config = KAEConfig(**{**defaults, **training})
    if config.per_device_eval_batch_size * config.world_size % samples:  # over all processes, as TRL counts
        raise ValueError(
            f"per_device_eval_batch_size must be a multiple of {samples}, the samples per prompt of an evaluation, got "
            f"{config.per_device_eval_batch_size}"
        )
    if config.beta and run.sft_steps and not model.use_peft:
        raise ValueError(
            f"beta={config.beta:g} keeps the policy near the one that was loaded, but sft_steps={run.sft_steps} moves "
            "it away before training: set one of them to 0, or use_peft"
        )
    if run.is_exact:
        for name, needed in PLAIN_SAMPLING.items():
            if (found := getattr(config, name)) != needed:
                raise ValueError(
                    f"exact values of {run.task} need plain sampling: {name} must be {needed}, got {found}"
                )
        longest = {"sums": len(str(2 * run.largest)) + 1, "multiples": 3, "padded-sums": SUM_DIGITS}[run.task]
        if config.max_completion_length < longest:
            raise ValueError(
                f"max_completion_length must be at least {longest} for the answers of {run.task}, got "
                f"{config.max_completion_length}"
            )
    return RunSettings(given, run, model, config)


def rollouts_a_step(config: KAEConfig) -> float:
    """Rollouts per optimizer step; a fraction where a generation is used for several steps."""
    generations = config.gradient_accumulation_steps / (config.steps_per_generation * config.num_iterations)
    return config.generation_batch_size * generations


def rollouts_before(settings: RunSettings) -> int:
    """Rollouts that the warm start spends before the first step."""
    return settings.training.warm_start_rollouts * settings.run.n_prompts
