"""The adaptive baseline against all rivals on the recorded runs: a ratio for each run."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

from typing import ClassVar

import numpy as np
import polars as pl

from kvar import plotting
from paper_figures import recorded_runs_data
from paper_figures.exhibit import PAGE, require
from paper_figures.recorded_runs_table import RIVALS, geometric_mean, summary
from paper_figures.sources import RecordedRunsExhibit

_SHOWN = ("kernel", "group-mean", "batch-mean", "discounted-beta")
_BEST = "best of all rivals, in hindsight"


def ratios(frame: pl.DataFrame) -> pl.DataFrame:
    """Value MSE of rivals over that of the adaptive baseline, with a standard error as if the two were independent."""
    mse = pl.col("value_mse")
    known = frame.filter(mse.is_not_null() & mse.is_not_nan())
    ours = known.filter(role="ours").select("run", ours=mse, ours_error="value_mse_standard_error")
    rivals = known.filter(RIVALS)
    best = rivals.sort("value_mse").unique("run", keep="first").with_columns(baseline=pl.lit(_BEST))
    shown = pl.concat([rivals.filter(pl.col("baseline").is_in(_SHOWN), role="published"), best])
    relative = (pl.col("value_mse_standard_error") / mse) ** 2 + (pl.col("ours_error") / pl.col("ours")) ** 2
    return (
        shown.join(ours, on="run")
        .with_columns(ratio=mse / pl.col("ours"))
        .with_columns(error=pl.col("ratio") * relative.sqrt())
        .select("run", "baseline", "ratio", "error")
    )


class Adaptive(RecordedRunsExhibit):
    """Ratios of value MSE, with a line for each run."""

    name: ClassVar[str] = "adaptive"
    place: ClassVar[str] = "ours"
    data = recorded_runs_data
    caption: ClassVar[str] = (
        "Value MSE of rivals as a ratio to that of adaptive on each recorded run of the tiny policy. Right of the line "
        "adaptive is better. In the geometric mean over runs adaptive has less error than any rival in its published "
        "form, and than any single setting of a rival chosen in hindsight for all runs. Bars: standard errors over "
        "prompts and steps, as if independent."
    )

    def check(self, tables):
        found = summary(tables["recorded_runs"])
        for rival in ("to kernel 10", "to group-mean", "to best published rival", "to best rival"):
            require(found[rival] < 1, f"adaptive has less error ({rival})", f"a ratio of {found[rival]:.3f}")

    def draw(self, tables):
        from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

        found = ratios(tables["recorded_runs"])
        order = found.filter(baseline=_BEST).sort("ratio")["run"].to_list()
        figure, (axes,) = plotting.new_figure(PAGE, 0.8 + 0.155 * len(order))
        for name in (*_SHOWN, _BEST):
            rows = found.filter(baseline=name)
            places = [order.index(run) for run in rows["run"]]
            style = {"marker": "|", "color": "black"} if name == _BEST else plotting.baseline_style(name)
            size = 9 if name == _BEST else 4
            axes.errorbar(
                rows["ratio"], places, xerr=np.nan_to_num(rows["error"].to_numpy().astype(float)), elinewidth=0.6,
                **{**style, "linestyle": "none"}, markersize=size, label=name,
            )  # fmt: skip
        axes.axvline(1, color=plotting.baseline_style("adaptive")["color"], linewidth=1.5, label="adaptive")
        axes.set_xscale("log")
        low, high = found["ratio"].min(), found["ratio"].max()
        marks = [m for m in (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if low / 2 <= m <= 2 * high]
        axes.xaxis.set_major_locator(FixedLocator(marks))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_yticks(range(len(order)), order)
        axes.set_ylim(-0.7, len(order) - 0.3)
        axes.set_xlabel("value MSE as a ratio to that of adaptive")
        figure.legend(loc="outside lower center", ncols=6, columnspacing=1, handletextpad=0.3)
        return {"": figure}

    def compare_with_paper(self, tables):
        frame = tables["recorded_runs"]
        found = summary(frame)
        wide = frame.pivot("baseline", index="run", values="value_mse")
        blocks = wide.filter(pl.col("run").is_in(["block-g1", "block-g2", "block-g4", "block-g8"]))
        ours = blocks.sort("run").select("run", ratio=pl.col("kernel") / pl.col("group-mean"))
        listed = ", ".join(f"{ratio:.2f} ({run})" for run, ratio in ours.iter_rows() if ratio is not None)
        batch = geometric_mean(blocks["kernel"] / blocks["batch-mean"])
        return "\n".join(
            [
                (
                    f"- value MSE of adaptive as a ratio, geometric mean over {found['runs']} runs: "
                    f"{found['to kernel 10']:.3f} to kernel with the paper's window, "
                    f"{found['to group-mean']:.3f} to group-mean, "
                    f"{found['to best published rival']:.3f} to the best published rival "
                    f"({found['best published rival']}), {found['to best rival']:.3f} to the best single setting in "
                    f"hindsight ({found['best rival']})"
                ),
                f"- kernel over group-mean on the paper's schedule: {listed}; over batch-mean {batch:.2f}",
                (
                    "- the paper, KAE over GRPO: 0.30, 0.31 and 0.29 on MATH (steps 10, 90, 170), 0.36 on GSM8K; over "
                    "REINFORCE++ 0.07 on MATH at step 10"
                ),
                "",
                (
                    "Differences: here a 0.66M-parameter policy on sums with exact values; in the paper Qwen2.5 with "
                    "1.5B and 7B parameters on GSM8K and MATH."
                ),
            ]
        )
