"""Runs of the tiny policy with exact truth, on which baselines are developed and compared.

``python -m llm_train.studies.recorded_runs`` makes all of them, or those that are named, each as one Parquet file.
They differ in what matters to a baseline: how prompts come back, how many rollouts each has, how fast the policy
moves, what a reward is.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import shutil
import tempfile
import warnings
from pathlib import Path

import torch
from datasets.utils.logging import disable_progress_bar
from transformers import LlamaForCausalLM
from transformers.utils import logging as transformers_logging

from kvar import read_trace, write_trace
from kvar.online.feature_prior import feature_columns
from llm_train.policy.exact_value import ExactValue
from llm_train.policy.prompt_features import with_prompt_features
from llm_train.policy.tiny import answer_reward, make_policy, make_tokenizer, sums, warm_up
from llm_train.trainer.config import KAEConfig
from llm_train.trainer.kae_trainer import KAETrainer

_LARGEST, _WARM_UP_STEPS = 99, 300

# What differs from `_SETTINGS`; n_prompts, partial and missing are of the task, the rest of KAEConfig.
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


def _withheld(reward, share: float, seed: int):
    """A reward function that leaves a share of completions without a score."""
    generator = random.Random(seed)

    def withheld_reward(**columns):
        return [None if generator.random() < share else r for r in reward(**columns)]

    return withheld_reward


def warmed_up_policy(folder: Path, seed: int) -> LlamaForCausalLM:
    """The policy that all runs start from; made once, then read."""
    kept = folder / f"policy-{seed}"
    if not kept.exists():
        tokenizer = make_tokenizer()
        policy = make_policy(tokenizer, seed)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            warm_up(policy, tokenizer, _LARGEST, _WARM_UP_STEPS, seed, Path(scratch))
            policy.save_pretrained(Path(scratch, "policy"))
            Path(scratch, "policy").rename(kept)
    return LlamaForCausalLM.from_pretrained(kept)


def record(name: str, folder: Path, seed: int) -> Path:
    """Make one run."""
    settings = {**_SETTINGS, **RUNS[name]}
    n_prompts, partial, missing = (settings.pop(key) for key in ("n_prompts", "partial", "missing"))
    tokenizer = make_tokenizer()
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
    policy = warmed_up_policy(folder, seed)
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
    """Make the runs that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(RUNS)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("recorded_runs"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in RUNS]
    if unknown:
        parser.error(f"unknown run {unknown[0]!r}; choose of {', '.join(RUNS)}")
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
    transformers_logging.set_verbosity_error()
    disable_progress_bar()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or RUNS:
        print(f"{name}: {read_trace(record(name, options.out, options.seed))}", flush=True)


if __name__ == "__main__":
    main()
