"""Tables 1 and 2: value MSE and gradient MSE of the tiny policy at three stages of training, by exact values."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import polars as pl

from kvar.utils.markdown import markdown_table
from llm_train.studies.stage_errors import stage_changes, stage_means
from paper_figures.exhibit import Exhibit, require
from paper_figures.sources import training_file

_COMMAND = "python -m llm_train gradients --out results/gradients"
_GROUP_IN_PAPER = 4
_SHOWN = "variance-optimal, sampled"
_DIFFERS = (
    "Differences: here a 0.66M-parameter policy on sums with exact values and gradients; in the paper Qwen2.5 with "
    "1.5B and 7B parameters on MATH and GSM8K."
)


# Value MSE x 1e-3 of the paper on MATH at steps 10, 90 and 170, by the baseline that is our name of its method.
_STAGES_IN_PAPER = (10, 90, 170)
_VALUE_IN_PAPER = {
    "group-mean": ("19.4", "8.62", "5.07"),
    "batch-mean": ("78.8", "", ""),
    "kernel": ("5.80", "2.67", "1.45"),
}


def _markdown(means: pl.DataFrame, cell, paper: Mapping = MappingProxyType({})) -> str:
    """A table for each number of rollouts; with columns of the paper where there are numbers of it by baseline."""
    parts = []
    for (rollouts,), group in means.sort("rollouts").group_by(["rollouts"], maintain_order=True):
        headers = ["baseline", *(f"step {stage}" for stage in sorted(group["stage"].unique()))]
        rows = [
            [name, *map(cell, rows.sort("stage").iter_rows(named=True))]
            for (name,), rows in group.group_by(["baseline"], maintain_order=True)
        ]
        if paper and rollouts == _GROUP_IN_PAPER:
            headers += [f"paper, MATH, step {stage}" for stage in _STAGES_IN_PAPER]
            rows = [[*row, *paper.get(row[0], ("",) * len(_STAGES_IN_PAPER))] for row in rows]
        parts += [f"**G = {rollouts}**", markdown_table(headers, rows)]
    return "\n\n".join(parts)


def _change(row: Mapping) -> str:
    return f"{row['mean']:+.1%} ± {row['error']:.1%}"


class _ByStage(Exhibit):
    def tables(self):
        return {"rows": pl.read_parquet(training_file("gradients/rows.parquet", _COMMAND))}


class ValueByStage(_ByStage):
    """Value MSE by stage."""

    name: ClassVar[str] = "value-by-stage"
    place: ClassVar[str] = "Table 1"
    caption: ClassVar[str] = (
        "Value MSE x 1e-3 ± standard error at three stages of training. At every stage adaptive has less error than "
        "batch-mean and, with four rollouts or more, than group-mean. kernel, with its fixed window, does not always."
    )

    def _means(self, tables) -> dict:
        means = stage_means(tables["rows"], "value_mse")
        return {(r["rollouts"], r["stage"], r["baseline"]): r["mean"] for r in means.iter_rows(named=True)}

    def check(self, tables):
        means = self._means(tables)
        for (rollouts, stage, name), mean in means.items():
            adaptive = means[rollouts, stage, "adaptive"]
            found = f"{adaptive:.4g} and {mean:.4g} at G = {rollouts}, step {stage}"
            if name == "batch-mean" or (name == "group-mean" and rollouts >= 4):
                require(adaptive < mean, f"adaptive has less value error than {name}", found)

    def draw(self, tables):
        means = stage_means(tables["rows"], "value_mse")
        return _markdown(means, lambda row: f"{1e3 * row['mean']:.2f} ± {1e3 * row['error']:.2f}", _VALUE_IN_PAPER)

    def compare_with_paper(self, tables):
        means = self._means(tables)
        stages = sorted({stage for rollouts, stage, _ in means if rollouts == 4})
        ratios = [f"{means[4, s, 'kernel'] / means[4, s, 'group-mean']:.2f} (step {s})" for s in stages]
        return "\n".join(
            [
                f"- kernel over group-mean at G = 4: {', '.join(ratios)}",
                "- the paper, KAE over GRPO on MATH: 0.30, 0.31, 0.29; on GSM8K at step 170 0.91 over 2.50, 0.36",
                "",
                _DIFFERS,
            ]
        )


class GradientByStage(_ByStage):
    """Gradient MSE by stage."""

    name: ClassVar[str] = "gradient-by-stage"
    place: ClassVar[str] = "Table 2"
    caption: ClassVar[str] = (
        "Gradient MSE given the prompts, as a change against leave-one-out (with one rollout against james-stein, then "
        "the mean of the other prompts), paired over rollouts, ± standard error. With four rollouts kernel, adaptive "
        "and the oracle have less gradient MSE at every stage in these samples. With any number variance-optimal with "
        "norms from sampled log-probabilities has less than the oracle."
    )

    def check(self, tables):
        changes = stage_changes(tables["rows"])
        for (rollouts, stage), group in changes.group_by(["rollouts", "stage"], maintain_order=True):
            change = dict(group.select("baseline", "mean").iter_rows())
            for name in ("kernel", "adaptive", "oracle") if rollouts == 4 else ():
                claim = f"{name} has less gradient MSE than leave-one-out in these samples"
                require(change[name] < 0, claim, f"{change[name]:+.1%} at G = {rollouts}, step {stage}")
            claim, mine = "variance-optimal has less gradient MSE than the oracle in these samples", change[_SHOWN]
            found = f"{mine:+.1%} and {change['oracle']:+.1%} at G = {rollouts}, step {stage}"
            require(mine < change["oracle"], claim, found)

    def draw(self, tables):
        return _markdown(stage_changes(tables["rows"]), _change)

    def compare_with_paper(self, tables):
        rows = tables["rows"]
        references = {"leave-one-out": "GRPO: -5.4 % to -8.5 %", "batch-mean": "REINFORCE++: -32.6 % to -65.4 %"}
        cells = []
        for reference, paper in references.items():
            changes = stage_changes(rows, reference).filter(rollouts=_GROUP_IN_PAPER, baseline="kernel").sort("stage")
            cells.append([reference, *map(_change, changes.iter_rows(named=True)), paper])
        stages = sorted(changes["stage"])
        return "\n".join(
            [
                f"kernel at G = {_GROUP_IN_PAPER}, and KAE in the paper:",
                "",
                markdown_table(["against", *(f"step {stage}" for stage in stages), "paper, KAE against"], cells),
                "",
                (
                    "group-mean is leave-one-out with a gradient shrunk by 1 / G. This lowers the squared error where "
                    "noise dominates, and the learning rate undoes it. "
                    f"{_DIFFERS}"
                ),
            ]
        )
