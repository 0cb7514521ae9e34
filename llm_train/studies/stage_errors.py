"""Errors of values and gradients over the stages of a run: means, and changes against another baseline."""

from __future__ import annotations

import polars as pl

__all__ = ["BLOCK", "STAGES", "over_stages", "stage_changes", "stage_means", "usual_reference"]

# Steps of a stage, all with the same prompts.
BLOCK = 10
# First steps of the stages of a whole study.
STAGES = (10, 90, 170)


def stage_means(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """Means over the steps of a stage and the repetitions of each step, with Monte Carlo standard errors."""
    by_step = rows.group_by(["rollouts", "step", "baseline"], maintain_order=True).agg(
        pl.col(column).mean().alias("mean"), (pl.col(column).var() / pl.len()).alias("variance")
    )
    return (
        by_step.with_columns(stage=pl.col("step") // BLOCK * BLOCK)
        .group_by(["rollouts", "stage", "baseline"], maintain_order=True)
        .agg(pl.col("mean").mean(), (pl.col("variance").sum().sqrt() / pl.len()).alias("error"))
    )


def usual_reference(rollouts: int) -> str:
    """The baseline that gradients are compared with unless another is given."""
    return "james-stein" if rollouts == 1 else "leave-one-out"


def stage_changes(rows: pl.DataFrame, reference: str | None = None) -> pl.DataFrame:
    """Change of the gradient MSE against a reference baseline, as a fraction of the latter, paired over rollouts.

    The column ``of_whole`` has the change as a fraction of the error that includes the choice of prompts.
    """
    at, stage = ["rollouts", "step", "repetition"], ["rollouts", "stage", "baseline"]
    references = {g: reference or usual_reference(g) for g in rows["rollouts"].unique()}
    other = rows.filter(pl.col("baseline") == pl.col("rollouts").replace_strict(references, return_dtype=pl.String))
    paired = rows.with_row_index("place").join(other.select(*at, reference="gradient_mse"), on=at).sort("place")
    paired = paired.with_columns(stage=pl.col("step") // BLOCK * BLOCK)
    mine, scale = (pl.col(name).mean().over(stage) for name in ("gradient_mse", "reference"))
    paired = paired.with_columns(
        change=(pl.col("gradient_mse") - pl.col("reference")) / scale,
        residual=(pl.col("gradient_mse") - mine / scale * pl.col("reference")) / scale,
        fraction=scale / (scale + pl.col("choice_mse").mean().over(stage)),
    )
    changes, residuals, fractions = (stage_means(paired, name) for name in ("change", "residual", "fraction"))
    return changes.with_columns(error=residuals["error"], of_whole=changes["mean"] * fractions["mean"])


def over_stages(changes: pl.DataFrame) -> pl.DataFrame:
    """Means of the stages' changes with half of their 95 % intervals."""
    half = 1.96 * pl.col("error").pow(2).sum().sqrt() / pl.len()
    return changes.group_by(["rollouts", "baseline"], maintain_order=True).agg(
        pl.col("mean").mean(), half.alias("half")
    )
