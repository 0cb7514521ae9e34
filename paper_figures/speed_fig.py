"""Speed of kernel regression beside other libraries."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import polars as pl

from paper_figures.drawing import PAGE
from paper_figures.exhibit import require
from paper_figures.kept_benchmark import KeptBenchmark

# Ours, with and without numba, and two loops that are no library.
_OURS = {"kvar, numba": ("#0072B2", "o"), "kvar, NumPy": ("#56B4E9", "s")}
_EXACT = 1e-9
_YARDSTICKS = ("one compiled pass", "brute force, compiled")


class Speed(KeptBenchmark):
    """Seconds over the number of points."""

    name: ClassVar[str] = "speed"
    place: ClassVar[str] = "ours"
    path = Path("docs/kernel_regression_speed.csv")
    command = "python tests/benchmarks/kernel_regression.py docs/kernel_regression_speed.csv"
    columns = ("job", "n", "program", "median_seconds", "largest_error")
    caption: ClassVar[str] = (
        "Median seconds for all n fits of a kernel regression, and for the choice among 50 bandwidths by leaving "
        "one out, on one core. At 10,000 points and more kvar with numba is the fastest library that gives exact "
        "fits; KDEpy and fastlpr round points to a grid. Grey, with its name at the end: each other library; dotted: "
        "bare compiled loops as yardsticks. Medians of up to seven runs."
    )

    def check(self, tables):
        exact = pl.col("largest_error").is_null() | (pl.col("largest_error") < _EXACT)
        large = tables[self.path.stem].filter(pl.col("n") >= 10_000, ~pl.col("program").is_in(_YARDSTICKS), exact)
        for (job, n), rows in large.group_by(["job", "n"], maintain_order=True):
            first = rows.sort("median_seconds").row(0, named=True)
            found = f"{first['program']} with {first['median_seconds']:.3g} s ({job}, {n:,} points)"
            require(first["program"] == "kvar, numba", "kvar with numba is the fastest exact library", found)

    def draw(self, tables):
        from matplotlib.figure import Figure

        jobs = tables[self.path.stem].partition_by("job", as_dict=True, maintain_order=True)
        figure = Figure(figsize=(PAGE, 2.9), layout="constrained")
        for axes, ((job,), frame) in zip(figure.subplots(1, len(jobs)), jobs.items(), strict=True):
            for (program,), rows in frame.sort("n").group_by(["program"], maintain_order=True):
                colour, marker = _OURS.get(program, ("#999999", "."))
                axes.plot(
                    rows["n"], rows["median_seconds"], ":" if program in _YARDSTICKS else "-", color=colour,
                    marker=marker, markersize=4, linewidth=1.8 if program in _OURS else 0.9,
                )  # fmt: skip
            _names(axes, frame)
            axes.set(xscale="log", yscale="log", xlabel="points, n", ylabel="seconds", title=job)
        return {"": figure}

    def beside(self, tables):
        frame = tables[self.path.stem]
        lines = ["Seconds as a ratio to kvar with numba, at the largest size that the program was timed at:"]
        for (job,), rows in frame.group_by(["job"], maintain_order=True):
            last = rows.sort("n").unique("program", keep="last").sort("ratio_to_kvar")
            told = [f"{r['program']} {r['ratio_to_kvar']:.3g} (n = {r['n']:,})" for r in last.iter_rows(named=True)]
            lines.append(f"- {job}: {'; '.join(told)}")
        return "\n".join([*lines, "", "The paper has no such comparison."])


def _names(axes, frame) -> None:
    """Name each curve at its end, in the order of their height and never closer than text is high."""
    ends = frame.sort("n").unique("program", keep="last", maintain_order=True).sort("median_seconds")
    axes.margins(x=0.05)
    for rank, row in enumerate(ends.iter_rows(named=True)):
        colour = _OURS.get(row["program"], ("#666666", ""))[0]
        axes.annotate(
            row["program"], (row["n"], row["median_seconds"]), (1.03, (rank + 0.5) / len(ends)),
            textcoords="axes fraction", fontsize=6, color=colour, va="center",
            arrowprops={"arrowstyle": "-", "color": "#CCCCCC", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip
