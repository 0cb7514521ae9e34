"""The effect of the schedule alone: baselines on recorded runs that differ only in the order of prompts."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

from typing import ClassVar

import numpy as np
import polars as pl

from kvar import plotting
from kvar.utils.markdown import markdown_table
from paper_figures import recorded_runs_data
from paper_figures.exhibit import COLUMN, require
from paper_figures.sources import RecordedRunsExhibit

_RUNS = {"independent-g4": "independent", "epoch-g4": "epochs", "block-g4": "blocks of 10"}
_SHOWN = ("group-mean", "leave-one-out", "batch-mean", "kernel", "adaptive")


class Schedule(RecordedRunsExhibit):
    """Value MSE by schedule."""

    name: ClassVar[str] = "schedule"
    place: ClassVar[str] = "Figure S.1"
    data = recorded_runs_data
    caption: ClassVar[str] = (
        "Value MSE with four rollouts per prompt, for prompts drawn independently at each step, in epochs, and in "
        "blocks that keep a mini-batch for ten steps. The schedule alone has little effect: it changes the error of "
        "group-mean by less than a tenth. kernel with the paper's window of 10 steps has less than half the error of "
        "group-mean only in blocks, where the window contains earlier visits. Bars: two standard errors over prompts "
        "and steps of the one run."
    )

    def check(self, tables):
        found = self._errors(tables)
        group, kernel = ([found[run, name][0] for run in _RUNS] for name in ("group-mean", "kernel"))
        require(max(group) < 1.1 * min(group), "the schedule changes group-mean by less than a tenth", str(group))
        halves = [k < g / 2 for k, g in zip(kernel, group, strict=True)]
        require(halves == [False, False, True], "kernel halves the error in blocks only", f"{kernel} against {group}")

    def _errors(self, tables) -> dict:
        rows = tables["recorded_runs"].filter(
            pl.col("run").is_in(list(_RUNS)),
            pl.col("baseline").is_in(_SHOWN),
            pl.col("role").is_in(["ours", "published"]),
        )
        columns = ("run", "baseline", "value_mse", "value_mse_standard_error")
        return {(run, name): (mse, error) for run, name, mse, error in rows.select(columns).iter_rows()}

    def draw(self, tables):
        found = self._errors(tables)
        figure, (axes,) = plotting.new_figure(COLUMN, 2.7)
        for rank, name in enumerate(_SHOWN):
            mse, error = np.array([found[run, name] for run in _RUNS]).T
            places = np.arange(len(_RUNS)) + 0.08 * (rank - 2)
            style = plotting.baseline_style(name) | {"linestyle": "none"}
            axes.errorbar(places, mse, 2 * error, label=name, markersize=4, **style)
        axes.set_xticks(range(len(_RUNS)), list(_RUNS.values()))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("schedule")
        axes.set_ylabel("value MSE")
        axes.grid(axis="x", visible=False)
        figure.legend(loc="outside lower center", ncols=3, columnspacing=1)
        return {"": figure}

    def compare_with_paper(self, tables):
        found = self._errors(tables)
        cells = [
            [name, *(f"{1e3 * mse:.1f} ± {1e3 * error:.1f}" for mse, error in (found[run, name] for run in _RUNS))]
            for name in _SHOWN
        ]
        return "\n\n".join(
            [
                "Value MSE x 1e-3 ± standard error:",
                markdown_table(["", *_RUNS.values()], cells),
                (
                    "The paper's ablation gives GRPO the schedule of KAE and compares accuracies after training. Here "
                    "all policies train with the same baseline, and value errors are compared."
                ),
            ]
        )
