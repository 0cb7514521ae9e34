"""The section on SmolLM2 in the page of results: a single run, and methods against each other."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import polars as pl

from kvar.utils.markdown import markdown_table
from llm_train.studies.finished_runs import read_finished

__all__ = ["compared_methods", "ends_above", "language_model"]

DOCS = Path("docs")
_OURS = "variance-optimal G=1"


def ends_above(comparison: str, against: str, method: str = _OURS) -> str:
    """How much higher a method ends than another one, paired by seed."""
    columns = [f"difference{end}" for end in ("", "_low", "_high")]
    rows = pl.read_csv(DOCS / comparison / "pairs.csv").filter(method=method, against=against)
    mean, low, high = rows.select(columns).row(0)
    return f"{mean:.3f} ± {(high - low) / 2:.3f}"


def language_model() -> dict:
    """The single run of SmolLM2: how far it came, and its times."""
    entries = [json.loads(line) for line in (DOCS / "smollm2/metrics.jsonl").read_text().splitlines()]
    accuracy = [entry["eval_held_out_pass@1"] for entry in entries if "eval_held_out_pass@1" in entry]
    timed = [entry for entry in entries if "time/step" in entry]
    return {
        "steps": entries[-1]["step"],
        "minutes": f"{json.loads((DOCS / 'smollm2/result.json').read_text())['seconds'] / 60:.0f}",
        "start": f"{accuracy[0]:.2f}",
        "end": f"{accuracy[-1]:.2f}",
        "baseline_ms": f"{1e3 * statistics.median(entry['time/baseline'] for entry in timed):.0f}",
        "step_s": f"{statistics.median(entry['time/step'] for entry in timed):.0f}",
    }


def compared_methods() -> dict:
    """The comparison on SmolLM2: its table, its learning rates, and the mean seconds of each part of a step."""
    folder, parts = DOCS / "comparison-smollm2-sums", ("step", "generation", "columns", "baseline", "update")
    finished, rows = read_finished(folder), json.loads((folder / "table.json").read_text())
    chosen = json.loads((folder / "learning_rates.json").read_text())
    cells, seconds = [], []
    for row in rows:
        runs = [finished[row["label"], row["learning_rate"], seed] for seed in range(row["n_seeds"])]
        seconds += [run.seconds for run in runs]
        means = [statistics.mean(run.step_seconds[part] for run in runs) for part in parts]
        cells.append((f"`{row['label']}`", *(f"{mean:.{3 if mean < 0.1 else 1}f}" for mean in means)))
    return {
        "table": (folder / "table.md").read_text(),
        "times": markdown_table(["method", *parts], cells),
        "minutes": f"{statistics.median(seconds) / 60:.0f}",
        "start": f"{rows[0]['start'][0]:.2f}",
        "above": {label: ends_above(folder.name, label) for row in rows if (label := row["label"]) != _OURS},
        "tuned": {label: " / ".join(f"{found['scores'][rate][0]:.3f}" for rate in sorted(found["scores"], key=float))
                  for label, found in chosen.items()},
    }  # fmt: skip
