"""A training run from its settings to its files: policy, warm-up, reinforcement learning, evaluation, summary."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import datasets
import torch
from accelerate import PartialState
from peft import PeftModel, get_peft_model
from transformers import PrinterCallback
from transformers.utils import logging
from trl import get_peft_config

from kvar.utils.atomic_files import atomic_write_text, lock_folder
from llm_train.policy.models import SMOLLM2, load_policy
from llm_train.policy.prompt_features import with_prompt_features
from llm_train.policy.shared_start import share_start
from llm_train.run.resume import checkpoint_to_resume, last_checkpoint, remove_unfinished_recording
from llm_train.run.run_files import MetricsFile, ProgressBar
from llm_train.run.settings import RunSettings, rollouts_a_step, rollouts_before
from llm_train.run.summary_page import write_summary
from llm_train.run.warm_up import warmed_up_policy
from llm_train.tasks.load_task import Task, load_task
from llm_train.trainer.critic import CriticBaseline
from llm_train.trainer.kae_trainer import KAETrainer
from llm_train.trainer.scored_tokens import score_completions_only

__all__ = ["quiet_libraries", "train", "warmed_up_policy"]


def quiet_libraries() -> None:
    """Switch off progress bars of datasets and transformers, and a warning that TRL's own code raises."""
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
    datasets.disable_progress_bars()
    logging.disable_progress_bar()


def train(settings: RunSettings, show: bool = True) -> dict:
    """Make one training run.

    Parameters
    ----------
    settings : RunSettings
        From `llm_train.run.settings.resolve`.
    show : bool
        Print what happens, with a progress bar, and write the summary page.

    Returns
    -------
    dict
        What ``result.json`` holds: last pass rates, seconds, rollouts and memory in bytes.

    Raises
    ------
    FileExistsError
        If ``output_dir`` holds a run and ``resume`` is not set, if the run to resume is finished and kept no
        checkpoint, or if another process uses the folder.
    ValueError
        If the run to resume has other settings.
    """
    folder, process = Path(settings.training.output_dir), PartialState()
    with contextlib.ExitStack() as cleanup:
        if process.is_main_process:
            # Two processes that resume one run would each remove what the other recorded since the last checkpoint.
            folder.mkdir(parents=True, exist_ok=True)
            cleanup.callback(os.close, lock_folder(folder))
        return _train(settings, folder, process, show, cleanup)


def _train(
    settings: RunSettings, folder: Path, process: PartialState, show: bool, cleanup: contextlib.ExitStack
) -> dict:
    config = settings.training
    announce = print if show and process.is_main_process else _say_nothing
    checkpoint = checkpoint_to_resume(settings, folder)
    process.wait_for_everyone()  # every process has looked before one writes
    trainer = _make_trainer(settings, checkpoint is not None, announce)
    trainer.add_callback(
        MetricsFile(folder / "metrics.jsonl", rollouts_a_step(config), rollouts_before(settings)),
    )
    if show:
        bar = ProgressBar()
        trainer.add_callback(bar)
        cleanup.callback(bar.close)
    if process.is_main_process:
        if checkpoint is None and (folder / "config.json").exists():
            announce(f"The run in {folder} stopped before its first checkpoint and starts again from the beginning")
            remove_unfinished_recording(folder)
        settings.save(folder / "config.json")
    process.wait_for_everyone()

    announce(f"Reinforcement learning with baseline {config.baseline!r}", flush=True)
    start = time.perf_counter()
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except KeyboardInterrupt:
        if show and process.is_main_process:
            bar.close()
            step, last = trainer.state.global_step, last_checkpoint(folder)
            write_summary(folder, {"stopped": step, "steps": trainer.state.max_steps})
            whence = f"after {last.name}" if last else "from the beginning, since there is no checkpoint yet"
            announce(
                f"Stopped after step {step}. Summary: {folder / 'summary.html'}. With --resume it goes on {whence}."
            )
        raise
    seconds = time.perf_counter() - start
    trainer.save_model(str(folder / "policy"))
    rates = _last_pass_rates(trainer)
    result = {**rates, **_usage(trainer, settings, seconds)}
    if process.is_main_process:
        atomic_write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")
        if show:
            write_summary(folder)
    first = {k: v for entry in trainer.state.log_history if entry["step"] == 0 for k, v in entry.items()}
    for name, value in rates.items():
        before = f" (before: {first[name]:.3f})" if name in first else ""
        announce(f"{name.removeprefix('eval_')}: {value:.3f}{before}")
    for name, path in (("Policy", "policy"), ("Metrics", "metrics.jsonl"), ("Summary", "summary.html")):
        announce(f"{name}: {folder / path}")
    if config.trace_dir:
        announce(f"Trace: {config.trace_dir}\nTo audit it: kvar audit {config.trace_dir}")
    return result


def _say_nothing(*args, **kwargs) -> None:
    pass


def _make_trainer(settings: RunSettings, resumed: bool, announce: Callable) -> KAETrainer:
    """The trainer of a run, with its policy warmed up and its task loaded."""
    run, config, adapter = settings.run, settings.training, get_peft_config(settings.model)
    if run.threads:
        torch.set_num_threads(run.threads)
    model, tokenizer = load_policy(run.model, settings.model, config.seed, **settings.model_init_kwargs)
    if run.model == SMOLLM2:  # which is there for machines without a GPU
        share_start(model)
        score_completions_only()
    task = load_task(run, tokenizer, config.seed + 1)
    # A checkpoint brings its own weights. Prompt features are those of the warmed-up policy, so they need it again.
    if not resumed or run.prompt_features:
        model = warmed_up_policy(settings, model, tokenizer, task, announce)
    elif run.sft_steps and adapter:
        model = get_peft_model(model, adapter)
    prompts = task.train
    if run.prompt_features:
        prompts = with_prompt_features(prompts, model, tokenizer, run.prompt_features)
    config.disable_tqdm = True
    config.eval_on_start &= not resumed
    trainer = KAETrainer(
        model=model,
        reward_funcs=task.reward,
        args=config,
        train_dataset=prompts,
        eval_dataset=_evaluation_prompts(task),
        processing_class=tokenizer,
        true_value_func=task.exact_value,
        peft_config=None if isinstance(model, PeftModel) else adapter,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _evaluation_prompts(task: Task):
    """Held-out prompts; with exact values, which are cheap, the training prompts as well."""
    if task.exact_value is None:
        return task.held_out
    return {"train": task.train, **({"held_out": task.held_out} if task.held_out else {})}


def _last_pass_rates(trainer) -> dict[str, float]:
    """Pass rates after the last step, measured now unless they were logged at that step."""
    if trainer.eval_dataset is None:
        return {}
    state = trainer.state
    logged = [entry for entry in state.log_history if entry["step"] == state.global_step]
    if not any("pass@" in name for entry in logged for name in entry):
        trainer.evaluate()
        logged = state.log_history
    return {k: v for entry in logged for k, v in entry.items() if k.startswith("eval_") and "pass@" in k}


def _usage(trainer: KAETrainer, settings: RunSettings, seconds: float) -> dict:
    """Steps, rollouts, time and memory that a run took."""
    step = trainer.state.global_step
    found = {
        "step": step,
        "rollouts": rollouts_before(settings) + round(step * rollouts_a_step(settings.training)),
        "seconds": seconds,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "device": str(trainer.accelerator.device),
    }
    if torch.cuda.is_available():
        found["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated()
    if isinstance(trainer.baseline, CriticBaseline):
        found["critic_bytes"] = trainer.baseline.n_bytes
    return found
