"""The numbers in the README are those of the result file beside it, and its code runs."""

import json
import re
import statistics
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import kvar
from llm_train.studies.stage_errors import stage_changes, stage_means
from paper_figures.recorded_runs_table import RIVALS, comparison, geometric_mean, markdown

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RESULTS = {row["baseline"]: row for row in json.loads((ROOT / "docs" / "tiny_audit.json").read_text())["table"]}


def cell(row, name):
    return f"{row[name]:.4f} ± {row[f'{name}_high'] - row[name]:.4f}" if row[name] else "0"


@pytest.mark.parametrize("name", RESULTS)
def test_the_table_is_that_of_the_result_file(name):
    row = RESULTS[name]
    ratio = row["value_mse"] / RESULTS["group-mean"]["value_mse"]
    expected = f"| `{name}` | {cell(row, 'value_mse')} | {f'{ratio:.2f}' if ratio else '0'} | "
    assert expected + f"{cell(row, 'one_step_error')} |" in README


def test_the_claims_follow_from_the_table():
    kernel = RESULTS["kernel"]["value_mse"]
    less = [round(100 * (1 - kernel / RESULTS[name]["value_mse"])) for name in ("group-mean", "batch-mean")]
    assert "`kernel` removes {} % of the value error of `group-mean` and {} % of `batch-mean`'s".format(*less) in README


def test_the_gain_over_the_group_mean_follows_from_the_schedule():
    # 1 / effective sample size at each visit of a block of 10, window 10, 4 rollouts, no drift; the paper's setting.
    inverse_sizes = []
    for visit in range(10):
        past = np.repeat(1 - np.arange(1, visit + 1) / 10, 4)
        weights = np.concatenate([np.ones(3), past])
        inverse_sizes.append((weights**2).sum() / weights.sum() ** 2)
    assert 4 * np.mean(inverse_sizes) == pytest.approx(0.35, abs=0.005)
    assert "is 0.35 of what four rollouts give" in README


def test_the_figures_of_adaptive_are_those_of_the_recorded_runs():
    frames = {name: pl.read_csv(ROOT / "docs" / f"{name}.csv") for name in ("recorded_runs", "recorded_runs_fresh")}
    assert comparison(frames) in README
    wide = [frame.pivot("baseline", index="run", values="value_mse") for frame in frames.values()]
    costs = {}
    for part in ("history", "shrinkage", "drift", "features"):
        ratios = [geometric_mean(w[f"adaptive ({part}=False)"] / w["adaptive"]) for w in wide]
        factor = f"{ratios[0]:.1f} and {ratios[1]:.1f} times the value MSE"
        costs[part] = factor if part == "history" else f"{100 * ratios[0] - 100:.0f} and {100 * ratios[1] - 100:.0f} %"
    covered = pl.concat(frames.values()).filter(pl.col("baseline") == "adaptive")["coverage"]
    fast = [
        w.filter(pl.col("run") == "fast")["adaptive"].item()
        / w.filter(pl.col("run") == "fast")["discounted-beta"].item()
        for w in wide
    ]
    single = []
    for frame in frames.values():
        rows = frame.filter(pl.col("run") == "one-prompt-g4")
        best = rows.filter(RIVALS)["value_mse"].min()
        single.append(rows.filter(baseline="adaptive")["value_mse"].item() / best)
    text = " ".join(README.split())
    for sentence in (
        f"cover the true value in {100 * covered.min():.0f} to {100 * covered.max():.0f} % of cases",
        ", ".join(f"{part} {cost}" for part, cost in costs.items()),
        f"(`fast`, by {100 * fast[0] - 100:.0f} and {100 * fast[1] - 100:.0f} %)",
        f"to the best fixed window (by {100 * single[0] - 100:.0f} and {100 * single[1] - 100:.0f} %)",
    ):
        assert sentence in text
    for name, frame in frames.items():
        written = (ROOT / "docs" / f"{name}.md").read_text()
        heading = "# Value MSE on the recorded runs, in thousandths ± standard error\n\n"
        assert written.startswith(heading + markdown(frame))


def test_what_is_left_to_adaptive_is_that_of_the_filter():
    text = " ".join(README.split())
    limits = (ROOT / "docs" / "history_limit.md").read_text().splitlines()
    rows = {row[0]: row[1:] for row in ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in limits)}
    filtered, adaptive = (float(rows["geometric mean of the ratio to the best rival of each run"][k]) for k in (2, 3))
    assert f"has {filtered / adaptive:.2f} of the value MSE of `adaptive` over the 21 runs" in text
    frame = pl.read_csv(ROOT / "docs" / "recorded_runs.csv").filter(pl.col("baseline") == "adaptive")
    for run, mse in frame.select("run", "value_mse").iter_rows():
        assert run.startswith("one-prompt") or rows[run][3] == f"{1e3 * mse:.2f}"


def test_the_promise_is_what_the_study_found():
    excess = pl.read_csv(ROOT / "docs" / "simulations" / "gradient-error-excess.csv").filter(learning_rate=0.3)
    for (name,), rows in excess.group_by(["baseline"]):
        cells = [
            f"{abs(100 * row['value']):.1f} ± {100 * row['standard_error']:.1f}"
            for row in rows.sort("group_size").iter_rows(named=True)
        ]
        assert f"| `{name}` | {' | '.join(cells)} |" in README
    of = {(row["baseline"], row["group_size"]): row["value"] for row in excess.iter_rows(named=True)}
    assert of["adaptive", 1] < of["leave-one-out", 16]
    told = f"one rollout with `adaptive` has {100 * of['adaptive', 1]:.1f} % more error than one with the true values"
    text = " ".join(README.split())
    assert told in text
    assert f"the group {100 * of['leave-one-out', 16]:.1f} % more than sixteen with the true values" in text
    fast = pl.read_csv(ROOT / "docs" / "simulations" / "gradient-error-excess.csv").filter(
        baseline="adaptive", learning_rate=1.0
    )
    told = [f"{100 * row['value']:.1f} ± {100 * row['standard_error']:.1f} %" for row in fast.iter_rows(named=True)]
    assert "`adaptive` adds {} with one rollout and {} with two".format(*told) in text
    parts = pl.read_csv(ROOT / "docs" / "simulations" / "gradient-error-parts.csv").filter(learning_rate=0.3)
    a_rollout = {
        (row["baseline"], row["group_size"]): row["total"] * row["group_size"] for row in parts.iter_rows(named=True)
    }
    less = [a_rollout["adaptive", 1] / a_rollout["leave-one-out", g] for g in (8, 16)]
    assert "leaves {:.2f} of the error of groups of 8 and {:.2f} of that of groups of 16".format(*less) in text


def test_what_the_tiny_policy_says_of_gradients():
    rows = pl.read_parquet(ROOT / "docs" / "gradients" / "rows.parquet").filter(rollouts=1)
    changes = stage_changes(rows, "none").sort("stage")
    text = " ".join(README.split())
    for name, sentence in (
        ("oracle", "with the exact value by {}, {} and {} %"),
        ("adaptive", "(`adaptive`: {}, {} and {} %)"),
        ("score-weighted optimum", "less error than none: {}, {} and {} %"),
    ):
        stages = changes.filter(baseline=name).iter_rows(named=True)
        told = [f"{100 * row['mean']:+.0f} ± {100 * row['error']:.0f}" for row in stages]
        assert sentence.format(*told) in text
    values = stage_means(rows, "value_mse").sort("stage")
    for name, sentence in (
        ("adaptive", "the value MSE is {}, {} and {} thousandths with `adaptive`"),
        ("kernel", "{}, {} and {} with `kernel`"),
        ("basis", "{}, {} and {} with `basis`"),
        ("critic", "{}, {} and {} with a critic"),
        ("batch-mean", "{}, {} and {} with the mean of the batch"),
    ):
        stages = values.filter(baseline=name)["mean"]
        assert sentence.format(*(f"{1e3 * mean:.0f}" for mean in stages)) in text


def test_the_training_runs_are_those_of_the_tables():
    folders = [ROOT / "docs" / f"compare-{start}" for start in ("low", "middle")]
    tables = [{row["label"]: row for row in json.loads((folder / "table.json").read_text())} for folder in folders]
    shown = re.findall(r"^\| `.* G=\d` \| .* \|$", README, flags=re.MULTILINE)
    assert len(shown) >= 10
    for line in shown:
        label = line.split("`")[1]
        cells = []
        for rows in tables:
            (mean, low, high), (share, *ends) = rows[label]["final"], rows[label]["rollouts"]
            said = ["more" if np.isinf(end) else f"{end:.2f}" for end in ends]
            told = f"{share:.2f} ({said[0]} to {said[1]})" if np.isfinite(share) else "not reached"
            cells += [f"{mean:.3f} ± {(high - low) / 2:.3f}", "1" if label == "GRPO G=8" else told]
        assert line == f"| `{label}` | " + " | ".join(cells) + " |"
    text = " ".join(README.split())
    for rows, named in zip(tables, ("low", "middle"), strict=True):
        start, seeds = rows["GRPO G=8"]["start"][0], {row["n_seeds"] for row in rows.values()}
        assert seeds == {10}
        assert f"{named}, {start:.3f}" in text
    for folder, sentence in zip(folders, ("from the low start", "from the middle one"), strict=True):
        found = pl.read_csv(folder / "pairs.csv")
        told = []
        for label in ("adaptive G=1", "adaptive G=2"):
            row = found.filter(method=label, against="oracle G=1").row(0, named=True)
            told.append(
                "{:+.1%} ({:+.1%} to {:+.1%})".format(*(row[f"relative{end}"] for end in ("", "_low", "_high")))
            )
        assert f"{sentence} {told[0].replace('%', ' %')} and {told[1].replace('%', ' %')}" in text
    assert not any(row["fell"] for rows in tables for row in rows.values())


def test_what_a_language_model_did_is_in_its_metrics():
    folder = ROOT / "docs" / "smollm2"
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    start, end = (e["eval_held_out_pass@1"] for e in entries if "eval_held_out_pass@1" in e)
    seconds = json.loads((folder / "result.json").read_text())["seconds"]
    ms, whole = (
        statistics.median(e[f"time/{part}"] for e in entries if "time/step" in e) for part in ("baseline", "step")
    )
    text = " ".join(README.split())
    assert f"in {entries[-1]['step']} steps, {seconds / 60:.0f} minutes on two busy cores" in text
    assert f"held-out sums went from {start:.2f} to {end:.2f}" in text
    assert f"the baseline took {1000 * ms:.0f} ms of a step of {whole:.0f} s" in text


@pytest.mark.parametrize("study", ["allocation", "race", "broken-assumptions"])
def test_what_is_quoted_from_a_study_stands_on_its_page(study):
    page = (ROOT / "docs" / "simulations" / f"{study}.md").read_text()
    text = " ".join(README.split())
    found = [line for line in page.splitlines() if line.startswith("- ")]
    assert found
    assert all(line in text for line in found)


def test_the_time_of_a_step_is_that_of_the_benchmark():
    steps = (
        pl.read_csv(ROOT / "docs" / "training_step.csv").group_by("trainer").agg(pl.col("step_ms", "ours_ms").median())
    )
    ms = {row["trainer"]: row for row in steps.iter_rows(named=True)}
    grpo, adaptive = ms["GRPO"], ms["adaptive"]
    told = f"takes {grpo['step_ms']:.0f} ms with TRL's `GRPOTrainer` and {adaptive['step_ms']:.0f} ms with `adaptive`"
    assert f"{told}, {adaptive['ours_ms']:.0f} ms of which are the baseline" in " ".join(README.split())


def test_the_recorded_runs_give_the_table():
    # The run that is replayed fastest stands for all: what the table says of it is what a replay says.
    rows = pl.read_csv(ROOT / "docs" / "recorded_runs.csv").filter(pl.col("run") == "one-prompt-g4")
    trace = kvar.read_trace(ROOT / "recorded_runs" / "one-prompt-g4.parquet")
    for name in ("kernel", "adaptive", "discounted-beta"):
        error = ((kvar.replay(trace, name) - trace.extras["true_value"]) ** 2).mean()
        assert error == pytest.approx(rows.filter(pl.col("baseline") == name)["value_mse"].item(), rel=1e-9)


def test_every_baseline_is_in_the_table_of_baselines():
    listed = re.findall(r"^\| `([a-z-]+)` \| [a-zA-Z]", README, flags=re.MULTILINE)
    assert listed == kvar.baseline_names()


def test_the_loop_runs():
    block = re.search(r"## With your own loop\n+```python\n(.*?)```", README, flags=re.DOTALL)[1]
    scope = {"loop": [(["a", "b"], [[1.0, 0.0], [0.0, 0.0]])] * 3}
    exec(block, scope)
    assert scope["advantages"].shape == (2, 2)
    assert scope["state"]["name"] == "kernel"
