"""Comparisons of methods in training."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml

import llm_train
from llm_train.commands.compare import main
from llm_train.run.settings import resolve
from llm_train.studies import compare
from llm_train.studies.compare import Comparison, _grown, _make_run, choose_learning_rates, perform
from llm_train.studies.compare_report import pairs, report, rows
from llm_train.studies.finished_runs import FinishedRun, read_finished, settings_that_count, write_finished
from tests.llm_train.tiny_run import settings


def test_a_comparison_is_judged_by_hand_computed_numbers():
    rollouts = np.array([0.0, 100.0, 200.0])
    curves = {
        "slow": np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.5]]),
        "fast": np.array([[0.1, 0.4, 0.5], [0.1, 0.4, 0.7]]),
        "bad": np.array([[0.1, 0.2, 0.05], [0.1, 0.3, 0.14]]),
    }
    trained = {label: curve[:, -1] for label, curve in curves.items()}
    times = dict.fromkeys(curves, rollouts)
    found = {row.label: row for row in rows(curves, trained, times, "slow", dict.fromkeys(curves, 1e-4))}
    assert list(found) == ["fast", "slow", "bad"]
    assert found["fast"].rollouts[0] == pytest.approx(0.5)
    assert found["bad"].rollouts[0] == np.inf
    assert found["fast"].difference == pytest.approx((0.2, 0.2, 0.2))  # paired: no spread at all
    assert [found[label].fell for label in ("slow", "fast", "bad")] == [0, 0, 2]
    two = {(row["method"], row["against"]): row for row in pairs(curves, times).iter_rows(named=True)}
    assert len(two) == 6
    assert two["fast", "slow"]["difference"] == pytest.approx(0.2)
    assert two["fast", "slow"]["relative"] == pytest.approx(0.2 / 0.4)
    # Of a ratio of means, 0.6 over 0.4: 0.5 - 1.5 x 0.3 = 0.05 is left of one seed, the opposite of the other.
    assert two["fast", "slow"]["relative_low"] == pytest.approx(0.2 / 0.4 - 12.7062 * 0.05 / 0.4, rel=1e-4)
    assert two["fast", "slow"]["rollouts"] == pytest.approx(0.5)
    assert two["slow", "fast"]["rollouts"] == np.inf
    # A method that spent half of its rollouts before its first step is that much later.
    late = times | {"fast": np.array([100.0, 150.0, 200.0])}
    assert rows(curves, trained, late, "slow", dict.fromkeys(curves, 1e-4))[0].rollouts[0] == pytest.approx(0.75)
    scores = {"a": {1e-4: [0.1, 0.3], 1e-3: [0.3, 0.2]}, "b": {1e-4: [0.2], 1e-3: [0.2]}}
    assert choose_learning_rates(scores) == {"a": 1e-3, "b": 1e-4}


def test_a_comparison_by_samples_claims_nothing_of_the_training_prompts(tmp_path):
    config = {"task": "chain_sum", "eval_steps": 1, "max_steps": 1, "output_dir": str(tmp_path)}
    comparison = Comparison.from_config({"settings": config, "methods": {"a": {}}, "seeds": 2})
    runs = [FinishedRun("a", 1e-6, seed, {}, [0, 8], [0.25, 0.5], None, 1.0) for seed in range(2)]
    write_finished(tmp_path, {run.key: run for run in runs})
    table = report(comparison, {"a": 1e-6})
    assert "| a | 1e-06 | 0.500 ± 0.000 |  | 0.375 ± 0.000 |" in table


def test_the_table_says_what_the_noise_is_made_of(tmp_path):
    config = {"max_steps": 1, "output_dir": str(tmp_path)}
    comparison = Comparison.from_config({"settings": config, "methods": {"a": {}, "b": {}, "c": {}}, "seeds": 2})
    noise = {
        "a": {"signal": 0.5, "noise": 20.0, "prompt_part": 1.0, "rollout_part": 3.0, "entropy": 0.8},
        "b": {"signal": -0.1, "noise": 20.0, "squared_norm_right": 1.0, "squared_norm_wrong": 4.0},
        "c": {},  # kept before the noise was
    }
    runs = [
        FinishedRun(m, 1e-6, k, {}, [0, 8], [0.2, 0.4], 0.4, 1.0, parts) for m, parts in noise.items() for k in (0, 1)
    ]
    write_finished(tmp_path, {run.key: run for run in runs})
    lines = report(comparison, dict.fromkeys("abc", 1e-6)).splitlines()
    assert "| a | 40 | 0.25 |  | 0.80 |" in lines
    assert "| b | inf |  | 0.25 |  |" in lines
    assert sum(line.startswith("| c |") for line in lines) == 1


def test_the_table_says_when_further_methods_are_reached(tmp_path):
    settings_of_all = {"max_steps": 1, "output_dir": str(tmp_path)}
    config = {"settings": settings_of_all, "methods": {"a": {}, "b": {}}, "seeds": 2, "also_against": ["b"]}
    comparison = Comparison.from_config(config)
    curves = {"a": [0.2, 0.6], "b": [0.2, 0.4]}
    runs = [FinishedRun(m, 1e-6, seed, {}, [0, 8], c, c[-1], 1.0) for m, c in curves.items() for seed in range(2)]
    write_finished(tmp_path, {run.key: run for run in runs})
    lines = report(comparison, dict.fromkeys("ab", 1e-6)).splitlines()
    assert next(line for line in lines if "| to reach b |" in line)
    assert next(line for line in lines if line.startswith("| a |")).endswith("| 0.50 (0.50 to 0.50) | 0 of 2 |")
    assert next(line for line in lines if line.startswith("| b |")).endswith("| not reached |  | 0 of 2 |")
    # One seed has no intervals.
    single = report(Comparison.from_config({**config, "seeds": 1}), dict.fromkeys("ab", 1e-6))
    assert " 1 seed. " in single
    assert "| a | 1e-06 | 0.600 | 0.600 | 0.400 |  | 1.00 | 0.50 | 0 of 1 |" in single
    with pytest.raises(ValueError, match="also_against 'c' is none of the methods: a, b"):
        Comparison.from_config({**config, "also_against": ["c"]})


def test_methods_are_compared_at_equal_rollouts():
    shared = {"max_steps": 9, "per_device_train_batch_size": 8}
    config = {"settings": shared, "methods": {"a": {}, "b": {"per_device_train_batch_size": 16}}}
    with pytest.raises(ValueError, match=r"equal rollouts.* 8 in each of 9 steps for a; .* 16 "):
        Comparison.from_config(config)
    for method in (
        {"gradient_accumulation_steps": 2, "steps_per_generation": 1},
        {"max_steps": 8},
        {"num_iterations": 2},
    ):
        with pytest.raises(ValueError, match="equal rollouts"):
            Comparison.from_config({"settings": shared, "methods": {"a": {}, "b": method}})
    with pytest.raises(ValueError, match="3840 before and 8 in each of 9 steps for b"):
        Comparison.from_config({"settings": shared, "methods": {"a": {}, "b": {"warm_start_rollouts": 8}}})
    # Rollouts before training count as others do.
    offline = {"warm_start_rollouts": 2, "max_steps": 5}
    assert Comparison.from_config({"settings": {**shared, "n_prompts": 16}, "methods": {"a": {}, "b": offline}})
    with pytest.raises(ValueError, match="a comparison needs max_steps"):
        Comparison.from_config({"settings": {"num_train_epochs": 3}, "methods": {"a": {}}})
    with pytest.raises(ValueError, match="runs of 'kernel 10' and 'kernel \\(10\\)' would share a folder"):
        Comparison.from_config({"settings": shared, "methods": {"kernel 10": {}, "kernel (10)": {}}})
    for given in ({"measure": "eval_heldout_pass@1"}, {"settings": {**shared, "pass_at": [4]}}):
        with pytest.raises(ValueError, match="measure must be one of eval_held_out_pass@"):
            Comparison.from_config({"settings": shared, "methods": {"a": {}}, **given})
    for config in (None, {"methods": ["a"]}):
        with pytest.raises(ValueError, match="and its methods are 'label: "):
            Comparison.from_config(config)
    # No method has the default number of rollouts, which twelve is no multiple of.
    small = {"a": {"num_generations": 4}, "b": {"num_generations": 1}}
    Comparison.from_config({"settings": {**shared, "per_device_train_batch_size": 12}, "methods": small})
    with pytest.raises(ValueError, match="'learning_rate' of method 'a' is set by the comparison"):
        Comparison.from_config({"methods": {"a": {"learning_rate": 1e-4}}})
    grid = {"settings": shared, "methods": {"a": {}}, "learning_rates": [1e-4, 1e-3]}
    for flags, remedy in (
        (["--learning_rate", "1e-5"], "use learning_rates"),
        (["--seed", "3"], "use seeds"),
        (["--resume"], "not made again"),
    ):
        with pytest.raises(ValueError, match=remedy):
            Comparison.from_config(grid, flags)
    with pytest.raises(ValueError, match="seeds must be 1 or more, got 0"):
        Comparison.from_config(grid, seeds=0)
    with pytest.raises(ValueError, match="need tuning_seeds of 1 or more"):
        Comparison.from_config({"methods": {"a": {}}, "learning_rates": [1e-4, 1e-3], "tuning_seeds": 0})
    family = {"task": "chain_sum", "eval_steps": 5, "max_steps": 9}
    assert Comparison.from_config({"settings": family, "methods": {"a": {}}}).measure == "eval_pass@1"
    for unjudged in ({"task": "chain_sum"}, {"n_held_out": 0}):
        with pytest.raises(ValueError, match="eval_steps and n_held_out"):
            Comparison.from_config({"settings": {**shared, **unjudged}, "methods": {"a": {}}})
    with pytest.raises(ValueError, match="reference 'c' is none of the methods: a"):
        Comparison.from_config({"settings": shared, "methods": {"a": {}}, "reference": "c"})
    with pytest.raises(ValueError, match="got 'method'"):
        Comparison.from_config({"method": {}})


def test_methods_may_be_in_a_file_of_their_own(tmp_path):
    (tmp_path / "arms.yaml").write_text("a: {}\nb: {baseline: gpg}\nc: {}\n")
    path, shared = tmp_path / "compare.yaml", {"max_steps": 9}
    path.write_text(yaml.safe_dump({"settings": shared, "methods": "arms.yaml", "without": ["a"]}))
    found = Comparison.from_file(path)
    assert list(found.methods) == ["b", "c"]
    assert found.reference == "b"
    path.write_text(yaml.safe_dump({"settings": shared, "methods": "arms.yaml", "without": ["d"]}))
    with pytest.raises(ValueError, match="without has 'd', which is none of the methods: a, b, c"):
        Comparison.from_file(path)


def test_a_grid_grows_where_the_best_rate_lies_at_its_end():
    assert _grown([1e-4, 3e-4, 9e-4], 9e-4) == [1e-4, 3e-4, 9e-4, 2.7e-3]
    assert _grown([1e-4, 3e-4, 9e-4], 1e-4) == [3.33e-5, 1e-4, 3e-4, 9e-4]
    assert _grown([1e-4, 3e-4, 9e-4], 3e-4) == [1e-4, 3e-4, 9e-4]


def test_methods_may_take_the_rate_of_another_one_chosen_in_shorter_runs(tmp_path, monkeypatch):
    made = []

    def run(comparison, key):
        given = comparison.given(*key)
        made.append((*key, given["max_steps"]))
        curve = [0.1, 0.5 if key[1] == 1e-3 else 0.2]
        return FinishedRun(*key, settings_that_count(given), [0, 8], curve, None, 1.0)

    monkeypatch.setattr(compare, "_make_run", run)
    config = {
        "settings": {"max_steps": 9, "output_dir": str(tmp_path)}, "methods": {"a": {}, "b": {}, "c": {}}, "seeds": 2,
        "learning_rates": [1e-4, 1e-3, 1e-2], "tuning_seeds": 1, "tuning_steps": 4, "rate_of": {"b": "a"},
    }  # fmt: skip
    assert perform(Comparison.from_config(config)) == dict.fromkeys("abc", 1e-3)
    tuned = [(label, rate, 1000, 4) for label in "ac" for rate in (1e-4, 1e-3, 1e-2)]
    assert made == [*tuned, *((label, 1e-3, seed, 9) for seed in (0, 1) for label in "abc")]
    kept = json.loads((tmp_path / "learning_rates.json").read_text())
    assert kept["b"] == kept["a"] != {}
    with pytest.raises(ValueError, match="rate_of 'd' is none of the methods: a, b, c"):
        Comparison.from_config({**config, "rate_of": {"b": "d"}})
    with pytest.raises(ValueError, match="others take the learning rate of 'b', which rate_of gives none of its own"):
        Comparison.from_config({**config, "rate_of": {"b": "a", "c": "b"}})


def test_a_finished_run_has_the_mean_seconds_of_each_part(tmp_path):
    logged = [
        {"rollouts": 0, "eval_pass@1": 0.25},
        {"rollouts": 8, "time/step": 3.0, "time/generation": 1.0, "time/columns": 0.5},
        {"rollouts": 16, "time/step": 5.0, "time/generation": 2.0},
        {"rollouts": 16, "eval_pass@1": 0.5},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in logged))
    (tmp_path / "result.json").write_text(json.dumps({"seconds": 9.0}))
    run = FinishedRun.of_folder(("a", 1e-4, 0), {}, tmp_path, "eval_pass@1")
    assert run.step_seconds == {"columns": 0.25, "generation": 1.5, "step": 4.0}
    write_finished(tmp_path, {run.key: run})
    assert read_finished(tmp_path) == {run.key: run}
    # Earlier files have no such column.
    earlier = {k: v for k, v in json.loads((tmp_path / "finished.jsonl").read_text()).items() if k != "step_seconds"}
    (tmp_path / "finished.jsonl").write_text(json.dumps(earlier) + "\n")
    assert read_finished(tmp_path)[run.key].step_seconds == {}


def test_runs_of_a_comparison_share_no_trace():
    config = {"settings": {"output_dir": "out", "trace_dir": "kept", "max_steps": 9}, "methods": {"a": {}, "b": {}}}
    traces = {Comparison.from_config(config).given(label, 1e-4, seed)["trace_dir"] for label in "ab" for seed in (0, 1)}
    assert len(traces) == 4
    assert "kept/a/lr-0.0001/seed-1/trace" in traces


def test_a_comparison_from_its_file_resumes_and_grows(tmp_path, capsys):
    shared = {k: v for k, v in settings(tmp_path / "compare").given.items() if k not in ("baseline", "learning_rate")}
    shared |= {"policy_cache": str(tmp_path / "policies"), "save_strategy": "no", "trace_dir": None, "max_steps": 1}
    config = {
        "settings": shared,
        "methods": {"mean": {"baseline": "group-mean"}, "ours": {"baseline": "adaptive"}},
        "seeds": 1, "learning_rates": [1e-4, 1e-3], "tuning_seeds": 1,
    }  # fmt: skip
    path = tmp_path / "compare.yaml"
    path.write_text(yaml.safe_dump(config))
    main([str(path)])
    made = read_finished(tmp_path / "compare")
    grids = {label: {rate for method, rate, _ in made if method == label} for label in ("mean", "ours")}
    assert all(len(rates) in (3, 6) for rates in grids.values())  # one more at an end at least, or up to the limit
    assert len(made) == sum(map(len, grids.values())) + 2
    assert not list((tmp_path / "compare").rglob("model.safetensors"))
    # With the file alone a comparison goes on.
    shutil.rmtree(tmp_path / "compare" / "runs")
    main([str(path), "--seeds", "2"])
    assert len(read_finished(tmp_path / "compare")) == len(made) + 2
    assert len(list((tmp_path / "compare").rglob("result.json"))) == 2
    table = json.loads((tmp_path / "compare" / "table.json").read_text())
    assert {row["label"] for row in table} == {"mean", "ours"}
    assert all(row["n_seeds"] == 2 for row in table)
    curves = pl.read_csv(tmp_path / "compare" / "curves.csv")
    ends = curves.filter(pl.col("rollouts") == curves["rollouts"].max()).group_by("method").mean()
    for row in table:
        assert ends.filter(method=row["label"])["eval_held_out_pass@1"].item() == pytest.approx(
            row["final"][0], abs=1e-5
        )
    assert (tmp_path / "compare" / "curves.png").stat().st_size > 10_000
    with pytest.raises(SystemExit):
        main([str(path), "--largest", "19"])
    assert "with another largest" in capsys.readouterr().err


def test_a_stopped_comparison_says_how_it_goes_on(monkeypatch, capsys):
    def stopped(comparison, jobs):
        raise KeyboardInterrupt

    monkeypatch.setattr("llm_train.studies.compare.perform", stopped)
    with pytest.raises(SystemExit) as ended:
        main(["llm_train/configs/compare-tiny.yaml"])
    assert ended.value.code == 130
    assert "same command" in capsys.readouterr().err


def test_the_comparison_for_a_gpu_on_the_tiny_policy(tmp_path, monkeypatch):
    flags = "--model tiny --largest 29 --n_prompts 128 --n_held_out 8 --max_steps 2 --eval_steps 1 --sft_steps 5"
    flags = [*flags.split(), "--use_cpu", "True", "--output_dir", str(tmp_path)]
    path = Path(llm_train.__file__).parent / "configs/comparison/gpu.yaml"
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "is_available", lambda: True)  # as the settings see a device
        comparison = Comparison.from_file(path, flags, seeds=1)
        assert not resolve(comparison.given("GRPO G=8", 1e-6, 0)).training.bf16  # the tiny policy stays as it is
    run = _make_run(comparison, ("variance-optimal G=1, importance", 1e-6, 0))
    assert run.rollouts == [0, 128, 256]
    assert len(run.curve) == 3
