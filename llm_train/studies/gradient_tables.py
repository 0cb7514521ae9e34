"""``python -m llm_train gradients``: value error and gradient error of every baseline, against exact truth."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from kvar.utils.atomic_files import atomic_write
from llm_train.studies.gradient_study import BASELINES, OFFLINE_SAMPLES, STAGES, Study, measure, record
from llm_train.studies.stage_errors import BLOCK, stage_changes, stage_means, usual_reference

__all__ = ["main", "table"]

_DESCRIPTION = f"""
Record a run of the tiny policy for each number of rollouts, then let the policies of three stages sample again and
again and hold every baseline's values and gradient against the exact ones, on the same rollouts.

  python -m llm_train gradients --out results/gradients --jobs 2

Stages are blocks of {BLOCK} steps on the same {Study.n_prompts_a_step} prompts, and begin after
{", ".join(map(str, STAGES))} steps. Leaves rows.parquet (a row a repetition) and table.md; what is done is not redone.
"""


def table(rows: pl.DataFrame, stages: Sequence[int] = STAGES) -> str:
    """Mean errors of every baseline at every stage."""
    values, changes = stage_means(rows, "value_mse"), stage_changes(rows)
    parts = []
    for g in sorted(rows["rollouts"].unique()):
        lines = [
            f"**{g} rollout{'s' if g > 1 else ''} a prompt**",
            "",
            "| baseline | " + " | ".join(f"value MSE, step {s}" for s in stages) + " | "
            + " | ".join(f"gradient MSE against {usual_reference(g)}, step {s}" for s in stages) + " |",
            "|---" * (1 + 2 * len(stages)) + "|",
        ]  # fmt: skip
        for name in rows["baseline"].unique(maintain_order=True):
            of_value, of_gradient = (
                [found.row(by_predicate=_cell(g, stage, name), named=True) for stage in stages]
                for found in (values, changes)
            )
            cells = [f"{1e3 * row['mean']:.2f} ± {1e3 * row['error']:.2f}" for row in of_value]
            cells += [f"{row['mean']:+.1%} ± {row['error']:.1%} ({row['of_whole']:+.1%})" for row in of_gradient]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    repetitions = rows.group_by("rollouts", "step", "baseline").len()["len"].max()
    note = (
        "Value MSE x 1e-3. Gradient MSE: change of the squared error of the whole gradient given the prompts, "
        "paired over rollouts; in brackets, with the choice of prompts as error too. ± is the Monte Carlo standard "
        f"error; a stage is {BLOCK} steps of one block, {repetitions} repetitions each. Baselines that hold the own "
        "reward (group-mean, opo, krpo, empirical-bayes, discounted-beta, buffer, a little batch-mean) shrink the "
        "gradient, to nothing for group-mean with one rollout; their smaller error is no better gradient. With one "
        f"rollout james-stein is the mean of the other prompts. basis has the pass rate of {OFFLINE_SAMPLES} rollouts "
        "of each prompt by the policy before training, critic a linear head that learned along the run."
    )
    return note + "\n\n" + "\n\n".join(parts) + "\n"


def _cell(rollouts: int, stage: int, baseline: str) -> pl.Expr:
    return (pl.col("rollouts") == rollouts) & (pl.col("stage") == stage) & (pl.col("baseline") == baseline)


def main(arguments: Sequence[str]) -> None:
    """Record, measure and write the tables."""
    from joblib import Parallel, delayed
    from rich.progress import track

    parser = argparse.ArgumentParser(
        prog="python -m llm_train gradients",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("results/gradients"))
    parser.add_argument("--rollouts", type=int, nargs="+", default=[1, 4, 8], metavar="G")
    parser.add_argument("--stages", type=int, nargs="+", default=list(STAGES), metavar="STEP")
    parser.add_argument("--repetitions", type=int, default=10, help="of each step of a stage")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time, -1 for one a core")
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--sft_until", type=float, default=0.4, help="mean value that the runs start from")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(list(arguments))
    if any(stage % BLOCK for stage in options.stages):
        parser.error(f"stages begin at multiples of {BLOCK}, got {options.stages}")
    if options.repetitions < 2:
        parser.error(f"a standard error takes 2 repetitions or more, got {options.repetitions}")
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
    told = options.out / "settings.json"
    if told.exists() and (before := json.loads(told.read_text())) != made_with:
        changed = sorted(name for name in made_with if before.get(name) != made_with[name])
        parser.error(f"{options.out} was made with other {', '.join(changed)}: choose another --out")
    options.out.mkdir(parents=True, exist_ok=True)
    with atomic_write(told) as temporary:
        temporary.write_text(json.dumps(made_with) + "\n")
    study = Study(options.out, settings, stages=tuple(options.stages))
    work = Parallel(n_jobs=options.jobs, return_as="generator_unordered")
    for _ in track(work(delayed(record)(study, g) for g in options.rollouts), "recording", total=len(options.rollouts)):
        pass
    steps = [(g, stage + visit) for g in options.rollouts for stage in options.stages for visit in range(BLOCK)]
    parts = [options.out / f"rows-g{g}-step{step}-x{options.repetitions}.parquet" for g, step in steps]
    todo = [(cell, part) for cell, part in zip(steps, parts, strict=True) if not part.exists()]
    done = work(delayed(_measured)(study, *cell, options.repetitions, part) for cell, part in todo)
    for _ in track(done, "measuring", total=len(todo)):
        pass
    rows = pl.concat([pl.read_parquet(part) for part in parts])
    with atomic_write(options.out / "rows.parquet") as temporary:
        rows.write_parquet(temporary)
    text = table(rows, options.stages)
    with atomic_write(options.out / "table.md") as temporary:
        temporary.write_text(text)
    print(text)


def _measured(study: Study, g: int, step: int, repetitions: int, part: Path) -> None:
    with atomic_write(part) as temporary:
        pl.DataFrame(measure(study, g, step, repetitions)).write_parquet(temporary)
