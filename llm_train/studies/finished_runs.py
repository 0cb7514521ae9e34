"""The finished runs of a comparison in one file, which is all that is needed to go on elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kvar.utils.atomic_files import atomic_write_text
from llm_train.run.run_files import read_metrics
from llm_train.secret_settings import masked

__all__ = ["FILE", "FinishedRun", "read_finished", "settings_that_count", "write_finished"]

FILE = "finished.jsonl"
# Where a run lies says nothing about what it is.
_PLACES = {"output_dir", "trace_dir", "policy_cache", "resume"}
_DIGITS = 6
# What says how noisy the gradients of a run were, and why: means over its steps.
_OF_THE_NOISE = {
    "signal": "gradient/signal",
    "noise": "gradient/noise",
    "prompt_part": "gradient/prompt_part",
    "rollout_part": "gradient/rollout_part",
    "squared_norm_right": "baseline/squared_norm_right",
    "squared_norm_wrong": "baseline/squared_norm_wrong",
    "entropy": "entropy",
}


@dataclass(frozen=True)
class FinishedRun:
    """One run: what it was, and its curve."""

    method: str
    learning_rate: float
    seed: int
    settings: dict  # Without places
    rollouts: list[float]  # At each evaluation
    curve: list[float]  # The measure at each evaluation
    train: float | None  # The measure on the training prompts at the end; None where not evaluated
    seconds: float
    # Means over the steps, {} in files written before they were kept.
    noise: dict[str, float] = field(default_factory=dict)  # What the gradient's noise is made of, see `_OF_THE_NOISE`
    step_seconds: dict[str, float] = field(default_factory=dict)  # Of each part of a step

    @property
    def key(self) -> tuple[str, float, int]:
        """What names the run in a comparison."""
        return self.method, self.learning_rate, self.seed

    @classmethod
    def of_folder(cls, key: tuple[str, float, int], given: Mapping, folder: Path, measure: str) -> FinishedRun:
        """What a run left in its folder."""
        logged = read_metrics(folder / "metrics.jsonl")
        entries = [entry for entry in logged if measure in entry]
        result = json.loads((folder / "result.json").read_text())
        return cls(
            *key,
            settings_that_count(given),
            [entry["rollouts"] for entry in entries],
            [round(entry[measure], _DIGITS) for entry in entries],
            # Training prompts are evaluated only where values are exact.
            result.get(measure.replace("held_out", "train")) if "held_out" in measure else None,
            round(result.get("seconds", 0.0), 1),
            _means(logged, _OF_THE_NOISE),
            _seconds(logged),
        )


def _seconds(logged: list[dict]) -> dict[str, float]:
    """Mean seconds of each part of a step; a part that is not logged took none."""
    timed = [row for row in logged if "time/step" in row]
    keys = sorted({key for row in timed for key in row if key.startswith("time/")})
    whole = [{**dict.fromkeys(keys, 0.0), **row} for row in timed]
    return _means(whole, {key.removeprefix("time/"): key for key in keys})


def _means(logged: list[dict], keys: Mapping[str, str]) -> dict[str, float]:
    """Means of what was logged under some keys, by other names; a logged entry is a mean itself."""
    found = {name: [row[key] for row in logged if row.get(key) is not None] for name, key in sorted(keys.items())}
    return {name: float(f"{sum(numbers) / len(numbers):.6g}") for name, numbers in found.items() if numbers}


def settings_that_count(given: Mapping) -> dict:
    """Settings of a run as JSON has them, without places and secrets."""
    return {k: v for k, v in masked(json.loads(json.dumps(dict(given)))).items() if k not in _PLACES}


def read_finished(folder: Path) -> dict[tuple[str, float, int], FinishedRun]:
    """The finished runs of a comparison by method, learning rate and seed."""
    if not (folder / FILE).exists():
        return {}
    runs = [FinishedRun(**json.loads(line)) for line in (folder / FILE).read_text().splitlines()]
    return {run.key: run for run in runs}


def write_finished(folder: Path, runs: Mapping[tuple[str, float, int], FinishedRun]) -> None:
    """Write them in the order of their names."""
    atomic_write_text(folder / FILE, "".join(json.dumps(asdict(runs[key])) + "\n" for key in sorted(runs)))
