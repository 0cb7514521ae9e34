"""Whether the files of a checkpoint are whole and belong together, before anything is loaded from it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

__all__ = ["RunName", "check_files", "check_history"]

_REMEDY = "delete this checkpoint and resume from an earlier one, or start a new run"


class RunName(TrainerCallback, ExportableState):
    """Has the name of the run in ``trainer_state.json``, which transformers writes."""

    def __init__(self, run: str = ""):
        self.run = run

    def state(self) -> dict:
        """What transformers stores of a callback."""
        return {"args": {"run": self.run}, "attributes": {}}


def check_files(checkpoint: Path) -> None:
    """Refuse a checkpoint with a file that was cut off: torch says neither which nor what to do."""
    _trainer_state(checkpoint)
    for path in sorted(checkpoint.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy"):
                pass
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged or was not written completely ({error}): {_REMEDY}") from None
    for path in sorted([*checkpoint.glob("*.pt"), *checkpoint.glob("*.pth"), *checkpoint.glob("*.bin")]):
        # The table of contents of these archives is at their end.
        if not zipfile.is_zipfile(path):
            raise ValueError(f"{path} is damaged or was not written completely: {_REMEDY}")
    if (checkpoint / "scheduler.pt").exists() and not any(checkpoint.glob("*optim*")):
        raise ValueError(
            f"{checkpoint / 'optimizer.pt'} is missing, so that training would not go on as it was: {_REMEDY}"
        )


def check_history(path: Path, state: dict, n_processes: int) -> None:
    """Refuse a history of another step or run, or of another number of processes; earlier versions said neither."""
    trainer = _trainer_state(path.parent)
    step, run = trainer["global_step"], _run_name(trainer)
    if state.get("global_step", step) != step:
        raise ValueError(
            f"{path} is the history at step {state['global_step']}, in a checkpoint of step {step}: {_REMEDY}"
        )
    if run and state.get("run", run) != run:
        raise ValueError(f"{path} is the history of another run than its checkpoint: {_REMEDY}")
    if (saved := state.get("processes", n_processes)) != n_processes:
        raise ValueError(
            f"{path.parent} was written by {saved} processes, but {n_processes} would go on: the order of prompts and "
            f"the size of a generation would change; resume with {saved}"
        )


def _trainer_state(checkpoint: Path) -> dict:
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text())
        return {**state, "global_step": state["global_step"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{checkpoint / 'trainer_state.json'} is missing or damaged: {_REMEDY}") from None


def _run_name(trainer: dict) -> str | None:
    callback = trainer.get("stateful_callbacks", {}).get(RunName.__name__)
    return callback["args"].get("run") if isinstance(callback, dict) else None
