"""Speed of kernel regression against other libraries."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import polars as pl

from kvar import plotting
from paper_figures.exhibit import PAGE, require
from paper_figures.sources import BenchmarkExhibit

# Ours, with and without numba.
_OURS = {"kvar, numba": ("#0072B2", "o"), "kvar, NumPy": ("#56B4E9", "s")}
_EXACT = 1e-9
# Bare compiled loops, which are no library.
_YARDSTICKS = ("one compiled pass", "brute force, compiled")


class Speed(BenchmarkExhibit):
    """Seconds over the number of points."""

    name: ClassVar[str] = "speed"
    place: ClassVar[str] = "ours"
    path = Path("docs/kernel_regression_speed.csv")
    command = "python tests/benchmarks/kernel_regression.py docs/kernel_regression_speed.csv"
    columns = ("job", "n", "program", "median_seconds", "largest_error")
    caption: ClassVar[str] = (
        "Median seconds for all n fits of a kernel regression, and for the choice among 50 bandwidths by leave-one-out "
        "cross-validation, on one core. From 10,000 points on kvar with numba is the fastest library with exact fits; "
        "KDEpy and fastlpr round points to a grid. Grey: other libraries. Dotted: bare compiled loops for comparison. "
        "Medians of up to seven runs."
    )

    def check(self, tables):
        exact = pl.col("largest_error").is_null() | (pl.col("largest_error") < _EXACT)
        large = tables[self.path.stem].filter(pl.col("n") >= 10_000, ~pl.col("program").is_in(_YARDSTICKS), exact)
        for (job, n), rows in large.group_by(["job", "n"], maintain_order=True):
            first = rows.sort("median_seconds").row(0, named=True)
            found = f"{first['program']} with {first['median_seconds']:.3g} s ({job}, {n:,} points)"
            require(first["program"] == "kvar, numba", "kvar with numba is the fastest exact library", found)

    def draw(self, tables):
        jobs = tables[self.path.stem].partition_by("job", as_dict=True, maintain_order=True)
        figure, panels = plotting.new_figure(PAGE, 2.9, widths=(1,) * len(jobs))
        for axes, ((job,), frame) in zip(panels, jobs.items(), strict=True):
            for (program,), rows in frame.sort("n").group_by(["program"], maintain_order=True):
                colour, marker = _OURS.get(program, ("#999999", "."))
                axes.plot(
                    rows["n"], rows["median_seconds"], ":" if program in _YARDSTICKS else "-", color=colour,
                    marker=marker, markersize=4, linewidth=1.8 if program in _OURS else 0.9,
                )  # fmt: skip
            _names(axes, frame)
            axes.set(xscale="log", yscale="log", xlabel="points, n", ylabel="seconds", title=job)
        return {"": figure}

    def compare_with_paper(self, tables):
        frame = tables[self.path.stem]
        lines = ["Seconds as a ratio to kvar with numba, at the largest timed size of each program:"]
        for (job,), rows in frame.group_by(["job"], maintain_order=True):
            last = rows.sort("n").unique("program", keep="last").sort("ratio_to_kvar")
            ratios = [f"{r['program']} {r['ratio_to_kvar']:.3g} (n = {r['n']:,})" for r in last.iter_rows(named=True)]
            lines.append(f"- {job}: {'; '.join(ratios)}")
        return "\n".join([*lines, "", "The paper has no such comparison."])


def _names(axes, frame) -> None:
    """Write the name of each curve at its right end, in order of height and without overlap."""
    ends = frame.sort("n").unique("program", keep="last", maintain_order=True).sort("median_seconds")
    axes.margins(x=0.05)
    for rank, row in enumerate(ends.iter_rows(named=True)):
        colour = _OURS.get(row["program"], ("#666666", ""))[0]
        axes.annotate(
            row["program"], (row["n"], row["median_seconds"]), (1.03, (rank + 0.5) / len(ends)),
            textcoords="axes fraction", fontsize=6, color=colour, va="center",
            arrowprops={"arrowstyle": "-", "color": "#CCCCCC", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip
