"""Every baseline on every recorded run with exact values, the data: value MSE, one-step-ahead error, coverage.

A row for each run and baseline. Standard errors are over prompts and steps of the one run. The column `role` is "ours",
"ablation", "published" (a rival with its defaults or other settings of its authors) or "tuned" (a rival with a setting
chosen in hindsight on such runs). `own_reward` says whether a rollout's own reward enters its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from kvar import audit, make_baseline, read_trace
from kvar.baselines import Baseline, baseline_class
from kvar.replaying import batches
from kvar.utils.atomic_files import atomic_write
from kvar.utils.progress import tracked
from paper_figures.sources import own_baselines, runs_and_output
from simulations.harness.keyed_results import digest, write_key

OUT = Path("docs/recorded_runs.csv")

# Other settings of the authors: TRL's example of DDPO, DBB on its larger model, SPO with constant forgetting.
_PUBLISHED = [
    ("buffer", {"size": 32, "min_count": 16}),
    ("discounted-beta", {"discount": 0.75}),
    ("discounted-beta", {"discount": 0.875, "include_own": False, "prior": 0.5}),
]
# Settings that suit such runs, found in hindsight, so that rivals are compared at their best.
_TUNED = [
    ("buffer", {"size": 32, "min_count": 1}),
    ("kalman", {"drift_rate": 0.0}),
    *[("kernel", {"bandwidth": w}) for w in (3.0, 30.0, 100.0, 300.0)],
    ("kernel", {"bandwidth": "auto"}),
    ("discounted-beta", {"discount": 0.9}),
    ("discounted-beta", {"discount": 0.9, "include_own": False}),
    ("discounted-beta", {"forgetting": "step", "discount": 0.99, "include_own": False}),
]
_ABLATIONS = [("adaptive", {part: False}) for part in ("history", "shrinkage", "drift", "features")]


def _compared() -> dict[str, list[tuple[str, dict]]]:
    # Values are compared here; what is weighted by score norms estimates something else.
    values = [name for name in own_baselines() if "score_norm" not in baseline_class(name).needs]
    registered = [(name, {}) for name in values if name not in ("oracle", "adaptive")]
    return {
        "ours": [("adaptive", {})],
        "ablation": _ABLATIONS,
        "published": [*registered, *_PUBLISHED],
        "tuned": _TUNED,
    }


def parameters(paths: Sequence[Path]) -> dict:
    """What the table depends on: digests of the runs, and the baselines."""
    return {"runs": {path.stem: digest(path) for path in sorted(paths)}, "baselines": _compared()}


def comparisons(trace) -> list[tuple[str, object]]:
    """Baselines that can be used on a run, with their roles."""
    made = [(role, make_baseline(name, **p)) for role, settings in _compared().items() for name, p in settings]
    return [
        (role, baseline) for role, baseline in made if not baseline.reason_not_applicable(trace.reward, trace.extras)
    ]


def coverage(trace, baseline) -> tuple[float, int]:
    """Fraction of exact values inside the 95 % intervals of a baseline, and the number of intervals."""
    if type(baseline).assess is Baseline.assess:
        return float("nan"), 0
    inside = total = 0
    for rows, batch in batches(trace, baseline.columns_used(trace.extras)):
        found = baseline.assess(batch)
        error = batch.to_rows(found.standard_error)
        stated = np.isfinite(error) & ~np.isnan(trace.reward[rows])
        away = np.abs(batch.to_rows(found.values) - trace.extras["true_value"][rows])
        inside += int((away <= 1.96 * error)[stated].sum())
        total += int(stated.sum())
        baseline.remember(batch)
    return (inside / total if total else float("nan")), total


def compare(path: Path) -> list[dict]:
    """Replay all baselines on one run."""
    trace = read_trace(path)
    compared = comparisons(trace)
    report = audit(trace, [baseline for _, baseline in compared])
    roles = {(baseline.name, repr(baseline.parameters)): role for role, baseline in compared}
    rows, (_, first) = [], next(batches(trace, list(trace.extras)))
    for row in report.rows:
        covered, stated = coverage(trace, make_baseline(row.baseline, **row.parameters))
        rows.append(
            {
                "run": path.stem,
                "baseline": row.label,
                "role": roles[row.baseline, repr(row.parameters)],
                "own_reward": bool(make_baseline(row.baseline, **row.parameters).own_weight(first).any()),
                "value_mse": row.value_mse.mean,
                "value_mse_standard_error": row.value_mse.standard_error,
                "one_step_error": row.one_step_error.mean,
                "coverage": covered,
                "intervals": stated,
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table's data."""
    paths, out = runs_and_output(__doc__, OUT, arguments)
    rows = [row for path in tracked(paths, "replaying runs") for row in compare(path)]
    with atomic_write(out) as temporary:
        pl.DataFrame(rows, infer_schema_length=None).write_csv(temporary)
    write_key(out.with_suffix(".json"), parameters(paths), [out])
    print(f"Data of the table: {out}")


if __name__ == "__main__":
    main()
