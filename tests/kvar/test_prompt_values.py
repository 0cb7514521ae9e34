"""Values, slopes and verdicts of prompts against loops, and the false discovery rate by simulation."""

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from scipy import stats

import kvar
from kvar.auditing.difficulty_drift import DifficultyDrift
from kvar.auditing.groups import Groups
from kvar.auditing.prompt_verdicts import VERDICTS
from kvar.auditing.recent_visits import MOST_VISITS
from kvar.rollouts import step_chunks
from kvar.rollouts.step_chunks import SortedTrace
from tests.kvar.test_audit_parts import ragged


def drawn(rng, values, group=4):
    """Binary rewards of the values, shape (steps, prompts), every prompt at every step."""
    step, prompt, _ = (a.ravel() for a in np.indices((*values.shape, group)))
    reward = (rng.random(step.size) < values[step, prompt]).astype(float)
    return kvar.Trace.from_columns({"step": step, "prompt_id": prompt, "reward": reward})


def visits_of(trace, prompt):
    """Steps and rewards of a prompt, visit by visit."""
    mine = (trace.prompt_id == prompt) & ~np.isnan(trace.reward)
    return [(s, trace.reward[mine & (trace.step == s)]) for s in np.unique(trace.step[mine])]


@pytest.mark.parametrize("n_steps", [9, 80])
def test_values_and_slopes_agree_with_a_loop(n_steps, rng):
    trace = ragged(rng, n=1500, n_steps=n_steps)
    low, high = np.nanmin(trace.reward), np.nanmax(trace.reward)
    for row in kvar.prompt_values(trace).table.iter_rows(named=True):
        every = visits_of(trace, row["prompt"])
        recent = every[-MOST_VISITS:]
        weight = np.concatenate(
            [np.full(len(r), 1 - age / MOST_VISITS) for age, (_, r) in enumerate(reversed(recent))][::-1]
        )
        step = np.concatenate([np.full(len(r), s) for s, r in recent])
        reward = np.concatenate([r for _, r in recent])
        size = weight.sum() ** 2 / (weight**2).sum()
        value = np.average(reward, weights=weight)
        typical = ((value - low) / (high - low) * size + 0.5) / (size + 1)
        assert row["value"] == pytest.approx(value)
        assert row["error"] == pytest.approx((high - low) * np.sqrt(typical * (1 - typical) / size))
        line = np.polynomial.Polynomial.fit(step, reward, 1).convert()
        assert row["slope"] == pytest.approx(line.coef[1])
        spread = ((step - step.mean()) ** 2).sum()
        assert row["slope_error"] == pytest.approx(np.sqrt(reward.var(ddof=1) / spread))
        assert row["visits"] == len(every)
        assert row["last_reward"] == pytest.approx(every[-1][1].mean())


def test_chunks_change_no_prompt(rng, monkeypatch):
    trace = ragged(rng, n=3000, n_steps=100)
    whole = kvar.prompt_values(trace).table
    monkeypatch.setattr(step_chunks, "_CHUNK_ROWS", 70)
    assert kvar.prompt_values(trace).table.equals(whole)


def test_verdicts_by_hand(rng):
    """Prompts about which there is no doubt."""
    steps = 40
    values = np.column_stack(
        [np.zeros(steps), np.ones(steps), np.linspace(0, 1, steps), np.linspace(1, 0, steps), np.full(steps, 0.5)]
    )
    trace = drawn(rng, values, group=8)
    few = {"step": [0, 0], "prompt_id": [5, 5], "reward": [1.0, 1.0]}
    both = {name: np.concatenate([trace.columns[name], np.array(column)]) for name, column in few.items()}
    found = kvar.prompt_values(kvar.Trace.from_columns(both)).table["verdict"]
    assert found.to_list() == ["stuck", "solved", "improving", "forgotten", "open", "not judged"]
    assert set(found) == set(VERDICTS)


def test_equal_rewards_have_no_verdict():
    columns = {"step": np.repeat(np.arange(20), 4), "prompt_id": np.zeros(80, dtype=int), "reward": np.ones(80)}
    assert kvar.prompt_values(kvar.Trace.from_columns(columns)).table["verdict"].to_list() == ["not judged"]
    with pytest.raises(ValueError, match="20 rollouts, none of them with a reward"):
        kvar.prompt_values(kvar.Trace.from_columns({k: c[:20] for k, c in columns.items()} | {"reward": [np.nan] * 20}))


def test_the_false_discovery_rate_holds(rng):
    """Prompts at the border of a verdict, where a test has its full level, beside some that deserve it."""
    n, repetitions = 60, 60
    false = np.zeros((repetitions, 2))
    for k in range(repetitions):
        values = np.full((24, n), 0.9)
        values[:, :20] = 0.99
        values[:, 20:30] = np.linspace(0.3, 0.9, 24)[:, None]
        verdicts = kvar.prompt_values(drawn(rng, values, group=8)).verdicts
        for j, (verdict, true) in enumerate((("solved", slice(0, 20)), ("improving", slice(20, 30)))):
            found = verdicts.are(verdict)
            false[k, j] = (found.sum() - found[true].sum()) / max(found.sum(), 1)
    assert (false.mean(axis=0) < 0.05 + 3 * stats.sem(false, axis=0)).all()


def test_the_curve_of_a_prompt(rng):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    values = np.column_stack([np.linspace(0.2, 0.9, 40), np.full(40, 0.5)])
    found = kvar.prompt_values(drawn(rng, values))
    axes = found.plot(0)
    (curve,) = axes.lines
    assert np.abs(curve.get_ydata() - np.linspace(0.2, 0.9, 200)).max() < 0.3
    with pytest.raises(ValueError, match="no reward of the prompt 7"):
        found.plot(7)


def difficulty(trace):
    order = SortedTrace.of(trace)
    drift = DifficultyDrift()
    for chunk in order.chunks():
        drift.add(Groups.of(chunk))
    return drift.slope()


def test_the_drift_of_difficulty_is_that_of_fixed_effects(rng):
    """Least squares with an effect for each prompt gives the slope within; the effects' own slope is the drift."""
    trace = ragged(rng, n=2000)
    steps = np.unique(trace.step)
    table = pl.DataFrame({"t": np.searchsorted(steps, trace.step), "p": trace.prompt_id, "y": trace.reward})
    means = table.filter(pl.col("y").is_not_nan()).group_by("t", "p").agg(pl.col("y").mean())
    t, p, y = (means[name].to_numpy() for name in ("t", "p", "y"))
    dummies = (p[:, None] == np.unique(p)).astype(float)
    fit = sm.OLS(y, np.column_stack([t, dummies])).fit()
    levels = dummies @ fit.params[1:]
    assert difficulty(trace).mean == pytest.approx(sm.OLS(levels, sm.add_constant(t)).fit().params[1])


def test_the_error_of_the_drift_is_that_of_leaving_prompts_out(rng):
    trace = ragged(rng, n=4000, n_prompts=80)
    prompts = np.unique(trace.prompt_id)
    left = [
        difficulty(kvar.Trace.from_columns({k: c[trace.prompt_id != p] for k, c in trace.columns.items()})).mean
        for p in prompts
    ]
    jackknife = np.sqrt((len(prompts) - 1) * np.var(left))
    assert difficulty(trace).standard_error == pytest.approx(jackknife, rel=0.1)


def test_prompts_that_never_return_have_no_drift():
    columns = {"step": np.arange(30), "prompt_id": np.arange(30), "reward": np.arange(30) % 2 * 1.0}
    assert np.isnan(difficulty(kvar.Trace.from_columns(columns)).mean)


@pytest.mark.parametrize("column", ["prompt", "prompt_id"], ids=["hashed", "kept"])
def test_a_prompt_is_found_by_its_text(column):
    log = pl.DataFrame({"step": [0, 0, 1, 1], column: ["2+3=", "7*8="] * 2, "reward": [1.0, 0.0, 1.0, 0.0]})
    values = kvar.prompt_values(log)
    for text, reward in (("2+3=", 1.0), ("7*8=", 0.0)):
        row = values[text]
        assert (row["value"], row["visits"]) == (reward, 2)
        assert values[row["prompt"]] == row
        assert f"prompt {text}" in values.plot(text).get_title()
    with pytest.raises(ValueError, match="no reward of the prompt '9-1='"):
        values["9-1="]
