"""What a run reports while it trains: metrics, one line of JSON each, and a progress bar."""

from __future__ import annotations

import json
import math
from contextlib import ExitStack
from pathlib import Path

from transformers import TrainerCallback

from kvar.utils.atomic_files import atomic_write_text
from kvar.utils.progress import progress_bar

__all__ = ["MetricsFile", "ProgressBar", "read_metrics"]


def read_metrics(path: Path) -> list[dict]:
    """The logged entries of a run, none if it has logged nothing; a line that was cut off is left out."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


class MetricsFile(TrainerCallback):
    """Appends each logged entry to a file, with the step and the number of rollouts so far.

    `rollouts_per_step` counts the rollouts of one optimizer step, `rollouts_before` those before the first step.
    """

    def __init__(self, path: Path, rollouts_per_step: float, rollouts_before: int = 0):
        self._path = path
        self._rollouts_per_step = rollouts_per_step
        self._rollouts_before = rollouts_before

    def on_train_begin(self, args, state, control, **kwargs):
        """Drop the entries after the checkpoint, which will be logged again."""
        if not state.is_world_process_zero:
            return
        # A finished run has a last entry that sums it up, which is logged again when the resumed run ends.
        kept = [
            entry
            for entry in read_metrics(self._path)
            if state.global_step and entry["step"] <= state.global_step and "train_runtime" not in entry
        ]
        atomic_write_text(self._path, "".join(json.dumps(entry) + "\n" for entry in kept))

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Append an entry; numbers that are not finite become null."""
        if not state.is_world_process_zero or not logs:
            return
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in logs.items()}
        rollouts = self._rollouts_before + round(state.global_step * self._rollouts_per_step)
        entry = {"step": state.global_step, "rollouts": rollouts, **finite}
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


class ProgressBar(TrainerCallback):
    """One line with the step, the last reward and the last pass rates."""

    def __init__(self):
        self._open = ExitStack()
        self._shown: dict[str, float] = {}
        self._describe = None

    def on_train_begin(self, args, state, control, **kwargs):
        """Show the bar."""
        bar = progress_bar(state.is_world_process_zero, "training", state.max_steps)
        self._advance, self._describe = self._open.enter_context(bar)
        self._advance(state.global_step)

    def on_step_end(self, args, state, control, **kwargs):
        """Move the bar."""
        self._advance(1)

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Show the reward and the pass rates that were logged."""
        found = {k: v for k, v in (logs or {}).items() if (k == "reward" or k.endswith("pass@1")) and v is not None}
        self._shown |= {name.removeprefix("eval_"): value for name, value in found.items()}
        if self._describe:
            self._describe("  ".join(["training", *(f"{name} {value:.3f}" for name, value in self._shown.items())]))

    def on_train_end(self, args, state, control, **kwargs):
        """Remove the bar."""
        self.close()

    def close(self) -> None:
        """Give the terminal back, also after an error."""
        self._describe = None
        self._open.close()
