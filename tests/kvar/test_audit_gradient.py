"""The audit of logs with score norms: ranks against known truth, norms of right and wrong answers against a loop."""

import json
import math

import numpy as np
import polars as pl
import pytest

import kvar
from kvar.auditing.page import page, what_was_read
from kvar.replaying import replay_baseline
from kvar.rollouts import step_chunks
from kvar.variance import compare_gradients
from tests.kvar.test_cli import run

NAMES = ["none", "batch-mean", "leave-one-out", "adaptive", "variance-optimal", "group-mean", "oracle"]
NAN = float("nan")


def normed(rng, ratio, group=4, n_prompts=60, n_steps=50, slope=0.0):
    """Binary rewards with W1 / W0 = ratio; norms also go with the value over prompts, and fall as it rises."""
    step, prompt, _ = (a.ravel() for a in np.indices((n_steps, n_prompts, group)))
    value = rng.uniform(0.2, 0.7, n_prompts)[prompt] + slope * step / n_steps
    reward = (rng.random(value.size) < value).astype(float)
    size = np.exp(2 * (0.5 - value)) * np.where(reward == 1, math.sqrt(ratio), 1.0)
    columns = {"step": step, "prompt_id": prompt, "reward": reward, "true_value": value}
    return kvar.Trace.from_columns(columns | {"score_norm": size * np.exp(0.3 * rng.normal(size=value.size))})


def without(trace, *names):
    extras = {name: column for name, column in trace.extras.items() if name not in names}
    return kvar.Trace(trace.step, trace.prompt_id, trace.rollout, trace.reward, extras)


def by_name(report):
    return {row.baseline: row for row in report.rows}


def test_the_gradient_ranks_baselines_otherwise_than_the_value(rng):
    ratio = 0.2
    trace = normed(rng, ratio)
    report = kvar.audit(trace, NAMES)
    rows, value = by_name(report), trace.extras["true_value"]
    # Squared norms in the mean: level for a wrong answer, ratio times that for a right one.
    level = np.exp(4 * (0.5 - value))
    mean = (level * (value * ratio + 1 - value)).mean()
    for name, baseline in (("none", 0.0), ("oracle", value)):
        exact = (level * (value * ratio * (1 - baseline) ** 2 + (1 - value) * baseline**2)).mean() / mean
        # The prompts are given, so the interval over prompts is wide enough.
        assert rows[name].gradient_error.low < exact < rows[name].gradient_error.high
    assert rows["adaptive"].one_step_error.mean < rows["none"].one_step_error.mean
    between = compare_gradients(trace, "adaptive", "none").difference
    assert between.low > 0
    mean_square = (trace.extras["score_norm"] ** 2).mean()
    difference = rows["adaptive"].gradient_error.mean - rows["none"].gradient_error.mean
    assert difference == pytest.approx(between.mean / mean_square)
    assert report.by_gradient
    assert report.chosen is report.rows[0]
    assert report.chosen.baseline == "variance-optimal"
    assert "variance-optimal" in report.recommendation
    assert rows["none"].gradient_above_best.low > 0
    assert rows["none"].p_value_adjusted < 0.01


def test_gradient_errors_agree_with_a_loop(rng, monkeypatch):
    trace = normed(rng, 0.5, n_prompts=6, n_steps=12)
    keep = rng.random(len(trace)) < 0.8
    columns = {name: column[keep] for name, column in trace.columns.items()}
    columns["reward"][::11], columns["score_norm"][::7], columns["score_norm"][5] = NAN, NAN, 0.0
    trace = kvar.Trace.from_columns(columns)
    monkeypatch.setattr(step_chunks, "_CHUNK_ROWS", 40)
    for name in ("none", "leave-one-out", "group-mean", "james-stein", "batch-mean"):
        replayed = replay_baseline(trace, kvar.make_baseline(name))
        total = weight = 0.0
        for k in range(len(trace)):
            n = trace.extras["score_norm"][k] ** 2
            own = replayed.own_weight[k]
            if np.isnan(n) or np.isnan(trace.reward[k]) or own >= 1:
                continue
            total += n * ((trace.reward[k] - replayed.values[k]) / (1 - own)) ** 2
            weight += n
        (row,) = kvar.audit(trace, [name]).rows
        if name != "group-mean":
            assert row.gradient_error.mean == pytest.approx(total / weight, rel=1e-12)
            known = ~np.isnan(trace.reward) & ~np.isnan(trace.extras["score_norm"])
            assert row.gradient_error.n_rollouts == known.sum()


def test_equal_norms_weigh_nothing(rng):
    trace = normed(rng, 0.3, n_prompts=10, n_steps=10)
    trace = kvar.Trace.from_columns({**trace.columns, "score_norm": np.full(len(trace), 7.0)})
    for row in kvar.audit(trace, ["none", "adaptive", "leave-one-out", "variance-optimal"]).rows:
        for one, other in ((row.gradient_error, row.one_step_error), (row.gradient_above_best, row.above_best)):
            for part in ("mean", "standard_error", "low", "high"):
                assert getattr(one, part) == pytest.approx(getattr(other, part), rel=1e-6, abs=1e-7)


def test_the_own_reward_is_left_out_and_not_recommended(rng):
    report = kvar.audit(normed(rng, 1.0, n_steps=20), ["group-mean", "leave-one-out", "none"])
    rows = by_name(report)
    assert rows["group-mean"].gradient_error.mean == pytest.approx(rows["leave-one-out"].gradient_error.mean)
    assert report.chosen.baseline == "leave-one-out"
    assert "group-mean" not in report.recommendation


# --- the regime ---------------------------------------------------------------------------------------------------


def pairs_ratio(trace):
    """W1 / W0 from all pairs of a group, and of lone rollouts with the visit before, by loops."""
    low, width = np.nanmin(trace.reward), np.nanmax(trace.reward) - np.nanmin(trace.reward)
    high_sum = low_sum = 0.0
    last = {}
    for step in np.unique(trace.step):
        for prompt in np.unique(trace.prompt_id[trace.step == step]):
            rows = np.flatnonzero((trace.step == step) & (trace.prompt_id == prompt))
            group = [(trace.extras["score_norm"][k] ** 2, (trace.reward[k] - low) / width) for k in rows]
            group = [(n, z) for n, z in group if not np.isnan(n * z)]
            if len(group) == 1:
                pair = [group[0], last.get(prompt, (0.0, NAN))]
                last[prompt] = group[0]
                group = [] if np.isnan(pair[1][1]) else pair
            for i, (n, z) in enumerate(group):
                for j, (_, y) in enumerate(group):
                    if i != j:
                        high_sum += n * z * (1 - y) / (len(group) - 1)
                        low_sum += n * (1 - z) * y / (len(group) - 1)
    return high_sum / low_sum


@pytest.mark.parametrize("group", [1, 3])
def test_the_norm_ratio_agrees_with_a_loop(group, rng, monkeypatch):
    trace = normed(rng, 0.5, group=group, n_prompts=5, n_steps=20)
    keep = rng.random(len(trace)) < 0.6
    columns = {name: column[keep] for name, column in trace.columns.items()}
    columns["reward"] = columns["reward"] + rng.integers(0, 3, size=keep.sum())
    columns["reward"][::9], columns["score_norm"][::8], columns["score_norm"][3] = NAN, NAN, 0.0
    trace = kvar.Trace.from_columns(columns)
    expected = pairs_ratio(trace)
    for rows in (10_000, 7):
        monkeypatch.setattr(step_chunks, "_CHUNK_ROWS", rows)
        facts = kvar.audit(trace, ["none"]).facts
        assert facts.norm_ratio == pytest.approx(expected, rel=1e-12)
        assert facts.norm_ratio_limits[0] < expected < facts.norm_ratio_limits[1]
        assert facts.n_normed == (~np.isnan(trace.reward * trace.extras["score_norm"])).sum()


@pytest.mark.parametrize(("group", "ratio", "slope"), [(1, 1.0, 0.0), (4, 1.0, 0.2), (4, 0.4, 0.2), (1, 3.0, 0.0)])
def test_the_interval_of_the_norm_ratio_covers(group, ratio, slope):
    """Norms that go with the value, over prompts and over time, do not pass for a relation within a prompt."""
    n_runs, inside = 60, 0
    for seed in range(n_runs):
        trace = normed(np.random.default_rng([seed, group]), ratio, group, n_prompts=25, n_steps=30, slope=slope)
        low, high = kvar.audit(trace, ["none"]).facts.norm_ratio_limits
        inside += low <= ratio <= high
    assert inside >= 0.95 * n_runs - 3 * math.sqrt(0.95 * 0.05 * n_runs)


@pytest.mark.parametrize(("ratio", "words"), [(1.0, "not seen"), (0.2, "below the value"), (4.0, "above the value")])
def test_the_audit_tells_the_regime(ratio, words, rng):
    report = kvar.audit(normed(rng, ratio, n_steps=20), ["adaptive", "none"])
    (sentence,) = [f.says for f in report.findings if f.kind == "score-norms"]
    assert words in sentence
    assert f"{report.facts.norm_ratio:.2g}" in sentence


def test_equal_rewards_have_no_regime(rng):
    trace = normed(rng, 0.5, n_prompts=5, n_steps=10)
    report = kvar.audit(kvar.Trace.from_columns({**trace.columns, "reward": np.ones(len(trace))}), ["none", "kernel"])
    assert math.isnan(report.facts.norm_ratio)
    assert not any(f.kind == "score-norms" for f in report.findings)
    assert page(report)


# --- with and without norms ---------------------------------------------------------------------------------------


def test_without_norms_the_numbers_are_those_of_the_value(rng):
    trace = normed(rng, 0.1, n_steps=20)
    names = [name for name in NAMES if name != "variance-optimal"]
    with_norms, report = (kvar.audit(t, names) for t in (trace, without(trace, "score_norm")))
    rows = by_name(with_norms)
    for row in report.rows:
        for score in ("one_step_error", "estimated_value_mse", "value_mse"):
            assert getattr(row, score) == getattr(rows[row.baseline], score)
        assert row.gradient_error is row.gradient_above_best is None
    assert not report.by_gradient
    assert (report.chosen.baseline, with_norms.chosen.baseline) == ("adaptive", "none")
    (sentence,) = [f.says for f in report.findings if f.kind == "norms-missing"]
    assert "logprobs" in sentence
    assert not any(f.kind == "norms-missing" for f in with_norms.findings)
    assert report.to_dict()["facts"]["norm_ratio"] is None
    assert not any(name.startswith("gradient") for name in report.table.columns)


@pytest.mark.parametrize("norms", [NAN, 0.0, -1.0, 1e31, np.inf])
def test_norms_that_say_nothing_are_as_none(norms, rng):
    trace = normed(rng, 0.1, n_prompts=5, n_steps=10)
    trace = kvar.Trace.from_columns({**trace.columns, "score_norm": np.full(len(trace), norms)})
    report = kvar.audit(trace, ["adaptive", "none"])
    assert not report.by_gradient
    assert report.chosen.baseline == "adaptive"


def test_missing_norms_are_counted_and_said(rng):
    trace = normed(rng, 0.5, n_prompts=10, n_steps=10)
    columns = {**trace.columns, "score_norm": np.where(np.arange(len(trace)) % 4 == 0, NAN, trace.extras["score_norm"])}
    report = kvar.audit(kvar.Trace.from_columns(columns), ["adaptive", "none", "variance-optimal"])
    assert report.facts.n_normed == 300
    assert any("100 rollouts without a score norm" in sentence for sentence in what_was_read(report))
    assert all(row.gradient_error.n_rollouts == 300 for row in report.rows)


def test_files_have_the_gradient_error(rng, tmp_path):
    report = kvar.audit(normed(rng, 0.3, n_steps=30), NAMES)
    report.save(tmp_path)
    table, content = pl.read_csv(tmp_path / "audit.csv"), json.loads((tmp_path / "audit.json").read_text())
    for k, row in enumerate(report.rows):
        for end, part in (("", "mean"), ("_low", "low"), ("_high", "high")):
            expected = getattr(row.gradient_error, part)
            assert table[f"gradient_error{end}"][k] == pytest.approx(expected)
            assert content["table"][k][f"gradient_error{end}"] == pytest.approx(expected)
    assert content["facts"]["norm_ratio"] == pytest.approx(report.facts.norm_ratio)
    assert content["facts"]["norm_ratio_limits"] == pytest.approx(list(report.facts.norm_ratio_limits))
    assert "gradient error" in (tmp_path / "audit.html").read_text()
    assert "score_norm=score_norm" in report.lines["your own loop"]
    assert 'baseline="variance-optimal"' in report.lines["TRL"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_log_of_log_probabilities_is_ranked_by_the_gradient(kind, rng, tmp_path):
    # Right answers consist of tokens that the policy is sure of.
    trace = normed(rng, 1.0, n_prompts=20, n_steps=20)
    chance = np.where(trace.reward == 1, 0.8, 0.6)[:, None] + rng.uniform(-0.05, 0.05, size=(len(trace), 4))
    frame = pl.DataFrame({"step": trace.step, "prompt": trace.prompt_id, "reward": trace.reward})
    frame = frame.with_columns(pl.Series("rollout_log_probs", np.log(chance).tolist()))
    path = tmp_path / f"log.{kind}"
    frame.write_parquet(path) if kind == "parquet" else frame.write_ndjson(path)
    done = run("audit", path, "--json", *(f"--baseline={name}" for name in ("none", "adaptive", "variance-optimal")))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["chosen"] == "variance-optimal"
    assert any("rollout_log_probs" in note for note in found["reading"])
    squares = ((1 - chance) ** 2).sum(axis=1)
    exact = squares[trace.reward == 1].mean() / squares[trace.reward == 0].mean()
    assert found["facts"]["norm_ratio"] == pytest.approx(exact, rel=0.05)
    assert found["facts"]["norm_ratio_limits"][1] < 1
