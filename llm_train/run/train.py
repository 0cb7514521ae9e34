"""A training run from its settings to its files: policy, warm-up, reinforcement learning, evaluation, summary."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import tempfile
import time
import warnings
from pathlib import Path

import datasets
import torch
from accelerate import PartialState
from filelock import FileLock
from peft import PeftModel, get_peft_model
from transformers import PrinterCallback
from transformers.utils import logging
from trl import get_peft_config

from kvar.utils.atomic_files import atomic_write, lock_folder
from llm_train.policy.models import load_policy, load_weights
from llm_train.policy.prompt_features import with_prompt_features
from llm_train.policy.supervised import supervise
from llm_train.run.run_files import MetricsFile, ProgressBar, last_checkpoint
from llm_train.run.settings import RunSettings, rollouts_a_step, rollouts_before
from llm_train.run.summary_page import write_summary
from llm_train.tasks.tasks import Task, load_task
from llm_train.trainer.critic import CriticBaseline
from llm_train.trainer.kae_trainer import KAETrainer

__all__ = ["quiet_libraries", "train", "warmed_up_policy"]

# What may differ when a run goes on.
_MAY_CHANGE = {
    "resume",
    "max_steps",
    "save_steps",
    "save_total_limit",
    "threads",
    "policy_cache",
    "output_dir",
    "trace_dir",
}


def quiet_libraries() -> None:
    """Leave out the bars of loading and mapping, and a warning that TRL's own use of transformers raises."""
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
    datasets.disable_progress_bars()
    logging.disable_progress_bar()


def train(settings: RunSettings, show: bool = True) -> dict:
    """Make one run.

    Parameters
    ----------
    settings : RunSettings
        From `llm_train.run.settings.resolve`.
    show : bool
        Print what happens, with a bar, and write the summary page.

    Returns
    -------
    dict
        What ``result.json`` holds: last metrics, seconds, rollouts and memory.

    Raises
    ------
    FileExistsError
        If ``output_dir`` holds a run and ``resume`` is not set or there is nothing to go on from, or another process is
        at it.
    ValueError
        If the run to go on with had other settings.
    """
    out, process = Path(settings.training.output_dir), PartialState()
    with contextlib.ExitStack() as until_done:
        if process.is_main_process:
            # Two that go on with one run would each remove what the other has recorded since its last checkpoint.
            out.mkdir(parents=True, exist_ok=True)
            until_done.callback(os.close, lock_folder(out))
        return _train(settings, out, process, show)


def _train(settings: RunSettings, out: Path, process: PartialState, show: bool) -> dict:
    run, config = settings.run, settings.training
    say = print if show and process.is_main_process else lambda *args, **kwargs: None
    checkpoint = _place(settings, out)
    process.wait_for_everyone()  # all have looked before one writes
    if run.threads:
        torch.set_num_threads(run.threads)

    model, tokenizer = load_policy(run.model, settings.model, config.seed, **settings.model_init_kwargs)
    task = load_task(run, tokenizer, config.seed + 1)
    # A checkpoint brings its own weights: they need no warm-up, but features are those of the policy at the start.
    afresh = checkpoint is None or run.prompt_features
    model = warmed_up_policy(settings, model, tokenizer, task, say if afresh else None)
    prompts = task.train
    if run.prompt_features:
        prompts = with_prompt_features(prompts, model, tokenizer, run.prompt_features)
    config.disable_tqdm = True
    config.eval_on_start &= checkpoint is None
    trainer = KAETrainer(
        model=model,
        reward_funcs=task.reward,
        args=config,
        train_dataset=prompts,
        eval_dataset=_evaluated(task),
        processing_class=tokenizer,
        true_value_func=task.exact_value,
        peft_config=None if isinstance(model, PeftModel) else get_peft_config(settings.model),
    )
    trainer.remove_callback(PrinterCallback)
    before, per_step = rollouts_before(settings), rollouts_a_step(config)
    trainer.add_callback(MetricsFile(out / "metrics.jsonl", per_step, before))
    if show:
        trainer.add_callback(ProgressBar())
    if process.is_main_process:
        if checkpoint is None and (out / "config.json").exists():
            say(f"The run in {out} ended before its first checkpoint and begins again")
            # Its own recording, wherever this one goes.
            if recorded := json.loads((out / "config.json").read_text())["training"]["trace_dir"]:
                _forget(Path(recorded))
        settings.save(out / "config.json")
    process.wait_for_everyone()

    say(f"Reinforcement learning with baseline {config.baseline!r}", flush=True)
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.perf_counter() - start
    trainer.save_model(str(out / "policy"))
    rates = _last_evaluation(trainer)
    result = {
        **rates,
        "step": trainer.state.global_step,
        "rollouts": before + round(trainer.state.global_step * per_step),
        "seconds": seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "device": str(trainer.accelerator.device),
    }
    if torch.cuda.is_available():
        result["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated()
    if isinstance(trainer.baseline, CriticBaseline):
        result["critic_bytes"] = trainer.baseline.n_bytes
    if process.is_main_process:
        with atomic_write(out / "result.json") as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n")
        if show:
            write_summary(out)
    first = {k: v for entry in trainer.state.log_history if entry["step"] == 0 for k, v in entry.items()}
    for name, value in rates.items():
        start = f" (before: {first[name]:.3f})" if name in first else ""
        say(f"{name.removeprefix('eval_')}: {value:.3f}{start}")
    say(f"Policy: {out / 'policy'}", f"Metrics: {out / 'metrics.jsonl'}", f"Summary: {out / 'summary.html'}", sep="\n")
    if config.trace_dir:
        say(f"Trace: {config.trace_dir}", f"Look at it: kvar audit {config.trace_dir}", sep="\n")
    return result


def _place(settings: RunSettings, out: Path) -> Path | None:
    """The checkpoint to go on from, or none in a folder that is fit to begin in."""
    kept = out / "config.json"
    if not settings.run.resume:
        if kept.exists():
            raise FileExistsError(
                f"{out} already holds a run: go on with it by --resume, or choose another --output_dir"
            )
        return None
    checkpoint = last_checkpoint(out)
    if kept.exists():
        before, now = ({**given} for given in (json.loads(kept.read_text())["given"], settings.given))
        changed = [k for k in sorted({*before, *now} - _MAY_CHANGE) if before.get(k) != now.get(k)]
        if changed:
            said = "; ".join(f"{name} was {before.get(name)!r}, now {now.get(name)!r}" for name in changed)
            raise ValueError(
                f"the run in {out} had other settings ({said}): resume it with the same, or begin anew elsewhere"
            )
        if checkpoint is None and (out / "result.json").exists():
            raise FileExistsError(
                f"the run in {out} is done and left no checkpoint to go on from: choose another --output_dir, and set "
                "--save_strategy steps for a run that is to go on"
            )
    return checkpoint


def _forget(trace: Path) -> None:
    """Remove what a run recorded that was killed before its first checkpoint and begins again."""
    if trace.exists():
        claim = lock_folder(trace)
        for step in trace.glob("step-*.parquet"):
            step.unlink()
        os.close(claim)


def _last_evaluation(trainer) -> dict[str, float]:
    """Pass rates after the last step, measured now unless they just were."""
    if trainer.eval_dataset is None:
        return {}
    state = trainer.state
    logged = [entry for entry in state.log_history if entry["step"] == state.global_step]
    if not any("pass@" in name for entry in logged for name in entry):
        trainer.evaluate()
        logged = state.log_history
    return {k: v for entry in logged for k, v in entry.items() if k.startswith("eval_") and "pass@" in k}


def _evaluated(task: Task):
    """Exact values are cheap, so that training prompts are evaluated too; samples are spent on the held-out ones."""
    if task.exact_value is None:
        return task.held_out
    return {"train": task.train, **({"held_out": task.held_out} if task.held_out else {})}


def warmed_up_policy(settings: RunSettings, model, tokenizer, task: Task, say=None):
    """The policy after its supervised steps, out of the cache where it is there."""
    run, config = settings.run, settings.training
    adapter = get_peft_config(settings.model)
    if run.sft_steps == 0:
        return model
    if say is None:
        return get_peft_model(model, adapter) if adapter else model
    if run.sft_until is not None and task.exact_value is None:
        raise ValueError(f"--sft_until needs a task with exact values, which {run.task!r} has not; set --sft_steps")
    if not run.policy_cache:
        return _supervised(settings, model, tokenizer, task, say)
    named = {k: v for k, v in vars(run).items() if k not in ("resume", "policy_cache", "threads")}
    named |= {"seed": config.seed, "adapter": str(adapter), "policy": vars(settings.model)}
    if run.is_file:
        named["data"] = hashlib.blake2b(Path(run.task).read_bytes()).hexdigest()
    digest = hashlib.blake2b(json.dumps(named, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()
    kept = Path(run.policy_cache, f"{run.model.replace('/', '-')}-{config.seed}-{digest}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    process = PartialState()
    # Of runs that need the same policy one makes it; the processes of a run make it together, and would wait for ever
    # for one that holds a lock.
    with FileLock(f"{kept}.lock") if process.num_processes == 1 else contextlib.nullcontext():
        there = kept.exists()
        process.wait_for_everyone()  # all have looked before one writes
        if not there:
            model = _supervised(settings, model, tokenizer, task, say)
            if process.is_main_process:
                scratch = Path(tempfile.mkdtemp(prefix=".policy-", dir=run.policy_cache))
                model.save_pretrained(scratch)
                scratch.rename(kept)
            process.wait_for_everyone()
            return model
    if adapter:
        return PeftModel.from_pretrained(model, kept, is_trainable=True)
    return load_weights(str(kept), settings.model, **settings.model_init_kwargs)


def _supervised(settings: RunSettings, model, tokenizer, task: Task, say):
    run, config = settings.run, settings.training
    say(f"Warm-up: up to {run.sft_steps} supervised steps", flush=True)

    def reached(policy) -> bool:
        values = task.exact_value(policy, list(task.train))
        return sum(values) / len(values) >= run.sft_until

    with tempfile.TemporaryDirectory(prefix="warm-up-") as scratch:
        return supervise(
            model,
            tokenizer,
            task.demonstrations(config.seed),
            run.sft_steps,
            config.seed,
            Path(scratch),
            learning_rate=run.sft_learning_rate,
            **({} if run.tiny else {"batch_size": 8}),
            until=reached if run.sft_until is not None else None,
            peft_config=get_peft_config(settings.model),
        )
