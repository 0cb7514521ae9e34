"""What the schedule alone does: the same baselines on recorded runs that differ in the order of prompts only."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

from typing import ClassVar

import numpy as np
import polars as pl

from kvar import plotting
from paper_figures import recorded_runs_data
from paper_figures.drawing import COLUMN
from paper_figures.exhibit import require
from paper_figures.recorded_runs_exhibit import RecordedRunsExhibit

_RUNS = {"independent-g4": "drawn anew", "epoch-g4": "epochs", "block-g4": "blocks of 10"}
_SHOWN = ("group-mean", "leave-one-out", "batch-mean", "kernel", "adaptive")


class Schedule(RecordedRunsExhibit):
    """Value MSE by schedule."""

    name: ClassVar[str] = "schedule"
    place: ClassVar[str] = "Figure S.1"
    data = recorded_runs_data
    caption: ClassVar[str] = (
        "Value MSE with four rollouts a prompt, when each step draws prompts anew, when they come in epochs, and "
        "when a mini-batch stays for ten steps. The schedule alone does little: it changes the error of group-mean "
        "by less than a tenth. The paper's window of 10 steps has less than half of group-mean's error in blocks "
        "only, where it finds a past to smooth. Bars: two standard errors over prompts and steps of the one run."
    )

    def check(self, tables):
        found = self._errors(tables)
        group, kernel = ([found[run, name][0] for run in _RUNS] for name in ("group-mean", "kernel"))
        require(max(group) < 1.1 * min(group), "the schedule changes group-mean by less than a tenth", str(group))
        halves = [k < g / 2 for k, g in zip(kernel, group, strict=True)]
        require(halves == [False, False, True], "kernel halves the error in blocks only", f"{kernel} beside {group}")

    def _errors(self, tables) -> dict:
        rows = tables["recorded_runs"].filter(
            pl.col("run").is_in(list(_RUNS)),
            pl.col("baseline").is_in(_SHOWN),
            pl.col("role").is_in(["ours", "published"]),
        )
        columns = ("run", "baseline", "value_mse", "value_mse_standard_error")
        return {(run, name): (mse, error) for run, name, mse, error in rows.select(columns).iter_rows()}

    def draw(self, tables):
        from matplotlib.figure import Figure

        found = self._errors(tables)
        figure = Figure(figsize=(COLUMN, 2.7), layout="constrained")
        axes = figure.subplots()
        for rank, name in enumerate(_SHOWN):
            mse, error = np.array([found[run, name] for run in _RUNS]).T
            places = np.arange(len(_RUNS)) + 0.08 * (rank - 2)
            style = plotting.baseline_style(name) | {"linestyle": "none"}
            axes.errorbar(places, mse, 2 * error, label=name, markersize=4, **style)
        axes.set_xticks(range(len(_RUNS)), list(_RUNS.values()))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("how prompts come")
        axes.set_ylabel("value MSE")
        axes.grid(axis="x", visible=False)
        figure.legend(loc="outside lower center", ncols=3, columnspacing=1)
        return {"": figure}

    def beside(self, tables):
        found = self._errors(tables)
        lines = ["Value MSE x 1e-3 ± standard error:", "", f"| | {' | '.join(_RUNS.values())} |", "|---|---|---|---|"]
        for name in _SHOWN:
            cells = [f"{1e3 * mse:.1f} ± {1e3 * error:.1f}" for mse, error in (found[run, name] for run in _RUNS)]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines += [
            "",
            (
                "The paper's ablation gives GRPO the schedule of KAE and compares accuracies after training; here the "
                "policies are trained alike and the errors of values are compared."
            ),
        ]
        return "\n".join(lines)
