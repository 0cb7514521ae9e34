"""The parts of the audit against loops, simulations and hand computation."""

import json
import math
import re

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

import kvar
from kvar.auditing.group_size_study import GroupSizeReplay
from kvar.auditing.groups import Groups
from kvar.auditing.log_warnings import log_warnings
from kvar.auditing.page import page
from kvar.auditing.prompt_numbers import PromptNumbers
from kvar.auditing.replay_errors import BaselineReplay
from kvar.auditing.statistics_collector import StatisticsCollector
from kvar.auditing.window_study import WindowReplay
from kvar.intervals import LONGEST_PERIOD, ClusteredSums, Ratio
from kvar.rollouts import step_chunks
from kvar.rollouts.step_chunks import SortedTrace
from kvar.utils import parallel
from tests import clusters
from tests.kvar.test_audit import simulated


def ragged(rng, n=600, n_prompts=12, n_steps=20):
    """Groups of all sizes, rows in any order, some rewards missing."""
    columns = {"step": rng.integers(n_steps, size=n) * 3, "prompt_id": rng.integers(n_prompts, size=n)}
    reward = rng.integers(0, 3, size=n) / 2
    reward[rng.random(n) < 0.1] = np.nan
    return kvar.Trace.from_columns({**columns, "reward": reward})


def replayed(trace, baselines, n_jobs=1):
    replay = BaselineReplay(baselines, trace.extras)
    with parallel.shared_work(n_jobs, len(trace)) as share:
        replay.add(SortedTrace.of(trace).chunks(replay.columns, LONGEST_PERIOD), share)
    return replay.found()


def scored(trace, names, n_jobs=1):
    return replayed(trace, [kvar.make_baseline(name) for name in names], n_jobs)


def sizes_of(trace):
    study = GroupSizeReplay(kvar.make_baseline("kernel"), 4)
    study.add(SortedTrace.of(trace).chunks(sorted(trace.extras), LONGEST_PERIOD))
    return study.study()


def windows_of(trace):
    study = WindowReplay()
    study.add(SortedTrace.of(trace).chunks((), LONGEST_PERIOD))
    return study.study()


def facts_of(trace):
    collector = StatisticsCollector()
    chunks = SortedTrace.of(trace).chunks((), LONGEST_PERIOD)
    terms = [vars(collector.add(Groups.of(chunk))) for chunk in chunks]
    return collector.statistics(), {name: np.concatenate([t[name] for t in terms], axis=-1) for name in terms[0]}


def test_facts_agree_with_a_loop(rng):
    trace = ragged(rng)
    found, columns = facts_of(trace)
    groups, last = [], {}
    noise = n_noise = 0.0
    gaps, half_squares = [], {1: [], 2: []}
    for time, step in enumerate(np.unique(trace.step)):
        for prompt in np.unique(trace.prompt_id[trace.step == step]):
            rewards = trace.reward[(trace.step == step) & (trace.prompt_id == prompt)]
            rewards = rewards[~np.isnan(rewards)]
            if len(rewards) == 0:
                continue
            groups.append(rewards)
            if len(rewards) > 1:
                noise += len(rewards) * rewards.var(ddof=1)
                n_noise += len(rewards)
            history = last.setdefault(prompt, [])
            for lag in (1, 2):
                if len(history) >= lag and len(rewards) == len(history[-lag][1]) == 1:
                    half_squares[lag].append((rewards[0] - history[-lag][1][0]) ** 2 / 2)
            if history:
                gaps.append(time - history[-1][0])
            history.append((time, rewards))
    of_two = [g for g in groups if len(g) > 1]
    assert found.noise == pytest.approx(noise / n_noise)
    assert found.n_unscored == int(np.isnan(trace.reward).sum())
    assert found.zero_variance_groups == pytest.approx(np.mean([g.min() == g.max() for g in of_two]))
    assert found.zero_at_top == pytest.approx(np.mean([g.min() == 1.0 for g in of_two]))
    assert found.visits_per_prompt == pytest.approx(len(groups) / 12)
    assert np.repeat(np.arange(len(found.gap_counts)), found.gap_counts).tolist() == sorted(gaps)
    for lag in (1, 2):
        assert columns["half_square"][lag - 1].sum() == pytest.approx(sum(half_squares[lag]))
        assert columns["pairs"][lag - 1].sum() == len(half_squares[lag])
    assert found.reward_mean == pytest.approx(np.nanmean(trace.reward))
    assert found.step_spacing == 3


def test_the_trend_has_the_error_of_clustered_least_squares(rng):
    trace = simulated(rng, n_prompts=50, n_steps=60)
    found = facts_of(trace)[0]
    rises = np.diff(trace.reward.reshape(60, 50, 4).mean(axis=2), axis=0).ravel()
    # There are fewer periods than prompts: 15 of 4 steps.
    prompt, period = np.tile(np.arange(50), 59), np.repeat(np.arange(1, 60) // 4, 50)
    fits = [
        sm.OLS(rises, np.ones(rises.size)).fit(cov_type="cluster", cov_kwds={"groups": one, "df_correction": True})
        for one in (prompt, np.column_stack([prompt, period]))
    ]
    fit, half = fits[0], stats.t.ppf(0.975, 14) * max(fit.bse[0] for fit in fits)
    assert found.trend == pytest.approx(100 * fit.params[0])
    assert found.trend_limits == pytest.approx((found.trend - 100 * half, found.trend + 100 * half))


def test_limits_of_a_fraction_count_independent_units(rng):
    # Groups of a prompt agree with each other, so that each prompt is one unit, whatever the number of groups.
    prompt_is_equal = rng.random(200) < 0.2
    reward = np.broadcast_to(np.where(prompt_is_equal[:, None], [1, 1], [0, 1]), (30, 200, 2)).astype(float)
    found, fraction = facts_of(trace_with(reward))[0], prompt_is_equal.mean()
    # Fifteen periods of 2 steps leave 14 degrees of freedom.
    n = 199 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 14)) ** 2
    assert found.zero_variance_groups == pytest.approx(fraction)
    assert found.zero_variance_limits == pytest.approx(proportion_confint(fraction * n, n, method="wilson"), rel=1e-6)
    # Where all groups agree there is no variance to tell the number from.
    never = facts_of(trace_with(np.tile([0.0, 1.0], (30, 20, 1))))[0]
    assert never.zero_variance_limits == pytest.approx(proportion_confint(0, 20, method="wilson"))


def test_chunks_change_nothing(rng, monkeypatch):
    trace = ragged(rng)
    names = ["kernel", "adaptive", "group-mean", "batch-mean", "discounted-beta"]
    whole, whole_facts = kvar.audit(trace, names), facts_of(trace)
    monkeypatch.setattr(step_chunks, "_CHUNK_ROWS", 70)
    pieces, pieces_facts = kvar.audit(trace, names), facts_of(trace)
    assert [row.label for row in whole.rows] == [row.label for row in pieces.rows]
    for one, two in zip(whole.rows, pieces.rows, strict=True):
        assert two.one_step_error.mean == pytest.approx(one.one_step_error.mean, rel=1e-12)
        assert two.one_step_error.standard_error == pytest.approx(one.one_step_error.standard_error, rel=1e-9)
    for name, column in whole_facts[1].items():
        np.testing.assert_allclose(pieces_facts[1][name], column)
    for name, value in whole_facts[0].as_dict().items():
        assert pieces_facts[0].as_dict()[name] == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("cluster", [clusters.dask, clusters.ray])
@pytest.mark.filterwarnings("ignore")  # of Ray's own making, when it starts and stops
def test_a_cluster_changes_nothing(rng, monkeypatch, cluster):
    trace = ragged(rng)
    names = ["kernel", "adaptive", "group-mean", "discounted-beta"]
    alone = kvar.audit(trace, names).to_dict()
    monkeypatch.setattr(parallel, "_PARALLEL_FROM", 0)
    monkeypatch.setattr(step_chunks, "_CHUNK_ROWS", 200)
    with cluster():
        shared = kvar.audit(trace, names).to_dict()
    assert shared["recommendation"] == alone["recommendation"]
    for one, other in zip(shared["table"], alone["table"], strict=True):
        assert one == pytest.approx(other, nan_ok=True)


def test_processes_change_nothing(monkeypatch, rng):
    # Arrays of more than a megabyte, which joblib would by itself hand over to be read only.
    monkeypatch.setattr(step_chunks, "_CHUNK_ROWS", 10_000)
    step, prompt = (a.ravel() for a in np.indices((3, 10_000)))
    reward = (rng.random(step.size) < 0.5).astype(float)
    trace = kvar.Trace.from_columns({"step": step, "prompt_id": prompt, "reward": reward})
    names = ["buffer", "kernel", "group-mean", "discounted-beta"]
    alone, shared = (scored(trace, names, n_jobs) for n_jobs in (1, 2))
    assert not shared.refusals
    assert [baseline.name for baseline in shared.baselines] == names
    for k in range(len(names)):
        assert shared.prediction.comparable(k) == alone.prediction.comparable(k)
        np.testing.assert_equal(vars(shared.prediction.mean(k)), vars(alone.prediction.mean(k)))


def test_baselines_that_differ_by_rounding_are_the_same(rng):
    # In the first step no prompt has a past, and the window of each prompt's last rewards falls back to the batch mean.
    report = kvar.audit(trace_with(rng.random((1, 30, 4)) * 7), ["buffer", "batch-mean"])
    assert [row.above_best.high for row in report.rows] == [0.0, 0.0]
    assert math.isnan(report.rows[1].above_best.p_value)
    assert report.chosen.baseline == "buffer"
    assert "the same as that of batch-mean" in report.recommendation


def test_lone_rollouts_do_not_enter_with_the_noise_of_groups():
    # Easy prompts were asked once and hard ones four times: the noise of the hard is not that of the easy.
    rng, gaps = np.random.default_rng(4), []
    for _ in range(30):
        step, prompt = (a.ravel() for a in np.indices((30, 20)))
        sizes = np.where(prompt < 10, 1, 4)
        step, prompt = np.repeat(step, sizes), np.repeat(prompt, sizes)
        value = np.where(prompt < 10, 0.97, 0.5)
        columns = {"step": step, "prompt_id": prompt, "reward": (rng.random(step.size) < value).astype(float)}
        report = kvar.audit(kvar.Trace.from_columns(columns), ["kernel", "none"])
        # Without a baseline the value error in groups is the square of the value.
        none = next(row for row in report.rows if row.baseline == "none")
        gaps.append(none.estimated_value_mse.mean - 0.25)
    assert abs(np.mean(gaps)) < 4 * np.std(gaps, ddof=1) / math.sqrt(len(gaps))


def test_a_ratio_of_sums_has_the_jackknife_error(rng):
    # Delete-one over prompts, one period each, so that only prompts cluster.
    n_prompts = 60
    prompts = rng.integers(n_prompts, size=900)
    count = rng.integers(1, 5, size=900).astype(float)
    value = count * (prompts / n_prompts) + rng.normal(size=900)
    other, n_other = rng.normal(1, 1, size=900), rng.integers(0, 2, size=900).astype(float)
    cells = np.array([value, count, other * n_other, n_other])
    sums = ClusteredSums(4, n_prompts, 1)
    sums.add(cells, prompts, np.zeros(900, dtype=int))
    found = sums.interval(Ratio([0], [1]), Ratio([2], [3], -2.0))

    def estimate(kept):
        value, count, other, n_other = cells[:, kept].sum(axis=1)
        return value / count - 2 * other / n_other

    assert found.mean == pytest.approx(estimate(np.ones(900, dtype=bool)))
    left_out = np.array([estimate(prompts != k) for k in range(n_prompts)])
    jackknife = np.sqrt((n_prompts - 1) / n_prompts * ((left_out - left_out.mean()) ** 2).sum())
    assert found.standard_error == pytest.approx(jackknife, rel=0.02)
    assert found.p_value < 1e-6


def test_columns_may_be_added_up(rng):
    prompts, periods = rng.integers(5, size=50), rng.integers(4, size=50)
    one, two, count = rng.normal(size=50), rng.normal(size=50), np.ones(50)
    sums = ClusteredSums(4, 5, 4)
    sums.add(np.array([count, one, two, one + two]), prompts, periods)
    apart, together = sums.interval(Ratio([1, 2], [0])), sums.interval(Ratio([3], [0]))
    assert vars(apart) == pytest.approx(vars(together))


def test_one_prompt_has_an_interval_over_time(rng):
    report = kvar.audit(simulated(rng, n_prompts=1))
    assert report.rows[1].one_step_error.low < report.rows[1].one_step_error.mean
    # Sixty steps are twenty periods, and there is nothing else to be a sample.
    residual = kvar.audit(simulated(rng, n_prompts=1, n_steps=1), ["none"]).rows[0].one_step_error
    assert math.isnan(residual.low)
    assert "no interval" in kvar.audit(trace_with(np.array([[[1.0, 0.0, 1.0]]])), ["none", "kernel"]).recommendation


@pytest.mark.parametrize("group", [1, 4])
def test_the_estimated_value_error_covers_the_truth(group):
    rng, inside, gaps = np.random.default_rng(8), [], []
    names = ["kernel", "batch-mean", "discounted-beta", "adaptive"]
    for _ in range(20):
        trace = simulated(rng, n_prompts=30, n_steps=40, group=group)
        found = scored(trace, names)
        for k in range(len(names)):
            estimate, truth = found.estimated_value_mse(k, 3), found.value_mse(k).mean
            inside.append(estimate.low <= truth <= estimate.high)
            gaps.append(estimate.mean - truth)
    # Errors of one trace are alike, so of 80 about 20 count; nominal 95 %.
    assert np.mean(inside) >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / 20)
    by_trace = np.reshape(gaps, (20, len(names))).mean(axis=1)
    assert abs(by_trace.mean()) < 4 * by_trace.std(ddof=1) / math.sqrt(20)


def test_values_of_smaller_groups_are_scored_without_bias():
    rng, gaps = np.random.default_rng(9), []
    for _ in range(25):
        trace = simulated(rng, n_prompts=20, n_steps=15, group=4, missing=0.05)
        study = sizes_of(trace)
        gaps.append([row.value_mse.mean - row.true_value_mse for row in study.rows])
    gaps = np.array(gaps)
    assert [row.size for row in study.rows] == [1, 2, 3, 4]
    assert (np.abs(gaps.mean(axis=0)) < 4 * gaps.std(axis=0, ddof=1) / math.sqrt(len(gaps))).all()


def test_the_smallest_sufficient_group_is_advised(rng):
    # Values that never move: history makes up for any number of rollouts.
    reward = (rng.random((80, 20, 4)) < rng.uniform(0.2, 0.8, 20)[:, None]).astype(float)
    step, prompt, _ = (a.ravel() for a in np.indices(reward.shape))
    trace = kvar.Trace.from_columns({"step": step, "prompt_id": prompt, "reward": reward.ravel()})
    report = kvar.audit(trace, ["adaptive", "group-mean"])
    assert report.group_sizes.advised.size == 1
    assert any(f.kind == "group-size" and f.saves == 0.75 * report.n_rollouts for f in report.findings)
    assert "num_generations=1" in report.lines["TRL"]


def test_long_windows_suit_still_values_and_short_ones_moving_ones(rng):
    step, prompt, _ = (a.ravel() for a in np.indices((120, 20, 2)))
    still = np.full(120, 0.5)
    moving = 0.5 + 0.45 * np.sin(np.arange(120) / 6)
    best = []
    for level in (still, moving):
        reward = (rng.random(step.size) < level[step]).astype(float)
        trace = kvar.Trace.from_columns({"step": step, "prompt_id": prompt, "reward": reward})
        best.append(windows_of(trace).best)
    assert best[0] >= 32
    assert best[1] <= 8


def test_windows_side_by_side_are_the_kernel_with_each(rng):
    trace = ragged(rng)
    study = windows_of(trace)
    kernels = [kvar.make_baseline("kernel", bandwidth=window) for window in study.windows]
    alone = replayed(trace, kernels)
    best = study.windows.index(study.best)
    assert study.windows == [2, 4, 8, 16, 32]
    for k, (error, above) in enumerate(zip(study.value_mse, study.above_best, strict=True)):
        assert error.mean == pytest.approx(alone.estimated_value_mse(k, best).mean)
        assert above.mean == pytest.approx(alone.prediction.difference(k, best).mean)
        assert above.high == pytest.approx(alone.prediction.difference(k, best).high)


def test_a_true_value_that_is_known_in_part_spoils_nothing(rng):
    trace = simulated(rng, n_prompts=6, n_steps=12)
    gaps = np.where(rng.random(len(trace)) < 0.5, np.nan, trace.extras["true_value"])
    studies = [
        sizes_of(kvar.Trace.from_columns(columns)) for columns in (trace.columns, {**trace.columns, "true_value": gaps})
    ]
    for whole, part in zip(*(study.rows for study in studies), strict=True):
        assert part.value_mse == whole.value_mse
        assert part.true_value_mse == pytest.approx(whole.true_value_mse, rel=0.5)


@pytest.mark.parametrize("kind", [int, str])
def test_smaller_samples_of_prompts_are_nested(kind):
    ids = np.array([kind(7 * k) for k in range(4000)])
    numbers = PromptNumbers()
    of_some = numbers.of(ids[1000:])
    assert numbers.of(ids).tolist() == [*range(3000, 4000), *of_some]
    assert numbers.ids[numbers.of(ids)].tolist() == ids.tolist()
    before = np.ones(4000, dtype=bool)
    for one_in in (1, 2, 4, 8):
        kept = numbers.sampled(np.arange(4000), one_in)
        assert not (kept & ~before).any()
        # Whole numbers in a row are spread evenly; others are a draw.
        assert abs(kept.sum() - 4000 / one_in) <= 4 * math.sqrt(4000 / one_in)
        before = kept


def trace_with(reward, prompt=None, step=None):
    steps, prompts, _ = (a.ravel() for a in np.indices(reward.shape))
    step = steps if step is None else np.asarray(step)[steps]
    prompt = prompts if prompt is None else prompt(steps, prompts)
    return kvar.Trace.from_columns({"step": step, "prompt_id": prompt, "reward": reward.ravel()})


def warnings_of(trace):
    return " ".join(log_warnings(facts_of(trace)[0]))


def test_warnings_come_when_they_should(rng):
    reward = (rng.random((40, 25, 4)) < 0.5).astype(float)
    assert warnings_of(trace_with(reward)) == ""
    assert "No prompt comes back" in warnings_of(trace_with(reward, prompt=lambda s, p: 25 * s + p))
    assert "One step" not in warnings_of(trace_with(reward))
    assert "holds one step in 5" in warnings_of(trace_with(reward, step=5 * np.arange(40)))
    assert "Only 400 rewards" in warnings_of(trace_with(reward[:4]))
    assert "All rewards are 0" in warnings_of(trace_with(0 * reward))
    missing = np.where(rng.random(reward.shape) < 0.3, np.nan, reward)
    assert re.search(r"(29|30|31) % of the rollouts have no reward", warnings_of(trace_with(missing)))
    alone = (rng.random((40, 50, 1)) < 0.5).astype(float)
    assert "Groups of one do not show" in warnings_of(trace_with(alone))


def test_a_baseline_that_balks_is_left_out_or_refused(rng):
    trace = simulated(rng, n_prompts=5, n_steps=6)
    trace.extras["completion_length"] = trace.extras["completion_length"].astype(float)
    trace.extras["completion_length"][40] = -1.0
    assert "completion_length must be a number from 0 on" in kvar.audit(trace).skipped["opo"]
    with pytest.raises(ValueError, match="baseline 'opo' cannot be replayed: completion_length must be"):
        kvar.audit(trace, ["opo"])


def test_the_page_is_one_file_and_shows_the_log_as_text(rng, tmp_path):
    names = ["<script>alert('a')</script>", "<img src=x onerror=alert(1)>", '"><svg onload=alert(2)>']
    columns = {"step": np.repeat(np.arange(8), 8), "prompt": np.tile(["<script>p</script>"] * 4 + ["<b>q</b>"] * 4, 8)}
    columns |= {name: rng.integers(0, 2, size=64).astype(float) for name in names}
    columns |= {"completion": ["<i>c</i>"] * 64, "advantage": columns[names[0]] + 0.5 * columns[names[1]] - 0.7}
    path = tmp_path / "<u>" / "completions"
    path.mkdir(parents=True)
    pl.DataFrame(columns).write_parquet(path / "completions_00001.parquet")
    report = kvar.audit(path, ["kernel", "group-mean"])
    html = page(report)
    assert "&lt;script&gt;alert(&#39;a&#39;)&lt;/script&gt; + 0.5 &lt;img src=x onerror=alert(1)&gt;" in html
    # The one script is ours, and the policy of the page allows no other.
    assert html.count("<script") == 1
    assert not re.search(r"<(img|u)\b|<svg[^>]*onload", html)
    # Nothing is fetched: addresses occur as names of SVG's vocabularies only.
    assert not re.search(r"<link|@import|<[^>]*\ssrc=|href=\"(?!#)|url\((?!#)", html)
    assert set(re.findall(r"https?://[^\"' <)]+", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert html.count("<svg") == html.count("</svg>") >= 5
    assert report._repr_html_() in html


def test_json_has_no_nan(rng):
    report = kvar.audit(simulated(rng, n_prompts=1, n_steps=3, group=1, truth=False), ["kernel", "group-mean"])
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert content["group_sizes"] is None
    assert content["facts"]["group_size"] == 1
    assert content["table"][-1]["one_step_error"] is None
