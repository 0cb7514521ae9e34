"""Every baseline on every recorded run, the table: reads what ``recorded_runs_data`` wrote and prints Markdown."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from kvar.files import whole_file


def geometric_mean(values) -> float:
    """Mean of ratios.

    Parameters
    ----------
    values : array_like
        Positive numbers.

    Returns
    -------
    float
        The exponential of their mean logarithm.
    """
    return float(np.exp(np.mean(np.log(np.asarray(values, dtype=float)))))


def summary(frame: pl.DataFrame) -> dict[str, float | str]:
    """The figures that the adaptive baseline is judged by.

    Parameters
    ----------
    frame : polars.DataFrame
        What ``recorded_runs_data`` wrote.

    Returns
    -------
    dict
        Each figure by name, see `main`.
    """
    wide = frame.pivot("baseline", index="run", values="value_mse").sort("run")
    ours = wide["adaptive"].to_numpy()
    figures = {
        "to kernel 10": geometric_mean(ours / wide["kernel"].to_numpy()),
        "to group-mean": geometric_mean(ours / wide["group-mean"].to_numpy()),
    }
    for among, roles in (("published rival", ["published"]), ("rival", ["published", "tuned"])):
        names = frame.filter(pl.col("role").is_in(roles))["baseline"].unique(maintain_order=True).to_list()
        rivals = {name: wide[name].to_numpy().astype(float) for name in names}
        # Only rivals that are defined on every run can be the best over all.
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
    """The table: a run a row, value MSE in thousandths, and each baseline's geometric mean ratio to `kernel`.

    Parameters
    ----------
    frame : polars.DataFrame
        What ``recorded_runs_data`` wrote.

    Returns
    -------
    str
        Markdown.
    """
    shown = frame["baseline"].unique(maintain_order=True).sort().to_list()
    by_cell = {(r["run"], r["baseline"]): r for r in frame.iter_rows(named=True)}
    runs = frame["run"].unique(maintain_order=True).sort().to_list()
    lines = [f"| baseline | {' | '.join(runs)} | mean ratio to kernel |", "|---" * (len(runs) + 2) + "|"]
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
        lines.append(f"| {name} | {' | '.join(cells)} | {mean} |")
    return "\n".join(lines)


def main() -> None:
    """Print the summary and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("docs/recorded_runs.csv"))
    options = parser.parse_args()
    frame = pl.read_csv(options.data)
    found = summary(frame)
    lines = [f"- {name}: {v:.3f}" if isinstance(v, float) else f"- {name}: {v}" for name, v in found.items()]
    heading = "# Value MSE on the recorded runs, in thousandths ± standard error\n\n"
    text = f"{heading}{markdown(frame)}\n\nThe adaptive baseline, geometric means over runs:\n\n" + "\n".join(lines)
    with whole_file(options.data.with_suffix(".md")) as temporary:
        temporary.write_text(text + "\n")
    print("\n".join(lines), f"Table: {options.data.with_suffix('.md')}", sep="\n")


if __name__ == "__main__":
    main()
