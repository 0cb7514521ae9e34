"""Every baseline on every recorded run, the tables: Markdown from the files of ``recorded_runs_data``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from kvar.utils.atomic_files import atomic_write_text
from kvar.utils.markdown import markdown_table

RIVALS = pl.col("role").is_in(["published", "tuned"])
_BLOCKS = pl.col("run").str.contains("block") & ~pl.col("run").str.contains("long")
_GROUPS = ~pl.col("run").str.ends_with("-g1")
# The runs on which the adaptive baseline was developed, and the runs made afterwards.
_TABLES = [Path("docs/recorded_runs.csv"), Path("docs/recorded_runs_fresh.csv")]


def geometric_mean(values) -> float:
    """Geometric mean of ratios."""
    return float(np.exp(np.mean(np.log(np.asarray(values, dtype=float)))))


def summary(frame: pl.DataFrame) -> dict[str, float | str]:
    """Ratios and ranks that the adaptive baseline is judged by, by name."""
    from scipy.stats import spearmanr  # slow to import

    wide = frame.pivot("baseline", index="run", values="value_mse").sort("run")
    ours = wide["adaptive"].to_numpy()
    figures = {
        "to kernel 10": geometric_mean(ours / wide["kernel"].to_numpy()),
        "to group-mean": geometric_mean(ours / wide["group-mean"].to_numpy()),
    }
    rivals_of = {
        "published rival": pl.col("role") == "published",
        "rival": RIVALS,
        "rival without the own reward": RIVALS & ~pl.col("own_reward"),
    }
    for among, chosen in rivals_of.items():
        names = frame.filter(chosen)["baseline"].unique(maintain_order=True).to_list()
        rivals = {name: wide[name].to_numpy().astype(float) for name in names}
        # Only rivals that are defined on every run can be the best over all runs.
        everywhere = {name: mse for name, mse in rivals.items() if np.isfinite(mse).all()}
        best_fixed = min(everywhere, key=lambda name: geometric_mean(everywhere[name]))
        best_each = np.nanmin(np.stack(list(rivals.values())), axis=0)
        figures |= {
            f"best {among}": best_fixed,
            f"to best {among}": geometric_mean(ours / everywhere[best_fixed]),
            f"to best {among} of each run": geometric_mean(ours / best_each),
            f"worst to best {among}": float((ours / best_each).max()),
            f"runs within 2 percent of best {among}": int((ours <= 1.02 * best_each).sum()),
        }

    correlations, regrets = [], []
    for _, group in frame.filter(pl.col("role") != "ablation").group_by("run", maintain_order=True):
        known = group.filter(pl.col("one_step_error").is_not_nan() & pl.col("value_mse").is_not_nan())
        correlations.append(spearmanr(known["one_step_error"], known["value_mse"]).statistic)
        chosen = known.sort("one_step_error").row(0, named=True)
        regrets.append(chosen["value_mse"] / known["value_mse"].min())
    coverage = frame.filter(pl.col("baseline") == "adaptive").sort("run")
    return figures | {
        "runs": len(ours),
        "rank correlation": float(np.mean(correlations)),
        "recommended within 5 percent": float(np.mean(np.array(regrets) <= 1.05)),
        "coverage low": float(coverage["coverage"].min()),
        "coverage high": float(coverage["coverage"].max()),
        "runs covered 90 to 97": int(coverage["coverage"].is_between(0.90, 0.97).sum()),
    }


def markdown(frame: pl.DataFrame) -> str:
    """Value MSE in thousandths of each baseline on each run, and its geometric mean ratio to `kernel` over runs."""
    shown = frame["baseline"].unique(maintain_order=True).sort().to_list()
    by_cell = {(r["run"], r["baseline"]): r for r in frame.iter_rows(named=True)}
    runs = frame["run"].unique(maintain_order=True).sort().to_list()
    lines = []
    for name in shown:
        cells, ratios = [], []
        for run in runs:
            row = by_cell.get((run, name))
            if row is None or row["value_mse"] is None or np.isnan(row["value_mse"]):
                cells.append("-")
                continue
            error = row["value_mse_standard_error"]
            uncertain = "" if error is None or np.isnan(error) else f" ± {1e3 * error:.1f}"
            cells.append(f"{1e3 * row['value_mse']:.1f}{uncertain}")
            ratios.append(row["value_mse"] / by_cell[run, "kernel"]["value_mse"])
        mean = f"{geometric_mean(ratios):.3f}" if len(ratios) == len(runs) else "-"
        lines.append([name, *cells, mean])
    return markdown_table(["baseline", *runs, "mean ratio to kernel"], lines)


def _ratio(frame: pl.DataFrame, rival: str, runs: pl.Expr | bool = True) -> str:
    """Value MSE of the adaptive baseline as a ratio to a rival: geometric mean over runs, least and greatest."""
    wide = frame.pivot("baseline", index="run", values="value_mse").filter(runs)
    ratios = (wide["adaptive"] / wide[rival]).to_numpy()
    return f"{geometric_mean(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"


def comparison(frames: dict[str, pl.DataFrame]) -> str:
    """The adaptive baseline against its rivals on several sets of runs, as ratios of value MSE."""
    found = [summary(frame) for frame in frames.values()]
    rows = {
        "`kernel` with the paper's window of 10": [_ratio(frame, "kernel") for frame in frames.values()],
        "`kernel`, runs in blocks of 10 steps only": [_ratio(frame, "kernel", _BLOCKS) for frame in frames.values()],
        "`group-mean`, runs with groups only": [_ratio(frame, "group-mean", _GROUPS) for frame in frames.values()],
    }
    for title, among in (
        ("the best rival as published", "published rival"),
        ("the best rival with one setting chosen in hindsight for all runs", "rival"),
    ):
        rows[title] = [f"{f[f'to best {among}']:.2f} ({f[f'best {among}']})" for f in found]
    for title, among in (
        ("the best rival of each run, chosen in hindsight", "rival"),
        ("the same among rivals without the own reward", "rival without the own reward"),
    ):
        rows[title] = [
            f"{f[f'to best {among} of each run']:.2f}; within 2 % on {f[f'runs within 2 percent of best {among}']} of "
            f"{f['runs']}"
            for f in found
        ]
    return markdown_table(
        ["value MSE of `adaptive` as a ratio to", *frames], [[title, *cells] for title, cells in rows.items()]
    )


def main() -> None:
    """Write a table for each set of runs, and print the summaries and the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", default=_TABLES)
    options = parser.parse_args()
    frames = {path.stem: pl.read_csv(path) for path in options.data}
    for path, frame in zip(options.data, frames.values(), strict=True):
        lines = [f"- {k}: {v:.3f}" if isinstance(v, float) else f"- {k}: {v}" for k, v in summary(frame).items()]
        heading = "# Value MSE on the recorded runs, in thousandths ± standard error\n\n"
        tail = "\n\nThe adaptive baseline, geometric means over runs:\n\n" + "\n".join(lines)
        atomic_write_text(path.with_suffix(".md"), heading + markdown(frame) + tail + "\n")
        print(*lines, f"Table: {path.with_suffix('.md')}", sep="\n")
    print(comparison(frames))


if __name__ == "__main__":
    main()
