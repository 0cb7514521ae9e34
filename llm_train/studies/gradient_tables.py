"""Value error and gradient error of every baseline, by exact values: their measurement and their tables."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from kvar.utils.atomic_files import atomic_write, atomic_write_text
from kvar.utils.markdown import markdown_table
from kvar.utils.progress import tracked
from llm_train.studies.gradient_errors import BASELINES, measure
from llm_train.studies.gradient_study import OFFLINE_SAMPLES, Study, record
from llm_train.studies.stage_errors import BLOCK, over_stages, stage_changes, stage_means

__all__ = ["SHOWN", "table", "write_rows", "write_table"]

SHOWN = "variance-optimal, sampled"
_FOR_PAIRS = (
    f"Gradient MSE given the prompts of `{SHOWN}` as a fraction of that of every other baseline, paired over rollouts, "
    "in the mean over the stages, with 95 % intervals:"
)


def table(rows: pl.DataFrame) -> str:
    """Mean errors of every baseline at every stage, as Markdown."""
    values, changes = stage_means(rows, "value_mse"), stage_changes(rows, "oracle")
    means = over_stages(changes)
    stages = sorted(values["stage"].unique())
    names = rows["baseline"].unique(maintain_order=True).to_list()
    headers = [
        "baseline",
        *(f"value MSE, step {stage}" for stage in stages),
        *(f"gradient MSE over the oracle's, step {stage}" for stage in stages),
        "mean, 95 % interval",
    ]
    parts = []
    for g in sorted(rows["rollouts"].unique()):
        cells = []
        for name in names:
            by_value, by_gradient = (
                found.filter(rollouts=g, baseline=name).sort("stage").rows(named=True) for found in (values, changes)
            )
            cells.append(
                [
                    name,
                    *(f"{1e3 * row['mean']:.1f} ± {1e3 * row['error']:.1f}" for row in by_value),
                    *(f"{1 + row['mean']:.3f} ± {row['error']:.3f} ({row['of_whole']:+.0%})" for row in by_gradient),
                    _ratio(
                        means.row(by_predicate=(pl.col("rollouts") == g) & (pl.col("baseline") == name), named=True)
                    ),
                ]
            )
        parts += [f"**{g} rollout{'s' if g > 1 else ''} per prompt**", markdown_table(headers, cells)]
    return "\n\n".join([_note(rows), *parts, _FOR_PAIRS, _pairs(rows, names)]) + "\n"


def _ratio(row: dict) -> str:
    return f"{1 + row['mean']:.3f} ({1 + row['mean'] - row['half']:.3f} to {1 + row['mean'] + row['half']:.3f})"


def _pairs(rows: pl.DataFrame, names: Sequence[str]) -> str:
    """Gradient MSE of `variance-optimal` as a fraction of that of each other baseline, in the mean over the stages."""
    cells = []
    for name in names:
        if name != SHOWN:
            found = over_stages(stage_changes(rows, name)).filter(baseline=SHOWN).sort("rollouts")
            cells.append([name, *map(_ratio, found.iter_rows(named=True))])
    return markdown_table(["against", *(f"G = {g}" for g in sorted(rows["rollouts"].unique()))], cells)


def _note(rows: pl.DataFrame) -> str:
    repetitions = rows.group_by("rollouts", "step", "baseline").len()["len"].max()
    return (
        "Value MSE x 1e-3. Gradient MSE: squared error of the whole gradient given the prompts, as a ratio to that "
        "with the exact value as the baseline, paired over rollouts; in brackets, what it changes of the error that "
        "includes the choice of prompts. ± is the Monte Carlo standard error. A stage is "
        f"{BLOCK} steps of one block, with {repetitions} repetitions each. Baselines that include the own reward "
        "(group-mean, opo, krpo, empirical-bayes, discounted-beta, buffer, to a small extent batch-mean) shrink the "
        "gradient, group-mean with one rollout to zero; their smaller error does not make a better gradient. With one "
        "rollout james-stein is the mean of the other prompts. basis has pass rates from "
        f"{OFFLINE_SAMPLES} rollouts of each prompt by the policy before training. critic is a linear head trained "
        "along the run. Norms of scores are those by all parameters (exact), or proxies: by the log-probabilities of "
        "the sampled tokens (sampled), by the logits (logits), by the output head (head). score-weighted and "
        "weighted-mean have sampled norms; weighted-mean is one number for all prompts, from the other rollouts of "
        "the batch and the recent past. optimum is E[n Z] / E[n] of each prompt, n the exact squared norm; the Monte "
        f"Carlo error of its denominator adds at most {rows['optimum_excess'].max():.1%} to its gradient MSE at a step."
    )


def write_table(folder: Path) -> str:
    """Write ``table.md`` from ``rows.parquet``, and return it."""
    text = table(pl.read_parquet(folder / "rows.parquet"))
    atomic_write_text(folder / "table.md", text)
    return text


def write_rows(options: argparse.Namespace) -> None:
    """Record the runs that the options of the command describe, measure, and write ``rows.parquet``."""
    from joblib import Parallel, delayed

    if any(stage % BLOCK for stage in options.stages):
        raise ValueError(f"stages begin at multiples of {BLOCK}, got {options.stages}")
    if options.repetitions < 2:
        raise ValueError(f"a standard error needs 2 repetitions or more, got {options.repetitions}")
    settings = {
        "task": options.task,
        "learning_rate": options.learning_rate,
        "sft_until": options.sft_until,
        "sft_steps": 600,
        "largest": 99,
        "seed": options.seed,
        "policy_cache": str(options.out / "policies"),
    }
    made_with = {name: value for name, value in settings.items() if name != "policy_cache"}
    made_with |= {"stages": options.stages, "baselines": list(BASELINES)}
    key = options.out / "settings.json"
    if key.exists() and (before := json.loads(key.read_text())) != made_with:
        changed = sorted(name for name in made_with if before.get(name) != made_with[name])
        raise ValueError(f"{options.out} was made with other {', '.join(changed)}: choose another --out")
    options.out.mkdir(parents=True, exist_ok=True)
    atomic_write_text(key, json.dumps(made_with) + "\n")
    study = Study(options.out, settings, stages=tuple(options.stages))
    work = Parallel(n_jobs=options.jobs, return_as="generator_unordered")
    for _ in tracked(work(delayed(record)(study, g) for g in options.rollouts), "recording", len(options.rollouts)):
        pass
    cells = [(g, stage) for g in options.rollouts for stage in options.stages]
    parts = [options.out / f"rows-g{g}-stage{stage}-x{options.repetitions}.parquet" for g, stage in cells]
    todo = [(cell, part) for cell, part in zip(cells, parts, strict=True) if not part.exists()]
    done = work(delayed(_measured)(study, *cell, options.repetitions, part) for cell, part in todo)
    for _ in tracked(done, "measuring", len(todo)):
        pass
    rows = pl.concat([pl.read_parquet(part) for part in parts])
    with atomic_write(options.out / "rows.parquet") as temporary:
        rows.write_parquet(temporary)


def _measured(study: Study, g: int, stage: int, repetitions: int, part: Path) -> None:
    rows = pl.DataFrame(measure(study, g, range(stage, stage + BLOCK), repetitions))
    with atomic_write(part) as temporary:
        rows.with_columns(pl.col(pl.Float64).cast(pl.Float32)).write_parquet(temporary)
