"""The audit's scores against the truth of simulated runs, its intervals against statsmodels, its words and files."""

import json
import math
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

import kvar
from kvar.auditing import fresh_error, group_noise
from kvar.auditing.replay_errors import BaselineReplay
from kvar.intervals import Interval
from kvar.replaying import Replayed, replay_baseline
from kvar.rollouts.step_chunks import SortedTrace
from tests.kvar.registered import NAMES


def simulated(rng, n_prompts=40, n_steps=60, group=4, truth=True, missing=0.0):
    """Binary rewards whose probability drifts a little, every prompt at every step."""
    start, slope = rng.uniform(0.1, 0.8, n_prompts), rng.uniform(0.0, 0.1, n_prompts)
    step, prompt, _ = (a.ravel() for a in np.indices((n_steps, n_prompts, group)))
    value = start[prompt] + slope[prompt] * step / n_steps
    reward = (rng.random(value.size) < value).astype(float)
    reward[rng.random(value.size) < missing] = np.nan
    columns = {"step": step, "prompt_id": prompt, "reward": reward}
    if truth:
        lengths = rng.integers(0, 50, value.size)
        offline = rng.binomial(8, start) / 8
        columns |= {"true_value": value, "offline_value": offline[prompt], "completion_length": lengths}
        columns["score_norm"] = 1.0 + np.arange(value.size) % 3
    return kvar.Trace.from_columns(columns)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "oracle"])
def test_replay_is_what_a_run_would_have_seen(name, rng):
    trace = simulated(rng, n_prompts=5, n_steps=8, missing=0.1)
    shuffle = rng.permutation(len(trace))
    shuffled = kvar.Trace.from_columns({key: column[shuffle] for key, column in trace.columns.items()})
    values, live = np.empty(len(trace)), kvar.make_baseline(name)
    for step in range(8):
        rows = np.flatnonzero(trace.step == step)
        ids, rewards = trace.prompt_id[rows][::4], trace.reward[rows].reshape(-1, 4)
        columns = {key: trace.extras[key][rows].reshape(-1, 4) for key in live.needs}
        values[rows] = live.estimate(ids, rewards, step, **columns).ravel()
        live.update(ids, rewards, step, **columns)
    np.testing.assert_allclose(kvar.replay(trace, name), values, atol=1e-14)
    np.testing.assert_allclose(kvar.replay(shuffled, name), values[shuffle], atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_the_score_is_noise_plus_value_error(name):
    # Over independent runs, score minus noise minus value error has mean zero up to its Monte Carlo error.
    rng = np.random.default_rng(5)
    gaps = []
    for _ in range(60):
        trace = simulated(rng, n_prompts=20, n_steps=20, missing=0.05)
        truth, scored = trace.extras["true_value"], ~np.isnan(trace.reward)
        replayed = replay_baseline(trace, kvar.make_baseline(name))
        score = fresh_error(trace.reward, replayed, group_noise(trace))
        # A group with one scored rollout has no score for its own mean.
        gaps.append(np.nanmean((score - truth * (1 - truth) - (replayed.values - truth) ** 2)[scored]))
    assert abs(np.mean(gaps)) < 4 * np.std(gaps, ddof=1) / math.sqrt(len(gaps))


def test_a_group_of_one_has_no_score_for_its_own_mean(rng):
    trace = simulated(rng, group=1)
    report = kvar.audit(trace, ["group-mean", "batch-mean", "kernel"])
    by_name = {row.baseline: row for row in report.rows}
    assert math.isnan(by_name["group-mean"].one_step_error.mean)
    assert report.rows[-1].baseline == "group-mean"
    assert by_name["batch-mean"].one_step_error.mean > by_name["kernel"].one_step_error.mean


def test_intervals_agree_with_cluster_robust_least_squares(rng):
    values, clusters = rng.normal(size=300), rng.integers(0, 25, size=300)
    values += clusters / 10
    steps = rng.integers(0, 12, size=300)
    values += steps / 10
    groups = np.column_stack([clusters, steps])
    fit = sm.OLS(values, np.ones(300)).fit(cov_type="cluster", cov_kwds={"groups": groups, "df_correction": True})
    interval = Interval.over_prompts_and_steps(values, clusters, steps)
    assert interval.mean == pytest.approx(fit.params[0])
    # statsmodels corrects all three variances by the smaller number of clusters, we correct each by its own.
    assert interval.standard_error == pytest.approx(fit.bse[0], rel=0.03)
    fit = sm.OLS(values, np.ones(300)).fit(cov_type="cluster", cov_kwds={"groups": clusters, "df_correction": True})
    interval = Interval.over_prompts_and_steps(values, clusters, np.arange(300))
    assert interval.standard_error == pytest.approx(fit.bse[0], rel=1e-10)
    assert interval.n_prompts == 25
    low, high = fit.get_prediction(np.ones(1)).conf_int(alpha=0.05)[0]
    # statsmodels takes the normal quantile for robust covariances, we take Student's t over the clusters.
    assert interval.high - interval.low == pytest.approx((high - low) * 2.0639 / 1.95996, rel=1e-4)


def test_the_best_is_recommended_and_the_oracle_is_not(rng):
    report = kvar.audit(simulated(rng))
    assert report.rows[0].baseline == "oracle"
    assert report.rows[1].baseline == "adaptive"
    assert report.rows[0].value_mse.mean == 0.0
    assert report.rows[1].above_best.mean == 0.0
    assert report.chosen.baseline == "adaptive"
    assert "95 % interval" in report.recommendation
    errors = [row.ranked.mean for row in report.rows]
    assert errors == sorted(errors)


def test_p_values_are_adjusted_for_the_number_of_baselines(rng):
    rows = kvar.audit(simulated(rng, n_prompts=10, n_steps=20), ["kernel", "kalman", "buffer", "discounted-beta"]).rows
    tested = sorted((row.excess.p_value, row.p_value_adjusted) for row in rows if row.excess.p_value > 0)
    assert len(tested) == 3
    largest = 0.0
    for k, (p_value, adjusted) in enumerate(tested):
        # Holm (1979): the k-th smallest of m is multiplied by m - k + 1, and none may fall below the one before.
        largest = max(largest, min((3 - k) * p_value, 1.0))
        assert adjusted == pytest.approx(largest)
    assert [math.isnan(row.p_value_adjusted) for row in rows] == [row.excess.mean == 0 for row in rows]


def test_parameters_can_be_compared(rng):
    candidates = [kvar.make_baseline("kernel", bandwidth=b) for b in (2, 60)]
    report = kvar.audit(simulated(rng), candidates)
    assert [row.label for row in report.rows] == ["kernel (bandwidth=60.0)", "kernel (bandwidth=2.0)"]
    assert len(report.rows) == 2


def test_what_is_left_out_is_counted_and_said(rng):
    trace = simulated(rng, truth=False, missing=0.1)
    report = kvar.audit(trace)
    assert {name: why for name, why in report.skipped.items() if name in NAMES} == {
        "opo": "needs the column 'completion_length'",
        "basis": "needs the column 'offline_value'",
        "variance-optimal": "needs the column 'score_norm'",
        "score-weighted": "needs the column 'score_norm'",
        "oracle": "needs the column 'true_value'",
    }
    assert report.n_rollouts == len(trace)
    assert report.n_unscored == int(np.isnan(trace.reward).sum())
    scored = {row.baseline: row.one_step_error.n_rollouts for row in report.rows}
    alone = int(np.isnan(group_noise(trace)[~np.isnan(trace.reward)]).sum())
    assert alone > 0
    assert scored.pop("group-mean") == len(trace) - report.n_unscored - alone
    # All are compared over the same rollouts.
    assert set(scored.values()) == {len(trace) - report.n_unscored - alone}
    assert all(row.value_mse is None for row in report.rows)


def test_rewards_out_of_range_skip_a_baseline_and_stop_a_demand(rng):
    trace = simulated(rng, n_prompts=5, n_steps=5)
    trace.reward[7] = 1.5
    report = kvar.audit(trace)
    assert {name: why for name, why in report.skipped.items() if name in NAMES} == {
        "kalman": "takes rewards from 0 to 1, got 1.5"
    }
    with pytest.raises(ValueError, match=r"baseline 'kalman' takes rewards from 0 to 1, got 1.5"):
        kvar.audit(trace, ["kalman"])


def test_a_value_that_falls_with_its_own_reward_is_penalised_the_other_way():
    replayed = Replayed(np.array([0.5, 0.5]), np.array([-0.1, -0.1]))
    scores = fresh_error(np.ones(2), replayed, np.array([0.2, math.nan]))
    np.testing.assert_allclose(scores, [0.25 - 0.2 * 0.2, 0.25])


def test_a_few_missing_rewards_do_not_decide_the_recommendation(rng):
    # Values that jump at every step: history is worthless, and a few groups are down to one reward.
    step, prompt, _ = (a.ravel() for a in np.indices((60, 40, 4)))
    value = rng.choice([0.1, 0.9], size=(60, 40))[step, prompt]
    reward = (rng.random(value.size) < value).astype(float)
    reward[[0, 1, 2, 800, 801, 802]] = np.nan
    report = kvar.audit(kvar.Trace.from_columns({"step": step, "prompt_id": prompt, "reward": reward}))
    assert report.chosen.baseline == "group-mean"
    assert report.rows[0].baseline == "group-mean"
    assert all(row.above_best.mean >= 0 for row in report.rows)


def test_intervals_of_a_shared_value_cover():
    # All prompts alike: batch-mean's value error is the same for all prompts of a step, so steps are what varies.
    hits, truth = 0, 0.3 * 0.7 / (8 * 4)
    rng = np.random.default_rng(6)
    for _ in range(100):
        reward = (rng.random((40, 8, 4)) < 0.3).astype(float)
        step, prompt, _ = (a.ravel() for a in np.indices(reward.shape))
        columns = {"step": step, "prompt_id": prompt, "reward": reward.ravel(), "true_value": np.full(step.size, 0.3)}
        replay = BaselineReplay([kvar.make_baseline("batch-mean")], ["true_value"])
        replay.add(SortedTrace.of(kvar.Trace.from_columns(columns)).chunks(replay.columns))
        interval = replay.found().value_mse(0)
        hits += interval.low <= truth <= interval.high
    # Nominal 95; with one hundred repetitions the Monte Carlo standard error is 2.2.
    assert hits >= 95 - 4 * 2.2


def test_an_audit_leaves_the_baselines_it_is_given_alone(rng):
    trace, baseline = simulated(rng, n_prompts=5, n_steps=10), kvar.make_baseline("running-mean")
    first, second = (kvar.audit(trace, [baseline]).rows[0].one_step_error.mean for _ in range(2))
    assert first == second


def test_table_and_files(rng, tmp_path):
    report = kvar.audit(simulated(rng))
    assert report.table["baseline"].to_list() == [row.baseline for row in report.rows]
    report.save(tmp_path / "audit")
    assert pl.read_csv(tmp_path / "audit" / "audit.csv").shape == report.table.shape
    content = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert content["recommendation"] == report.recommendation
    assert (tmp_path / "audit" / "audit.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_audited_is_named(rng):
    trace = simulated(rng, truth=False)
    with pytest.raises(ValueError, match="needs the column 'true_value'"):
        kvar.audit(trace, ["oracle"])
    with pytest.raises(ValueError, match="unknown baseline"):
        kvar.audit(trace, ["kernle"])
    empty = kvar.Trace.from_columns({"step": [], "prompt_id": np.zeros(0, int), "reward": []})
    for nothing in (empty, kvar.Trace.from_columns({"step": [0], "prompt_id": [0], "reward": [math.nan]})):
        with pytest.raises(ValueError, match="nothing to audit"):
            kvar.audit(nothing)


def test_an_audit_without_a_baseline_that_fits_says_why(rng, monkeypatch):
    def refuse_all(replay):
        return SimpleNamespace(refusals=dict.fromkeys(range(len(replay._baselines)), "too strange"))

    monkeypatch.setattr(BaselineReplay, "found", refuse_all)
    with pytest.raises(ValueError, match=r"no baseline can be replayed over this trace\. .*kernel: too strange"):
        kvar.audit(simulated(rng, n_steps=5))
