"""Bandwidth selectors against those of other libraries."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import polars as pl

from kvar import plotting
from paper_figures.exhibit import COLUMN, require
from paper_figures.recorded_runs_table import geometric_mean
from paper_figures.sources import BenchmarkExhibit

_DEFAULT = "kvar averaged"
_COLOURS = {"kvar": "#0072B2", "other": "#D55E00"}
_DEGREES = {0: ("o", "local means"), 1: ("s", "local lines")}


class Selectors(BenchmarkExhibit):
    """MSE at the chosen bandwidth as a ratio to the best one."""

    name: ClassVar[str] = "selectors"
    place: ClassVar[str] = "ours"
    path = Path("docs/bandwidth_selectors.csv")
    command = "python tests/benchmarks/bandwidth_selection.py docs/bandwidth_selectors.csv"
    columns = ("curve", "noise", "selector", "degree", "mse_ratio", "standard_error", "repetitions", "n")
    caption: ClassVar[str] = (
        "Mean squared error at the bandwidth that a selector chooses, as a ratio to the best in hindsight. Small "
        "marks: one curve and noise each, with two standard errors. Large marks: geometric means over curves and "
        "noises. For local means and for local lines the default of kvar, averaged, has the least mean."
    )

    def check(self, tables):
        means = self._means(tables)
        for degree in _DEGREES:
            best = means.filter(degree=degree).sort("mean").row(0, named=True)
            found = f"{best['selector']} with {best['mean']:.3f} at degree {degree}"
            require(best["selector"] == _DEFAULT, f"{_DEFAULT} has the least mean", found)

    def tables(self):
        found = super().tables()
        if _DEFAULT not in found[self.path.stem]["selector"]:
            raise self.stale(f"the selector {_DEFAULT}")
        return found

    def _means(self, tables) -> pl.DataFrame:
        # A one-sided window is a harder problem with another best bandwidth.
        frame = tables[self.path.stem].filter(pl.col("selector") != "kvar one-step-ahead")
        # Only selectors that ran on every cell can be compared by their mean.
        cells = frame.select("curve", "noise").n_unique()
        means = frame.group_by(["selector", "degree"], maintain_order=True).agg("mse_ratio")
        kept = means.filter(pl.col("mse_ratio").list.len() == cells)
        return kept.with_columns(mean=pl.col("mse_ratio").map_elements(geometric_mean, return_dtype=pl.Float64))

    def draw(self, tables):
        frame, means = tables[self.path.stem], self._means(tables)
        order = means.group_by("selector").agg(pl.col("mean").min()).sort("mean", descending=True)["selector"].to_list()
        figure, (axes,) = plotting.new_figure(COLUMN, 0.9 + 0.24 * len(order))
        for place, selector in enumerate(order):
            colour = _COLOURS["kvar" if selector.startswith("kvar") else "other"]
            for degree, (marker, _) in _DEGREES.items():
                cells, at = frame.filter(selector=selector, degree=degree), place + 0.22 * (0.5 - degree)
                mean = means.filter(selector=selector, degree=degree)["mean"]
                axes.errorbar(
                    cells["mse_ratio"], [at] * len(cells), xerr=2 * cells["standard_error"], fmt=marker, color=colour,
                    alpha=0.35, markersize=1.5, elinewidth=0.5,
                )  # fmt: skip
                axes.plot(mean, [at] * len(mean), marker, color=colour, markersize=5)
        for marker, label in _DEGREES.values():
            axes.plot([], [], marker, color="#666666", label=label)
        axes.set_yticks(range(len(order)), order)
        axes.set_xscale("log")
        axes.set_xticks(
            marks := [m for m in (1, 1.2, 1.5, 2, 3, 5, 10) if m < frame["mse_ratio"].max()], map(str, marks)
        )
        axes.minorticks_off()
        axes.set_xlabel("MSE over the best in hindsight")
        figure.legend(loc="outside lower center", ncols=2)
        return {"": figure}

    def compare_with_paper(self, tables):
        frame = tables[self.path.stem]
        size = f"n = {frame['n'].unique().to_list()}, {frame['repetitions'].max()} repetitions per cell"
        lines = [f"Geometric mean over curves and noises ({size}), degree 0 and 1:"]
        for (selector,), rows in self._means(tables).sort("mean").group_by(["selector"], maintain_order=True):
            listed = ", ".join(f"{mean:.3f}" for mean in rows.sort("degree")["mean"])
            lines.append(f"- {selector}: {listed}")
        return "\n".join([*lines, "", "The paper fixes its window and has no selector."])
