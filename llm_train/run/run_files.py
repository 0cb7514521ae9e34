"""What a run leaves as it goes: metrics, one line each, and a bar to look at; and where it can go on."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from kvar.utils.atomic_files import atomic_write

__all__ = ["MetricsFile", "ProgressBar", "last_checkpoint", "read_metrics"]


def read_metrics(path: Path) -> list[dict]:
    """Read the metrics of a run."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole."""
    # Whole names: a copy that somebody kept as checkpoint-10-best is none of the run's.
    named = ((re.fullmatch(f"{PREFIX_CHECKPOINT_DIR}-([0-9]+)", path.name), path) for path in folder.glob("*"))
    found = {int(match[1]): path for match, path in named if match}
    for step in sorted(found, reverse=True):
        try:
            # Written last.
            json.loads((found[step] / "trainer_state.json").read_text())
        except (OSError, ValueError):
            continue
        return found[step]
    return None


class MetricsFile(TrainerCallback):
    """Appends each logged entry to a file, with the step and the rollouts so far.

    Parameters
    ----------
    path : Path
        Where. A resumed run first drops what was logged after its checkpoint.
    rollouts_per_step : float
        Rollouts that one optimiser step accounts for.
    rollouts_before : int
        Rollouts before the first.
    """

    def __init__(self, path: Path, rollouts_per_step: float, rollouts_before: int = 0):
        self._path = path
        self._rollouts_per_step = rollouts_per_step
        self._rollouts_before = rollouts_before

    def on_train_begin(self, args, state, control, **kwargs):
        """Drop what is logged again."""
        if not state.is_world_process_zero:
            return
        # The last entry of a run that ended sums it up, and comes again when this one ends.
        kept = [
            entry
            for entry in read_metrics(self._path)
            if state.global_step and entry["step"] <= state.global_step and "train_runtime" not in entry
        ]
        with atomic_write(self._path) as temporary:
            temporary.write_text("".join(json.dumps(entry) + "\n" for entry in kept))

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Append an entry."""
        if not state.is_world_process_zero or not logs:
            return
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in logs.items()}
        rollouts = self._rollouts_before + round(state.global_step * self._rollouts_per_step)
        entry = {"step": state.global_step, "rollouts": rollouts, **plain}
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


class ProgressBar(TrainerCallback):
    """One line with the step, the reward and the last evaluation."""

    def __init__(self):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[said]}"),
        )
        self._said: dict[str, float] = {}

    def on_train_begin(self, args, state, control, **kwargs):
        """Show the bar."""
        if state.is_world_process_zero:
            self._task = self._progress.add_task("", total=state.max_steps, completed=state.global_step, said="")
            self._progress.start()

    def on_step_end(self, args, state, control, **kwargs):
        """Move the bar."""
        if state.is_world_process_zero:
            self._progress.update(self._task, completed=state.global_step)

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Say what was logged."""
        shown = {k: v for k, v in (logs or {}).items() if (k == "reward" or k.endswith("pass@1")) and v is not None}
        if state.is_world_process_zero and shown and self._progress.live.is_started:
            self._said |= {name.removeprefix("eval_"): value for name, value in shown.items()}
            said = "  ".join(f"{name} {value:.3f}" for name, value in self._said.items())
            self._progress.update(self._task, said=said)

    def on_train_end(self, args, state, control, **kwargs):
        """Leave the bar as it is."""
        if state.is_world_process_zero:
            self._progress.stop()
