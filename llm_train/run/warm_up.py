"""Supervised steps before reinforcement learning, with a cache of the policies that they made."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from accelerate import PartialState
from filelock import FileLock
from peft import PeftModel
from trl import get_peft_config

from llm_train.policy.exact_value import pass_rate_func
from llm_train.policy.models import load_weights
from llm_train.policy.supervised import supervise
from llm_train.run.settings import RunSettings
from llm_train.tasks.load_task import Task

__all__ = ["warmed_up_policy"]

_BATCH_OF_LARGE_MODELS = 8


def warmed_up_policy(settings: RunSettings, model, tokenizer, task: Task, announce: Callable = print):
    """The policy after its supervised steps, from `policy_cache` where it is there.

    Without a cache `model` is trained in place. Without supervised steps it is returned as it is.

    Raises
    ------
    ValueError
        If the warm-up is to stop at a mean value that the task cannot compute.
    """
    run = settings.run
    if run.sft_steps == 0:
        return model
    if run.sft_until is not None and pass_rate_func(task.exact_value) is None:
        raise ValueError(f"--sft_until needs exact pass rates, which task {run.task!r} does not have; use --sft_steps")
    if not run.policy_cache:
        return _supervised(settings, model, tokenizer, task, announce)
    cached = _cache_folder(settings)
    cached.parent.mkdir(parents=True, exist_ok=True)
    process = PartialState()
    # Of several runs that need the same policy, one makes it and the others wait. The processes of one run make it
    # together: each would wait forever for the one that holds the lock.
    with FileLock(f"{cached}.lock") if process.num_processes == 1 else contextlib.nullcontext():
        found = cached.exists()
        process.wait_for_everyone()  # every process has looked before one writes
        if not found:
            model = _supervised(settings, model, tokenizer, task, announce)
            if process.is_main_process:
                scratch = Path(tempfile.mkdtemp(prefix=".policy-", dir=run.policy_cache))
                model.save_pretrained(scratch)
                scratch.rename(cached)
            process.wait_for_everyone()
            return model
    if get_peft_config(settings.model):
        return PeftModel.from_pretrained(model, cached, is_trainable=True)
    return load_weights(str(cached), settings.model, **settings.model_init_kwargs)


def _cache_folder(settings: RunSettings) -> Path:
    """A folder named by everything that the warmed-up policy depends on."""
    run, seed = settings.run, settings.training.seed
    key = {k: v for k, v in vars(run).items() if k not in ("resume", "policy_cache", "threads", "wrong_reward")}
    key |= {"seed": seed, "adapter": str(get_peft_config(settings.model)), "policy": vars(settings.model)}
    if run.is_file:
        key["data"] = hashlib.blake2b(Path(run.task).read_bytes()).hexdigest()
    digest = hashlib.blake2b(json.dumps(key, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()
    return Path(run.policy_cache, f"{run.model.replace('/', '-')}-{seed}-{digest}")


def _supervised(settings: RunSettings, model, tokenizer, task: Task, announce: Callable):
    run, seed = settings.run, settings.training.seed
    announce(f"Warm-up: up to {run.sft_steps} supervised steps", flush=True)

    def reached(policy) -> bool:
        rates = pass_rate_func(task.exact_value)(policy, list(task.train))
        return sum(rates) / len(rates) >= run.sft_until

    with tempfile.TemporaryDirectory(prefix="warm-up-") as scratch:
        return supervise(
            model,
            tokenizer,
            task.demonstrations(seed),
            run.sft_steps,
            seed,
            Path(scratch),
            learning_rate=run.sft_learning_rate,
            **({} if run.tiny else {"batch_size": _BATCH_OF_LARGE_MODELS}),
            until=reached if run.sft_until is not None else None,
            peft_config=get_peft_config(settings.model),
        )
