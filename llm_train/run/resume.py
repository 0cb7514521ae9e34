"""Where a run starts: at its last complete checkpoint, or from the beginning."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from kvar.utils.atomic_files import lock_folder
from llm_train.run.settings import RunSettings
from llm_train.secret_settings import masked

__all__ = ["checkpoint_to_resume", "last_checkpoint", "remove_unfinished_recording"]

# Settings that may differ when a run is resumed.
_MAY_CHANGE = {
    *("resume", "max_steps", "save_steps", "save_total_limit", "threads", "policy_cache", "output_dir", "trace_dir"),
}


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written completely, or None."""
    # The whole name must match: checkpoint-10-best is a copy that somebody made, not a checkpoint of the run.
    matches = ((re.fullmatch(f"{PREFIX_CHECKPOINT_DIR}-([0-9]+)", path.name), path) for path in folder.glob("*"))
    found = {int(match[1]): path for match, path in matches if match}
    for step in sorted(found, reverse=True):
        try:
            # This file is written last.
            json.loads((found[step] / "trainer_state.json").read_text())
        except (OSError, ValueError):
            continue
        return found[step]
    return None


def checkpoint_to_resume(settings: RunSettings, folder: Path) -> Path | None:
    """The checkpoint to resume, or None to start from the beginning.

    Raises
    ------
    FileExistsError
        If the folder holds a run and `resume` is not set, or the run is finished and kept no checkpoint.
    ValueError
        If the run in the folder has other settings.
    """
    saved = folder / "config.json"
    if not settings.run.resume:
        if saved.exists():
            raise FileExistsError(f"{folder} already holds a run: resume it with --resume, or set another --output_dir")
        return None
    checkpoint = last_checkpoint(folder)
    if saved.exists():
        # Without their secrets: a new token resumes the run too, and no message may show one.
        before, now = masked(json.loads(saved.read_text())["given"]), masked(settings.given)
        changed = [name for name in sorted({*before, *now} - _MAY_CHANGE) if before.get(name) != now.get(name)]
        if changed:
            differences = "; ".join(f"{name} was {before.get(name)!r}, now {now.get(name)!r}" for name in changed)
            raise ValueError(
                f"cannot resume the run in {folder} with other settings ({differences}): use the same settings, or set "
                "another --output_dir"
            )
        if checkpoint is None and (folder / "result.json").exists():
            raise FileExistsError(
                f"cannot resume the run in {folder}: it is finished and kept no checkpoint. Set another --output_dir; "
                "a run that is to be resumed later needs --save_strategy steps"
            )
    return checkpoint


def remove_unfinished_recording(folder: Path) -> None:
    """Remove the trace of a run that stopped before its first checkpoint, wherever that run recorded it."""
    recorded = json.loads((folder / "config.json").read_text())["training"]["trace_dir"]
    if recorded and Path(recorded).exists():
        lock = lock_folder(Path(recorded))
        for step in Path(recorded).glob("step-*.parquet"):
            step.unlink()
        os.close(lock)
