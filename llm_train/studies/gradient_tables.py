"""``python -m llm_train gradients``: value error and gradient error of every baseline, by exact values."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from kvar.utils.atomic_files import atomic_write
from kvar.utils.markdown import markdown_table
from kvar.utils.progress import tracked
from llm_train.studies.gradient_study import BASELINES, OFFLINE_SAMPLES, STAGES, Study, measure, record
from llm_train.studies.stage_errors import BLOCK, stage_changes, stage_means, usual_reference

__all__ = ["main", "table"]

_DESCRIPTION = f"""
Record a run of the tiny policy for each number of rollouts. Then sample repeatedly from the policies of three stages,
and compare the values and gradients of every baseline with the exact ones, on the same rollouts.

  python -m llm_train gradients --out results/gradients --jobs 2

Stages are blocks of {BLOCK} steps on the same {Study.prompts_per_step} prompts, and begin after
{", ".join(map(str, STAGES))} steps. Writes rows.parquet, with a row for each repetition, and table.md. Finished parts
are not repeated.
"""


def table(rows: pl.DataFrame) -> str:
    """Mean errors of every baseline at every stage, as Markdown."""
    values, changes = stage_means(rows, "value_mse"), stage_changes(rows)
    stages = sorted(values["stage"].unique())
    parts = []
    for g in sorted(rows["rollouts"].unique()):
        against = f"gradient MSE against {usual_reference(g)}"
        headers = ["baseline", *(f"{what}, step {s}" for what in ("value MSE", against) for s in stages)]
        cells = []
        for name in rows["baseline"].unique(maintain_order=True):
            by_value, by_gradient = (
                [found.row(by_predicate=_cell(g, stage, name), named=True) for stage in stages]
                for found in (values, changes)
            )
            cells.append(
                [
                    name,
                    *(f"{1e3 * row['mean']:.2f} ± {1e3 * row['error']:.2f}" for row in by_value),
                    *(f"{row['mean']:+.1%} ± {row['error']:.1%} ({row['of_whole']:+.1%})" for row in by_gradient),
                ]
            )
        parts += [f"**{g} rollout{'s' if g > 1 else ''} per prompt**", markdown_table(headers, cells)]
    repetitions = rows.group_by("rollouts", "step", "baseline").len()["len"].max()
    note = (
        "Value MSE x 1e-3. Gradient MSE: change of the squared error of the whole gradient given the prompts, paired "
        "over rollouts; in brackets, as a fraction of the error that includes the choice of prompts. ± is the Monte "
        f"Carlo standard error. A stage is {BLOCK} steps of one block, with {repetitions} repetitions each. Baselines "
        "that include the own reward (group-mean, opo, krpo, empirical-bayes, discounted-beta, buffer, to a small "
        "extent batch-mean) shrink the gradient, group-mean with one rollout to zero; their smaller error does not "
        "make a better gradient. With one rollout james-stein is the mean of the other prompts. basis has pass rates "
        f"from {OFFLINE_SAMPLES} rollouts of each prompt by the policy before training. critic is a linear head "
        "trained along the run."
    )
    return "\n\n".join([note, *parts]) + "\n"


def _cell(rollouts: int, stage: int, baseline: str) -> pl.Expr:
    return (pl.col("rollouts") == rollouts) & (pl.col("stage") == stage) & (pl.col("baseline") == baseline)


def main(arguments: Sequence[str]) -> None:
    """Record, measure and write the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m llm_train gradients",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("results/gradients"))
    parser.add_argument("--rollouts", type=int, nargs="+", default=[1, 4, 8], metavar="G")
    parser.add_argument("--stages", type=int, nargs="+", default=list(STAGES), metavar="STEP")
    parser.add_argument("--repetitions", type=int, default=10, help="repetitions of each step of a stage")
    parser.add_argument("--jobs", type=int, default=1, help="parallel processes, -1 for one per core")
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--sft_until", type=float, default=0.4, help="mean value at which the warm-up stops")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table_only", action="store_true", help="write table.md anew from rows.parquet")
    options = parser.parse_args(list(arguments))
    if not options.table_only:
        _write_rows(options, parser)
    text = table(pl.read_parquet(options.out / "rows.parquet"))
    with atomic_write(options.out / "table.md") as temporary:
        temporary.write_text(text)
    print(text)


def _write_rows(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Record the runs, measure, and write ``rows.parquet``."""
    from joblib import Parallel, delayed

    if any(stage % BLOCK for stage in options.stages):
        parser.error(f"stages begin at multiples of {BLOCK}, got {options.stages}")
    if options.repetitions < 2:
        parser.error(f"a standard error needs 2 repetitions or more, got {options.repetitions}")
    settings = {
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
        parser.error(f"{options.out} was made with other {', '.join(changed)}: choose another --out")
    options.out.mkdir(parents=True, exist_ok=True)
    with atomic_write(key) as temporary:
        temporary.write_text(json.dumps(made_with) + "\n")
    study = Study(options.out, settings, stages=tuple(options.stages))
    work = Parallel(n_jobs=options.jobs, return_as="generator_unordered")
    for _ in tracked(work(delayed(record)(study, g) for g in options.rollouts), "recording", len(options.rollouts)):
        pass
    steps = [(g, stage + visit) for g in options.rollouts for stage in options.stages for visit in range(BLOCK)]
    parts = [options.out / f"rows-g{g}-step{step}-x{options.repetitions}.parquet" for g, step in steps]
    todo = [(cell, part) for cell, part in zip(steps, parts, strict=True) if not part.exists()]
    done = work(delayed(_measured)(study, *cell, options.repetitions, part) for cell, part in todo)
    for _ in tracked(done, "measuring", len(todo)):
        pass
    rows = pl.concat([pl.read_parquet(part) for part in parts])
    with atomic_write(options.out / "rows.parquet") as temporary:
        rows.write_parquet(temporary)


def _measured(study: Study, g: int, step: int, repetitions: int, part: Path) -> None:
    with atomic_write(part) as temporary:
        pl.DataFrame(measure(study, g, step, repetitions)).write_parquet(temporary)
