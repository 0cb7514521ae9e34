"""The page of results: ``python -m paper_figures.results_page`` writes docs/results.md from the kept result files.

The words are in ``results_page.md`` next to this file; a function here fills one section of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from kvar.utils.atomic_files import atomic_write_text
from kvar.utils.markdown import markdown_table
from llm_train.studies.compare_report import pairs
from llm_train.studies.finished_runs import read_finished
from llm_train.studies.stage_errors import over_stages, stage_changes, stage_means
from paper_figures.language_model_section import compared_methods, ends_above, language_model
from paper_figures.recorded_runs_table import RIVALS, comparison, geometric_mean

__all__ = ["OUT", "page"]

DOCS = Path("docs")
OUT = DOCS / "results.md"
_SHOWN_GRADIENTS = (
    *("oracle", "adaptive", "kernel", "batch-mean", "basis", "critic", "none", "score-weighted", "weighted-mean"),
    *("variance-optimal, sampled", "variance-optimal, exact", "optimum"),
)

_WEIGHTED_HEAD = "| task | rollouts a step | baseline | against the batch mean of the others | against adaptive |"
_OTHER_GRADIENTS = {
    "sums, start at 0.05": "gradients/low/rows.parquet",
    "sums, start at 0.8": "gradients/high/rows.parquet",
    "multiples, start at 0.06": "gradients/multiples/rows.parquet",
}


def page() -> str:
    """Fill the page from the kept files of the folder `docs`."""
    from jinja2 import Environment, StrictUndefined

    words = Path(__file__).with_suffix(".md").read_text()
    sections = {
        "value_error": _value_error(), "recorded": _recorded_runs(), "bandit": _bandit(), "policy": _policy(),
        "training": _training(), "gains": _gains(), "rates": _rates(), "savings": _savings(),
        "assumptions": _assumptions(), "audit": _audit(), "commands": _command_times(),
        "norms": _score_norms(), "orders": _prompt_orders(), "model": language_model(), "compared": compared_methods(),
        "time": _step_time(), "regression": _regression(),
    }  # fmt: skip
    return Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(words).render(sections)


def _csv(name: str) -> pl.DataFrame:
    return pl.read_csv(DOCS / f"{name}.csv", infer_schema_length=None)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"


def _in_percent(row: Mapping) -> str:
    # Adding zero takes the sign from what is zero after rounding.
    return f"{round(100 * row['value'], 1) + 0.0:.1f} ± {100 * row['standard_error']:.1f}"


def _value_error() -> dict:
    rows = json.loads((DOCS / "tiny_audit.json").read_text())["table"]
    group = next(row["value_mse"] for row in rows if row["baseline"] == "group-mean")
    ratios = {row["baseline"]: row["value_mse"] / group for row in rows}

    def cell(row, name):
        return f"{row[name]:.4f} ± {row[f'{name}_high'] - row[name]:.4f}" if row[name] else "0"

    cells = [(f"`{r['baseline']}`", cell(r, "value_mse"), f"{ratios[r['baseline']]:.2f}", cell(r, "one_step_error"))
             for r in rows]  # fmt: skip
    # Weights of the kernel estimate at each visit of a block: the others in the group and the earlier visits.
    weights = [np.r_[np.ones(3), np.repeat(1 - np.arange(1, visit + 1) / 10, 4)] for visit in range(10)]
    return {
        "table": markdown_table(["baseline", "value MSE", "ratio to `group-mean`", "one-step-ahead error"], cells),
        "against_group": _percent(1 - ratios["kernel"]),
        "against_batch": _percent(1 - ratios["kernel"] / ratios["batch-mean"]),
        "schedule": f"{4 * np.mean([(w**2).sum() / w.sum() ** 2 for w in weights]):.2f}",
        "prompts": rows[0]["prompts"],
    }


def _recorded_runs() -> dict:
    frames = {name: _csv(name) for name in ("recorded_runs", "recorded_runs_fresh")}
    wide = [frame.pivot("baseline", index="run", values="value_mse") for frame in frames.values()]
    parts = [(part, *(f"{geometric_mean(w[f'adaptive ({part}=False)'] / w['adaptive']):.2f}" for w in wide))
             for part in ("history", "shrinkage", "drift", "features")]  # fmt: skip
    behind = []
    for name, frame in frames.items():
        best = frame.filter(RIVALS).drop_nans("value_mse").sort("value_mse").unique("run", keep="first")
        ours = frame.filter(baseline="adaptive").join(best, on="run", suffix="_best").sort("run")
        worse = ours.with_columns(ratio=pl.col("value_mse") / pl.col("value_mse_best")).filter(pl.col("ratio") > 1.02)
        behind += [(name, r["run"], r["baseline_best"], f"{r['ratio']:.2f}") for r in worse.iter_rows(named=True)]
    covered = pl.concat(frames.values()).filter(baseline="adaptive")["coverage"]
    return {
        "runs": len(wide[0]),
        "comparison": comparison(frames),
        "parts": markdown_table(["without", *frames], parts),
        "behind": markdown_table(["set", "run", "best rival", "ratio of `adaptive` to it"], behind),
        "covered": f"{100 * covered.min():.0f} to {100 * covered.max():.0f}",
    }


def _bandit() -> dict:
    excess, parts = (_csv(f"simulations/gradient-error-{name}") for name in ("excess", "parts"))
    middle = excess.filter(learning_rate=0.3).sort("group_size", maintain_order=True)
    table = [(f"`{name}`", *map(_in_percent, rows.iter_rows(named=True)))
             for (name,), rows in middle.group_by(["baseline"], maintain_order=True)]  # fmt: skip
    # The gradient's error falls as one over the number of prompts.
    a_rollout = parts.filter(learning_rate=0.3).with_columns(pl.col("total") * pl.col("group_size"))
    total = {(name, g): error for name, g, error in a_rollout.select("baseline", "group_size", "total").iter_rows()}
    fast = excess.filter(baseline="adaptive", learning_rate=1.0).sort("group_size").iter_rows(named=True)
    return {
        "table": markdown_table(["baseline", *(f"G = {g}" for g in middle["group_size"].unique().sort())], table),
        "less": {g: _percent(1 - total["adaptive", 1] / total["leave-one-out", g]) for g in (8, 16)},
        "fast": " and ".join(f"{_in_percent(row)} % at G = {row['group_size']}" for row in fast),
        "repetitions": middle["repetitions"].max(),
    }


def _policy() -> dict:
    rows = pl.read_parquet(DOCS / "gradients/rows.parquet")
    values, changes = (f.sort("stage") for f in (stage_means(rows, "value_mse"), stage_changes(rows, "oracle")))
    means, stages = over_stages(changes), values["stage"].unique().sort()
    table = [
        (
            f"`{name}`",
            *(f"{1e3 * r['mean']:.1f}" for r in values.filter(baseline=name, rollouts=1).to_dicts()),
            *(_ratio(r, r["error"]) for r in changes.filter(baseline=name, rollouts=1).to_dicts()),
            f"{100 * changes.filter(baseline=name, rollouts=1)['of_whole'].mean():+.0f} %",
        )
        for name in _SHOWN_GRADIENTS
    ]
    headers = ["baseline", *(f"{what}, step {stage}" for what in ("value", "gradient") for stage in stages), "whole"]
    groups = [
        (f"`{name}`", *(_ratio(r, r["half"]) for r in means.filter(baseline=name).sort("rollouts").to_dicts()))
        for name in _SHOWN_GRADIENTS
        if name != "oracle"
    ]
    elsewhere = [
        over_stages(stage_changes(pl.read_parquet(DOCS / path), "oracle")) for path in _OTHER_GRADIENTS.values()
    ]
    others = [
        (f"`{name}`", *(_ratio(r, r["half"]) for means in elsewhere for r in means.filter(baseline=name).to_dicts()))
        for name in _SHOWN_GRADIENTS
        if name != "oracle"
    ]
    return {
        "others": markdown_table(["baseline", *_OTHER_GRADIENTS], others),
        "table": markdown_table(headers, table),
        "by_group": markdown_table(["baseline", *(f"G = {g}" for g in rows["rollouts"].unique().sort())], groups),
        "repetitions": rows["repetition"].n_unique(),
    }


def _ratio(row: Mapping, error: float) -> str:
    return f"{1 + row['mean']:.2f} ± {error:.2f}"


def _training() -> dict:
    starts = ("low", "middle")
    found = [{row["label"]: row for row in json.loads((DOCS / f"compare-{s}/table.json").read_text())} for s in starts]
    pairs = [_csv(f"compare-{start}/pairs").filter(against="oracle G=1") for start in starts]
    names = [f"start {start}, {rows['GRPO G=8']['start'][0]:.3f}" for start, rows in zip(starts, found, strict=True)]
    pair = "{:+.1f} ({:+.1f} to {:+.1f})"
    columns = [f"relative{end}" for end in ("", "_low", "_high")]
    against = [(f"`{m}`", *(pair.format(*(100 * p.filter(method=m).select(columns)).row(0)) for p in pairs))
               for m in ("adaptive G=1", "adaptive G=2", "batch mean G=1")]  # fmt: skip
    headers = ["method", *(header for name in names for header in (name, "fraction of rollouts"))]
    shown = [(f"`{name}`", *(cell for rows in found for cell in _trained(rows[name])))
             for name in found[1] if name in found[0]]  # fmt: skip
    return {
        "rollouts": f"{_csv('compare-low/curves')['rollouts'].max():,}",
        "table": markdown_table(headers, shown),
        "against_oracle": markdown_table(["method", *names], against),
        "fell": sum(row["fell"] for rows in found for row in rows.values()),
        "seeds": found[0]["GRPO G=8"]["n_seeds"],
    }


def _gains() -> dict:
    tasks = {
        "comparison-middle": "Sums, from a mean pass rate of 0.4",
        "comparison-low": "Sums, from a mean pass rate of 0.05",
        "comparison-multiples": "Many right answers, from a mean pass rate of 0.06",
        "comparison-multiples-rate": "Many right answers, every method at the rate of 3e-4",
        "comparison-padded": "Right and wrong answers equally long and uncertain, from 0.2",
    }
    above = {}
    for start in ("middle", "low", "multiples"):
        for name, against in (("whitened", "REINFORCE++ G=1"), ("none", "no baseline G=1")):
            above[f"{start}_{name}"] = ends_above(f"comparison-{start}", against)
    shown = [{"name": name, "title": title, "table": (DOCS / name / "table.md").read_text()}
             for name, title in tasks.items()]  # fmt: skip
    by_size, mine = "comparison-batch-sizes", "variance-optimal G=1"
    sizes = {name: ends_above(by_size, f"REINFORCE++ G=1, {size}", f"{mine}, {size}")
             for name, size in (("small", 32), ("large", 512))}  # fmt: skip
    sizes["table"] = (DOCS / by_size / "table.md").read_text()
    return {"tasks": shown, "above": above, "step_sizes": sizes}


def _rates() -> dict:
    """The baseline of `attach` at the learning rate of GRPO with eight rollouts and at its own, paired by seed."""
    method, chosen = "variance-optimal G=1", json.loads((DOCS / "comparison-middle/learning_rates.json").read_text())
    rates = {label: chosen[label]["chosen"] for label in ("GRPO G=8", method)}
    runs = read_finished(DOCS / "comparison-middle") | read_finished(DOCS / "rate-of-grpo")
    found = [[runs.get((method, rate, seed)) for rate in rates.values()] for seed in range(10)]
    kept = [both for both in found if None not in both]
    curves = dict(zip(rates, np.array([[run.curve for run in both] for both in kept]).swapaxes(0, 1), strict=True))
    row = pairs(curves, dict.fromkeys(rates, np.array(kept[0][0].rollouts))).row(0, named=True)
    relative = [100 * row[f"relative{end}"] for end in ("", "_low", "_high")]
    return {
        "of_grpo": f"{rates['GRPO G=8']:g}", "own": f"{rates[method]:g}", "seeds": len(kept),
        "ends": [f"{curve[:, -1].mean():.3f}" for curve in curves.values()],
        "change": "{:+.1f} % ({:+.1f} to {:+.1f} %)".format(*relative),
    }  # fmt: skip


def _trained(row: Mapping) -> tuple[str, str]:
    (mean, low, high), (fraction, *ends) = row["final"], row["rollouts"]
    told = " to ".join("more" if math.isinf(end) else f"{end:.2f}" for end in ends)
    reached = f"{fraction:.2f} ({told})" if math.isfinite(fraction) else "not reached"
    return f"{mean:.3f} ± {(high - low) / 2:.3f}", "1" if row["label"] == "GRPO G=8" else reached


def _savings() -> dict:
    savings, race = _csv("simulations/allocation-savings"), _csv("simulations/race-ratios")
    fractions = [
        (f"`{name}`", len(v), f"{v.min():.2f} to {v.max():.2f}", *(_percent(m.mean()) for m in (v <= 0.5, v > 0.95)))
        for name in ("group-mean at its best", "group-mean at 8", "group-mean at 64", "oracle")
        for v in [savings.filter(against=name)["value"]]
    ]
    to_group = race.filter(pl.col("against").str.contains("group-mean"), pl.col("baseline") != "group-mean")
    to_oracle = race.filter(baseline="adaptive", against="oracle at the same G")
    shown = pl.concat([to_group, to_oracle]).filter(pl.col("group_size") <= 2).sort("target", maintain_order=True)
    cells = [
        (_percent(r["target"]), r["against"], f"`{r['baseline']}`", r["group_size"],
         f"{r['value']:.3f} ± {r['standard_error']:.3f}")
        for r in shown.iter_rows(named=True)
    ]  # fmt: skip
    return {
        "fractions": markdown_table(["against", "settings", "fraction", "half or less", "over 0.95"], fractions),
        "race": markdown_table(["target", "against", "baseline", "G", "fraction"], cells),
        "repetitions": savings["repetitions"].max(),
        "race_repetitions": race["repetitions"].max(),
    }


def _assumptions() -> dict:
    lines = (DOCS / "simulations/broken-assumptions.md").read_text().splitlines()
    return {
        "remarks": "\n".join(line for line in lines if line.startswith("- ")),
        "repetitions": _csv("simulations/broken-assumptions-errors")["repetitions"].max(),
    }


def _audit() -> dict:
    frame, groups = _csv("audit_calibration"), _csv("audit_calibration_groups").drop_nulls("advised")
    near = ((groups["true"] / groups["promised"] - 1).abs() <= 0.1).sum()
    kept = (groups["true"] <= 1.1 * groups["true_reference"]).sum()
    cells = [
        ("value MSE inside the 95 % interval", f"{frame['inside'].sum()} of {len(frame)} pairs of run and baseline"),
        ("value MSE at the advised G within 10 % of the estimate", f"{near} of {len(groups)} runs"),
        ("value MSE at the advised G at most 1.1 of that of whole groups' means", f"{kept} of {len(groups)} runs"),
    ]
    return {"table": markdown_table(["estimate", "holds in"], cells)}


def _score_norms() -> dict:
    claims = _csv("simulations/score-norms-claims")
    cells = [
        (r["statement"], f"{100 * r['value']:.2f} ({100 * r['low']:.2f} to {100 * r['high']:.2f})", r["verdict"])
        for r in claims.iter_rows(named=True)
    ]
    regimes = (DOCS / "norm_regimes/table.md").read_text().splitlines()
    weighted = [line for line in regimes[regimes.index(_WEIGHTED_HEAD) :] if line.startswith("|")]
    return {
        "claims": markdown_table(["claim", "% over (95 % interval)", "verdict"], cells),
        "model": "\n".join(weighted),
    }


def _prompt_orders() -> dict:
    ratios, errors = (_csv(f"simulations/prompt-orders-{name}") for name in ("ratios", "errors"))
    by = ["pass_rate", "norm_spread", "order"]
    cells = [
        (
            f"{r['pass_rate']:g}", f"{r['norm_spread']:g}", r["order"], f"{r['value']:.3f} ± {r['standard_error']:.3f}",
            "" if r["expected"] is None else f"{r['expected']:.3f}",
            f"{r['squared_bias']:.4f} ± {r['squared_bias_se']:.4f}",
        )
        for r in ratios.join(errors, on=by, maintain_order="left").iter_rows(named=True)
        if r["order"] != "epochs"
    ]  # fmt: skip
    headers = ["pass rate", "spread of norms", "order", "gradient MSE over epochs", "by theory", "squared bias"]
    return {"bandit": markdown_table(headers, cells), "policy": (DOCS / "prompt_orders/table.md").read_text().strip()}


def _step_time() -> dict:
    steps = _csv("training_step").group_by("trainer", maintain_order=True).agg(
        pl.col("step_ms", "ours_ms", "memory_mib").median(),
        least=pl.col("step_ms").min(),
        most=pl.col("step_ms").max(),
    )  # fmt: skip
    cells = [(f"`{trainer}`", f"{step:.0f} ({least:.0f} to {most:.0f})", f"{ours:.1f}", f"{memory:.0f}")
             for trainer, step, ours, memory, least, most in steps.iter_rows()]  # fmt: skip
    return {"table": markdown_table(["trainer", "step in ms", "of which baseline in ms", "memory in MiB"], cells)}


def _command_times() -> dict:
    times = _csv("help_times").select("command", "before", "here")
    cells = [(f"`{command}`", *("" if cell is None else f"{cell:.2f}" for cell in row))
             for command, *row in times.iter_rows()]  # fmt: skip
    return {"table": markdown_table(["command", "before", "now"], cells)}


def _regression() -> dict:
    selectors, speed = _csv("bandwidth_selectors"), _csv("kernel_regression_speed").filter(n=10_000)
    # Looking back only is a harder problem with another best bandwidth.
    means = selectors.filter(pl.col("selector") != "kvar one-step-ahead").group_by("selector", "degree")
    wide = means.agg(ratio=pl.col("mse_ratio").log().mean().exp()).sort("ratio").pivot("degree", index="selector")
    ratios = [(row["selector"], *("" if row[d] is None else f"{row[d]:.2f}" for d in "01")) for row in wide.to_dicts()]
    times = [(r["job"], r["program"], f"{r['median_seconds']:.3g}", f"{r['ratio_to_kvar']:,.1f}")
             for r in speed.sort("job", "median_seconds").iter_rows(named=True)]  # fmt: skip
    return {
        "selectors": markdown_table(["selector", "local means", "local lines"], ratios),
        "times": markdown_table(["job", "program", "seconds", "ratio to kvar, numba"], times),
        **_versions(),
        **{name: selectors[name].max() for name in ("n", "repetitions", "seed")},
    }


def _versions() -> dict:
    versions = _csv("kernel_regression_versions")
    sizes = versions["n"].unique(maintain_order=True).to_list()
    ratios = versions.pivot("n", index="job", values="ratio", maintain_order=True)
    now = dict(versions.filter(n=1_000_000).select("job", "now_seconds").iter_rows())
    rows = []
    for row in ratios.to_dicts():
        cells = ["" if row[str(n)] is None else f"{row[str(n)]:.2f}" for n in sizes]
        rows.append((row["job"], *cells, f"{now[row['job']]:.3g}"))
    growth = versions.filter(n=10_000_000)["growth"]
    return {
        "versions": markdown_table(["job", *(f"n = {n:,}" for n in sizes), "seconds now, n = 1,000,000"], rows),
        "tenfold": f"{growth.min():.0f} to {growth.max():.0f}",
    }


def main() -> None:
    """Write the page."""
    atomic_write_text(OUT, page())
    print(f"Results: {OUT}")


if __name__ == "__main__":
    main()
