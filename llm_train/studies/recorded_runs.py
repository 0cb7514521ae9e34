"""Runs of the tiny policy with exact values, on which baselines are developed and compared.

``python -m llm_train.studies.recorded_runs`` makes all of them, or the named ones, each as one Parquet file. They
differ in what matters to a baseline: the schedule of prompts, the rollouts per prompt, how fast the policy moves, and
the kind of reward.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import shutil
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from kvar import read_trace, write_trace
from kvar.online.feature_prior import feature_columns
from llm_train.policy.exact_value import ExactValue
from llm_train.policy.models import load_policy
from llm_train.policy.prompt_features import with_prompt_features
from llm_train.policy.tiny import answer_reward, sums
from llm_train.run.settings import resolve
from llm_train.run.train import quiet_libraries
from llm_train.run.warm_up import warmed_up_policy
from llm_train.tasks.load_task import load_task
from llm_train.trainer.config import KAEConfig
from llm_train.trainer.kae_trainer import KAETrainer

_LARGEST, _WARM_UP_STEPS = 99, 300

# Differences to `_SETTINGS`; n_prompts, partial and missing belong to the task, the rest to KAEConfig.
RUNS: dict[str, dict] = {
    "block-g1": {"num_generations": 1, "block_reuse": 10},
    "block-g2": {"num_generations": 2, "block_reuse": 10},
    "block-g4": {"num_generations": 4, "block_reuse": 10},
    "block-g8": {"num_generations": 8, "block_reuse": 10},
    "long-block-g1": {"num_generations": 1, "block_reuse": 100},
    "long-block-g8": {"num_generations": 8, "block_reuse": 100},
    "epoch-g1": {"num_generations": 1},
    "epoch-g2": {"num_generations": 2},
    "epoch-g4": {"num_generations": 4},
    "epoch-g8": {"num_generations": 8},
    "independent-g1": {"num_generations": 1, "prompt_order": "independent"},
    "independent-g4": {"num_generations": 4, "prompt_order": "independent"},
    "slow": {"num_generations": 4, "learning_rate": 1e-6},
    "fast": {"num_generations": 4, "learning_rate": 1e-4},
    "fast-block": {"num_generations": 4, "learning_rate": 1e-4, "block_reuse": 10},
    "jumping": {
        "num_generations": 4,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "cosine_with_restarts",
        "lr_scheduler_kwargs": {"num_cycles": 4},
    },
    "one-prompt-g1": {"num_generations": 1, "n_prompts": 1, "per_device_train_batch_size": 1},
    "one-prompt-g4": {"num_generations": 4, "n_prompts": 1, "per_device_train_batch_size": 4},
    "partial-block": {"num_generations": 2, "block_reuse": 10, "partial": True},
    "partial-epoch": {"num_generations": 4, "partial": True},
    "missing": {"num_generations": 4, "missing": 0.2},
    "many-prompts-g1": {"num_generations": 1, "n_prompts": 6400},
    "many-prompts-g4": {"num_generations": 4, "n_prompts": 6400},
}

_SETTINGS = {
    "n_prompts": 256,
    "partial": False,
    "missing": 0.0,
    "num_generations": 4,
    "per_device_train_batch_size": 64,
    "max_steps": 400,
    "learning_rate": 1e-5,
    "lr_scheduler_type": "constant",
    "max_completion_length": 5,
    "temperature": 1.0,
}


def _withheld(reward, fraction: float, seed: int):
    """A reward function that leaves a fraction of the completions without a reward."""
    generator = random.Random(seed)

    def withheld_reward(**columns):
        return [None if generator.random() < fraction else r for r in reward(**columns)]

    return withheld_reward


def starting_policy(folder: Path, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The policy that all runs start from and its tokenizer; trained once, then read from the folder."""
    cache = {"output_dir": str(folder), "policy_cache": str(folder / "policies")}
    settings = resolve({"largest": _LARGEST, "sft_steps": _WARM_UP_STEPS, "seed": seed, **cache})
    model, tokenizer = load_policy(settings.run.model, settings.model, seed)
    return warmed_up_policy(settings, model, tokenizer, load_task(settings.run, tokenizer, seed + 1)), tokenizer


def record(name: str, folder: Path, seed: int) -> Path:
    """Make one run, and return the path of its file."""
    settings = {**_SETTINGS, **RUNS[name]}
    n_prompts, partial, missing = (settings.pop(key) for key in ("n_prompts", "partial", "missing"))
    policy, tokenizer = starting_policy(folder, seed)
    reward = answer_reward(tokenizer, partial)
    scratch = folder / f"{name}.run"
    shutil.rmtree(scratch, ignore_errors=True)
    config = KAEConfig(
        output_dir=str(scratch),
        trace_dir=str(scratch / "trace"),
        baseline="kernel",
        seed=seed,
        bf16=False,
        use_cpu=True,
        activation_checkpointing=False,
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to="none",
        logging_steps=100,
        **settings,
    )
    trainer = KAETrainer(
        model=policy,
        reward_funcs=_withheld(reward, missing, seed) if missing else reward,
        args=config,
        train_dataset=with_prompt_features(sums(n_prompts, _LARGEST, seed + 1), policy, tokenizer),
        processing_class=tokenizer,
        true_value_func=ExactValue(tokenizer, partial),
    )
    trainer.train()
    trace = read_trace(config.trace_dir)
    names = ["true_value", "completion_length", *feature_columns(trace.extras)]
    kept = {name: trace.extras[name] for name in names}
    path = write_trace(dataclasses.replace(trace, extras=kept), folder / f"{name}.parquet")
    shutil.rmtree(scratch)
    return path


def main() -> None:
    """Make the named runs, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(RUNS)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("recorded_runs"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in RUNS]
    if unknown:
        parser.error(f"unknown run {unknown[0]!r}; choose from {', '.join(RUNS)}")
    torch.set_num_threads(1)
    quiet_libraries()
    transformers_logging.set_verbosity_error()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or RUNS:
        print(f"{name}: {read_trace(record(name, options.out, options.seed))}", flush=True)


if __name__ == "__main__":
    main()
