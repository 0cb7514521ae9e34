"""Several runs: audited side by side, and compared on the same prompts."""

import json

import numpy as np
import pytest
from scipy import stats

import kvar
from kvar.auditing.comparison import compare_runs
from kvar.auditing.prompt_steps import PromptSteps
from kvar.auditing.run_effects import RunEffects
from kvar.readers.run_settings import differing_settings, read_settings
from tests.kvar.test_cli import run

BASELINES = ["kernel", "group-mean"]


def learning(rng, gain=0.0, n_steps=24, first=0):
    """A run of 12 prompts, of which every step has 6 in groups of 2."""
    step = np.repeat(np.arange(first, first + n_steps), 12)
    prompt = np.concatenate([np.repeat(rng.choice(12, 6, replace=False), 2) for _ in range(n_steps)])
    value = np.clip(prompt / 12 + gain * (step - first) / n_steps, 0, 1)
    return kvar.Trace.from_columns({"step": step, "prompt_id": prompt, "reward": (rng.random(len(step)) < value) * 1.0})


def test_effects_are_those_of_a_regression_on_dummies(rng):
    means = np.where(rng.random((4, 30)) < 0.6, rng.random((4, 30)), np.nan)
    fit = RunEffects.fit(means)
    runs, prompts = np.nonzero(~np.isnan(means))
    design = np.zeros((len(runs), 34))
    design[np.arange(len(runs)), runs] = design[np.arange(len(runs)), 4 + prompts] = 1
    effects = np.linalg.lstsq(design, means[runs, prompts], rcond=None)[0][:4]
    np.testing.assert_allclose(fit.effects, effects - effects.mean(), atol=1e-12)


def test_one_run_each_is_a_paired_test(rng):
    means = rng.random((2, 20))
    found = RunEffects.fit(means).difference(np.array([0, 1]), 1, 0)
    paired = stats.ttest_rel(means[1], means[0])
    np.testing.assert_allclose([found.mean, found.p_value], [(means[1] - means[0]).mean(), paired.pvalue])
    np.testing.assert_allclose([found.low, found.high], paired.confidence_interval())


def test_runs_that_move_all_prompts_alike_are_tested_as_one_number_each(rng):
    effects, setting = rng.normal(size=5), np.array([0, 0, 1, 1, 1])
    found = RunEffects.fit(rng.random(20) + effects[:, None]).difference(setting, 1, 0)
    pooled = stats.ttest_ind(effects[setting == 1], effects[setting == 0])
    np.testing.assert_allclose(found.p_value, pooled.pvalue)
    np.testing.assert_allclose([found.low, found.high], pooled.confidence_interval())


def test_several_runs_are_clustered_both_ways(rng):
    means, setting = rng.random((4, 9)), np.array([0, 0, 1, 1])
    means[2:, :4] += 1  # so that settings differ from prompt to prompt
    found = RunEffects.fit(means).difference(setting, 1, 0)
    runs = means.mean(axis=1)
    over_runs = (runs[:2].var(ddof=1) + runs[2:].var(ddof=1)) / 2
    rises = means[2:].mean(axis=0) - means[:2].mean(axis=0)
    over_prompts = rises.var(ddof=1) / 9
    # In a setting of two runs, half of the squared difference has 8 degrees of freedom.
    over_both = sum((means[k + 1] - means[k]).var(ddof=1) / 2 for k in (0, 2)) / 2 / 9
    variance = over_runs + over_prompts - over_both
    assert over_prompts > over_both
    assert found.standard_error**2 == pytest.approx(variance)
    freedom = variance**2 / (over_runs**2 / 2 + over_prompts**2 / 8 + over_both**2 / 16)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(rises.mean()) / np.sqrt(variance), freedom))


# Noise of a prompt in a run and of a setting from prompt to prompt, where that of a run is 1; and the level, by sums of
# chi-squared numbers 4.7, 5.6 and 7.2 %. The last is the hardest case for Satterthwaite's approximation that was found.
@pytest.mark.parametrize(("of_prompt", "of_setting", "level"), [(4.0, 0.0, 0.05), (4.0, 4.0, 0.06), (0.5, 2.0, 0.075)])
def test_the_test_over_seeds_and_prompts_holds_its_level_and_has_the_power_of_a_t_test(
    rng, of_prompt, of_setting, level
):
    setting, n = np.array([0, 0, 1, 1]), 1000
    noise = of_prompt * rng.normal(size=(n, 4, 32)) + rng.normal(size=(n, 4, 1))
    noise += of_setting * rng.normal(size=(n, 2, 32))[:, setting]
    shift = 2.5 * np.sqrt(1 + of_prompt**2 / 32 + 2 * of_setting**2 / 32) * (setting == 1)[:, None]

    def called(means):
        return np.mean([RunEffects.fit(one).difference(setting, 1, 0).p_value < 0.05 for one in means])

    assert called(noise) < level + 3 * np.sqrt(level * (1 - level) / n)
    # Of a t-test with 2 degrees of freedom on the difference of run means, which is 2.5 standard deviations.
    expected = stats.nct.sf(stats.t.ppf(0.975, 2), 2, 2.5)
    assert called(noise + shift) > expected - 3 * np.sqrt(expected * (1 - expected) / n)


def test_only_common_steps_and_linked_prompts_are_compared(rng):
    short, long = learning(rng), learning(rng, n_steps=40)
    cut = long.step < 24
    part = kvar.Trace(long.step[cut], long.prompt_id[cut], long.rollout[cut], long.reward[cut])
    one, other = (compare_runs([PromptSteps.of(short), PromptSteps.of(t)], ["a", "b"]) for t in (long, part))
    assert one.steps == (0, 23)
    # As text, in which NaN equals NaN.
    assert str(one.differences) == str(other.differences)
    stranger = kvar.Trace(short.step, short.prompt_id + 100, short.rollout, short.reward)
    assert "share none" in compare_runs([PromptSteps.of(short), PromptSteps.of(stranger)], ["a", "b"])
    later = PromptSteps.of(learning(rng, first=100))
    assert "no steps in common" in compare_runs([PromptSteps.of(short), later], ["a", "b"])


def test_prompts_that_one_setting_learned_are_found(rng):
    step, prompt = np.repeat(np.arange(80), 20), np.tile(np.arange(20), 80)
    rewards = [(rng.random(1600) < 0.2 + 0.7 * gain * (prompt < 5)) * 1.0 for gain in (0, 1)]
    runs = [kvar.Trace.from_columns({"step": step, "prompt_id": prompt, "reward": reward}) for reward in rewards]
    (found,) = compare_runs([PromptSteps.of(run) for run in runs], ["old", "new"]).learned
    assert (found.above, found.below, found.n_prompts) == (5, 0, 20)
    assert {prompt for prompt, _, _ in found.examples} == set("01234")


def test_a_single_pair_gives_no_verdict_and_seeds_do(rng):
    runs = {name: learning(rng, gain) for name, gain in {"a": 0, "b": 0, "c": 0.9, "d": 0.9}.items()}
    pair = kvar.audit_runs({"a": runs["a"], "c": runs["c"]}, baselines=BASELINES, n_jobs=1)
    assert pair.comparison.differences[0].different is None
    assert pair.comparison.differences[0].interval.low > 0
    seeds = kvar.audit_runs(runs, ["old", "old", "new", "new"], baselines=BASELINES, n_jobs=2)
    assert seeds.comparison.differences[0].different
    # A row says what the audit of the run alone says.
    assert seeds.reports["c"].to_dict() == kvar.audit(runs["c"], BASELINES).to_dict()
    assert seeds.table["reward_mean"].to_list() == [trace.reward.mean() for trace in runs.values()]
    with pytest.raises(ValueError, match="each of the 4 runs, got 2"):
        kvar.audit_runs(runs, ["old", "new"])


def test_settings_next_to_the_log(tmp_path):
    for name, seed, rate in (("a", 1, 1e-6), ("b", 2, 1e-6), ("c", 1, 1e-5)):
        (tmp_path / name / "trace").mkdir(parents=True)
        settings = {"training": {"seed": seed, "learning_rate": rate, "output_dir": name}, "given": {"seed": seed}}
        (tmp_path / name / "config.json").write_text(json.dumps(settings))
    found = [read_settings(tmp_path / name / "trace") for name in "abc"]
    assert [file.parent.name for file, _ in found] == list("abc")
    assert differing_settings([content for _, content in found]) == {"training.learning_rate": [1e-6, 1e-6, 1e-5]}
    (tmp_path / "a" / "config.json").write_text('{"model_type": "llama"}')
    assert read_settings(tmp_path / "a" / "trace") is None


def test_runs_on_the_command_line(tmp_path, rng):
    for name in ("one", "two"):
        kvar.write_trace(learning(rng), tmp_path / "runs" / name / "log.parquet")
    (tmp_path / "runs" / "three").mkdir()
    (tmp_path / "runs" / "three" / "log.parquet").write_text("damaged")
    chosen = ["--baseline", "kernel", "--out", tmp_path / "page"]
    done = run("audit", tmp_path / "runs", *chosen)
    assert done.returncode == 0, done.stderr
    assert "three is left out" in done.stdout
    content = json.loads((tmp_path / "page" / "runs.json").read_text())
    assert (content["schema"], [row["run"] for row in content["runs"]]) == (1, ["one", "two"])
    page = (tmp_path / "page" / "runs.html").read_text()
    assert 'href="run-2/audit.html"' in page
    assert (tmp_path / "page" / "run-2" / "audit.html").exists()

    paths = [tmp_path / "runs" / name / "log.parquet" for name in ("one", "two")]
    done = run("audit", *(f"old={path}" for path in paths), "--json", "--baseline", "kernel")
    assert json.loads(done.stdout)["comparison"] is None
    done = run("audit", paths[0], f"new={paths[1]}")
    assert done.returncode == 2
    assert "has no setting" in done.stderr
