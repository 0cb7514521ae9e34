"""Findings: what each kind says of runs made for it, what they save, and how they are written."""

import json

import numpy as np
import polars as pl
import pytest

import kvar
from kvar.auditing.finding import Finding, Severity
from kvar.auditing.kinds import KINDS
from tests.kvar.test_audit import simulated
from tests.kvar.test_audit_parts import facts_of, trace_with
from tests.kvar.test_prompt_values import drawn

NAMES = ["leave-one-out", "group-mean", "kernel", "adaptive"]


def found(trace, **options):
    return {finding.kind: finding for finding in kvar.audit(trace, NAMES, **options).findings}


def test_every_finding_is_of_a_kind_and_comes_by_severity(rng):
    report = kvar.audit(simulated(rng))
    severities = [Severity(finding.severity).rank for finding in report.findings]
    assert severities == sorted(severities)
    for finding in report.findings:
        assert finding.kind in KINDS
        assert str(finding) == finding.says
        assert np.isnan(finding.number) or np.isnan(finding.low) or finding.low <= finding.number <= finding.high
    kinds = [finding.kind for finding in report.findings]
    assert len(set(kinds)) == len(kinds)
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert [finding["kind"] for finding in content["findings"]] == kinds
    assert sum(content["verdicts"].values()) == report.facts.n_prompts


def test_groups_all_right_and_all_wrong_are_told_apart(rng):
    values = np.tile(np.repeat([0.0, 1.0, 0.5], [10, 5, 25]), (30, 1))
    findings = found(drawn(rng, values))
    assert (findings["all-wrong"].severity, findings["all-right"].severity) == ("medium", "low")
    # Of 40 prompts, and of the 25 even ones one group in sixteen either way.
    assert findings["all-wrong"].number == pytest.approx((10 + 25 / 16) / 40, abs=0.02)
    assert findings["all-right"].number == pytest.approx((5 + 25 / 16) / 40, abs=0.02)
    for kind in ("all-wrong", "all-right"):
        assert findings[kind].low < findings[kind].number < findings[kind].high
        assert findings[kind].saves == findings[kind].number * 30 * 40 * 4


def test_what_was_the_largest_reward_may_be_surpassed(monkeypatch):
    """Chunk by chunk: groups at the largest reward so far are inside the range once a larger one comes."""
    monkeypatch.setattr("kvar.rollouts.step_chunks._CHUNK_ROWS", 8)
    reward = np.zeros((10, 4, 2))
    reward[:5, :2], reward[5:, :2], reward[9, 3] = 1.0, 2.0, -1.0
    facts = facts_of(trace_with(reward))[0]
    assert facts.zero_at_top == 10 / 40
    assert facts.zero_at_bottom == 1 / 40


def test_a_jump_and_another_range_are_signs_of_hacking(rng):
    reward = (rng.random((40, 25, 4)) < 0.4).astype(float)
    calm = found(trace_with(reward))
    assert not {"reward-jump", "reward-range"} & calm.keys()
    scaled = reward.copy()
    scaled[20:] *= 10
    assert found(trace_with(scaled))["reward-range"].severity == "high"
    assert found(trace_with(scaled))["reward-range"].number == 10
    shifted = reward.copy()
    shifted[25:] = np.maximum(shifted[25:], rng.random(shifted[25:].shape) < 0.9)
    jump = found(trace_with(shifted))["reward-jump"]
    assert jump.severity == "high"
    assert "step 25" in jump.says
    assert jump.low < jump.number < jump.high


def test_savings_in_money_and_hours(rng):
    trace = simulated(rng, n_steps=20)
    timed = kvar.Trace.from_columns({**trace.columns, "seconds": np.full(len(trace), 1.8)})
    size = found(timed, cost_per_rollout=0.5)["group-size"]
    assert size.saves > 0
    assert size.money == size.saves * 0.5
    assert size.hours == pytest.approx(size.saves / 2000)
    assert "at the given cost" in size.saving
    assert np.isnan(found(trace)["group-size"].hours)
    assert Finding("trend", "info", "").saving == ""
    with pytest.raises(ValueError, match="cost_per_rollout must be a number from 0 on, got -1"):
        kvar.audit(trace, NAMES, cost_per_rollout=-1)


def test_copied_rows_are_counted(rng, tmp_path):
    step, prompt, _ = (a.ravel() for a in np.indices((12, 10, 4)))
    log = pl.DataFrame(
        {
            "step": step,
            "prompt": [f"question {p}" for p in prompt],
            "completion": [f"answer {k}" for k in range(step.size)],
            "reward": rng.integers(0, 2, step.size).astype(float),
        }
    )
    log.write_parquet(tmp_path / "once.parquet")
    twice = pl.concat([log, log.filter(pl.col("step") < 3)]).sort("step", maintain_order=True)
    twice.write_parquet(tmp_path / "twice.parquet")
    assert "duplicates" not in found(tmp_path / "once.parquet")
    copies = found(tmp_path / "twice.parquet")["duplicates"]
    assert copies.number == pytest.approx(120 / 600)


def test_the_parts_of_the_gradient_add_up(rng):
    """With sketches of the scores, the finding is the share of the baseline's part, prompts included."""
    trace = simulated(rng, n_steps=20)
    score = rng.normal(size=(len(trace), 3))
    sketches = {f"sketch_{k}": column for k, column in enumerate(score.T)}
    columns = {name: column for name, column in trace.columns.items() if name != "score_norm"}
    finding = found(kvar.Trace.from_columns({**columns, **sketches}))["gradient-noise"]
    assert "which prompts a step draws" in finding.says
    # Under leave-one-out with groups of 4 the value error is a third of the noise of a reward.
    assert finding.low < 0.25 < finding.high


@pytest.mark.parametrize("curriculum", [False, True])
def test_an_order_from_easy_to_hard_is_seen(curriculum, rng):
    level = np.linspace(0.1, 0.9, 50)
    ids = np.concatenate([rng.permutation(50) for _ in range(24)]).reshape(120, 10)
    if curriculum:
        odds = np.exp(4 * np.linspace(0.5, -0.5, 120)[:, None] * (level - 0.5) / 0.4)
        ids = np.array([rng.choice(50, 10, replace=False, p=p / p.sum()) for p in odds])
    step, prompt = np.repeat(np.arange(120), 20), np.repeat(ids.ravel(), 2)
    reward = (rng.random(step.size) < level[prompt]).astype(float)
    findings = found(kvar.Trace.from_columns({"step": step, "prompt_id": prompt, "reward": reward}))
    assert ("difficulty" in findings) is curriculum
    if curriculum:
        assert findings["difficulty"].number < -0.15


def test_the_table_of_prompts_is_written(rng, tmp_path):
    report = kvar.audit(simulated(rng, n_steps=10), NAMES)
    report.save(tmp_path)
    written = pl.read_parquet(tmp_path / "prompts.parquet")
    assert written.equals(report.prompts.table)
    assert {"prompt", "value", "error", "slope", "visits", "last_reward", "verdict"} <= set(written.columns)
