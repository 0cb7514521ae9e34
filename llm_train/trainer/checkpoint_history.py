"""The history of a run in its checkpoints: one file next to TRL's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kvar import Baseline
from llm_train.trainer.rank_consistency import require_same_file
from llm_train.trainer.state_file import load_state, save_state

__all__ = ["load_history", "save_history"]

_FILE = "baseline.safetensors"


def save_history(
    folder: Path,
    baseline: Baseline,
    generations: int,
    metrics: Mapping[str, list],
    order: dict,
    offline_values: Mapping[int | str, float],
) -> None:
    """Write the history into a checkpoint's folder.

    `metrics` are the values of each metric since the last log entry. `order` is the state of the sampler of prompts.
    """
    state = {
        "generations": generations,
        "baseline": baseline.state_dict(),
        "offline_values": [list(offline_values), list(offline_values.values())],
        "order": order,
        "metrics": {name: [float(value) for value in values] for name, values in metrics.items()},
    }
    save_state(state, folder / _FILE)


def load_history(checkpoint: str | None) -> dict | None:
    """Read by name what `save_history` wrote, the same file on all processes; None without a checkpoint."""
    path = None if checkpoint is None else Path(checkpoint, _FILE)
    require_same_file(path)
    if path is None:
        return None
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: this checkpoint was written without a baseline of kvar, and training would continue "
            "with an empty history; start a new run from its weights instead"
        )
    state = load_state(path)
    if critic := state.get("critic"):  # earlier versions kept the network outside of the baseline
        state["baseline"] = {**state["baseline"], "state": critic}
    state["offline_values"] = dict(zip(*state["offline_values"], strict=True))
    return {"metrics": {}, **state}  # earlier versions kept no metrics
