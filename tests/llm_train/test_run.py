"""A run from its settings to the files that it leaves."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import kvar
import llm_train
from llm_train.run.resume import last_checkpoint
from llm_train.run.run_files import read_metrics
from llm_train.run.settings import given_settings, make_parser, resolve
from llm_train.run.summary_page import verdict
from llm_train.run.train import train
from llm_train.studies.compare import Comparison
from tests.llm_train.tiny_run import settings


def test_flags_win_over_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "learning_rate: 1e-5\nseed: 3\nbaseline: kernel\nbaseline_kwargs: '{\"bandwidth\": 5}'\npass_at: [1, 4]\n"
    )
    given = given_settings(make_parser(), ["--seed", "4", "--sft-steps", "0"], path)
    assert given["seed"] == 4
    assert given["learning_rate"] == 1e-5  # YAML takes it for a string
    settings = resolve(given)
    assert settings.training.baseline_kwargs == {"bandwidth": 5}
    assert settings.training.pass_at == [1, 4]
    assert settings.run.sft_steps == 0
    settings.save(tmp_path / "config.json")
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["given"] == json.loads(json.dumps(given))
    assert saved["training"]["temperature"] == 1.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lerning_rate": 1}, "'lerning_rate'; did you mean 'learning_rate'"),
        ({"model_name_or_path": "x"}, "--model"),
        ({"temperature": 0.7}, "temperature must be 1.0, got 0.7"),
        ({"task": "padded-sums", "max_completion_length": 1}, "must be at least 2 .* padded-sums, got 1"),
        ({"wrong_reward": 1}, "wrong_reward must be below 1, .* got 1"),
        ({"max_completion_length": 2}, "max_completion_length must be at least 3 .* got 2"),
        ({"reward": "best"}, "must be one of auto, text, math, got 'best'"),
        ({"n_prompts": 0}, "n_prompts must be at least 1"),
        ({"num_generations_eval": 6, "per_device_eval_batch_size": 8}, "multiple of 6, .* got 8"),
        ({"task": "data.csv", "difficulty": 1}, "difficulty=1 .* 'data.csv' .* leave it out"),
        ({"task_kwargs": "max_terms=2"}, "task_kwargs must be a JSON object, .* got 'max_terms=2'"),
        ({"task_kwargs": '{"max_terms": 2}'}, "task_kwargs .* 'sums' .* leave them out"),
        ({"num_generations": 0}, "num_generations must be a whole number from 1 on, got 0"),
        ({"num_generations_eval": -2}, "num_generations_eval must be a whole number from 1 on, got -2"),
        ({"beta": 0.1, "sft_steps": 10}, "beta=0.1 .* sft_steps=10 .* use_peft"),
    ],
)
def test_impossible_settings_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        resolve(given_settings(make_parser(), (), given))


@pytest.mark.parametrize("text", ["seed: [1\n", "seed\n"])
def test_a_file_of_settings_that_cannot_be_read_is_named(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"run.yaml .* 'name: value' per line"):
        given_settings(make_parser(), (), path)


def test_a_misspelt_flag_gets_a_proposal(capsys):
    with pytest.raises(SystemExit):
        given_settings(make_parser(), ["--basline=adaptive"])
    assert "did you mean '--baseline'?" in capsys.readouterr().err


def test_an_evaluation_holds_whole_groups():
    for samples, rollouts in ((1, 8), (3, 9), (8, 8), (16, 16)):
        given = {"num_generations": samples, "per_device_train_batch_size": 2 * samples}
        assert resolve(given).training.per_device_eval_batch_size == rollouts


def test_every_shipped_config_resolves():
    for path in (Path(llm_train.__file__).parent / "configs").rglob("*.yaml"):
        if path.name == "arms.yaml":  # the methods of the others in its folder
            continue
        if "methods" in yaml.safe_load(path.read_text()):
            assert Comparison.from_file(path).methods
        else:
            resolve(given_settings(make_parser(), (), path))


def test_a_run_leaves_its_files_and_can_be_resumed(tmp_path, capsys):
    out = tmp_path / "run"
    result = train(settings(out, policy_cache=str(tmp_path / "policies")))
    printed = capsys.readouterr().out
    assert "held_out_pass@1: 0." in printed
    assert "(before: 0." in printed
    assert len(kvar.read_trace(out / "trace")) == 4 * 8
    entries = read_metrics(out / "metrics.jsonl")
    assert [e["step"] for e in entries if "eval_held_out_pass@1" in e] == [0, 2, 4]
    assert [(e["step"], e["rollouts"]) for e in entries if "reward" in e] == [(2, 16), (4, 32)]
    assert result["rollouts"] == 32
    assert result == json.loads((out / "result.json").read_text())
    assert (out / "policy" / "model.safetensors").exists()
    page = (out / "summary.html").read_text()
    assert "→" in page  # pass rates before and after
    assert f"kvar audit {out / 'trace'}" in page
    assert 'href="trace-audit/audit.html"' in page
    assert "<svg" in page
    assert not re.search(r"(src|href)=.http", page)
    assert last_checkpoint(out).name == "checkpoint-4"
    # A finished run that is resumed has one entry that sums it up.
    train(settings(out, resume=True, policy_cache=str(tmp_path / "policies")), show=False)
    assert len(read_metrics(out / "metrics.jsonl")) == len(entries)
    (out / "checkpoint-4").rename(out / "checkpoint-9-best")  # a copy that somebody made
    assert last_checkpoint(out).name == "checkpoint-2"
    (out / "checkpoint-9-best").rename(out / "checkpoint-4")
    # A checkpoint that was being written when the run was killed does not count.
    (out / "checkpoint-4" / "trainer_state.json").write_text("{")
    assert last_checkpoint(out).name == "checkpoint-2"

    with pytest.raises(FileExistsError, match=r"already holds a run.*--resume"):
        train(settings(out))
    with pytest.raises(ValueError, match="sft_steps was 10, now 20"):
        train(settings(out, resume=True, sft_steps=20))
    again = train(settings(out, resume=True, policy_cache=str(tmp_path / "policies")), show=False)
    assert again["eval_held_out_pass@1"] == result["eval_held_out_pass@1"]
    kept = [
        (e["step"], "reward" in e)
        for e in read_metrics(out / "metrics.jsonl")
        if "reward" in e or "eval_train_pass@1" in e
    ]
    assert kept == [(0, False), (2, True), (2, False), (4, True), (4, False)]


def test_a_run_removes_only_its_own_recording(tmp_path):
    trace = tmp_path / "kept" / "trace"
    trace.mkdir(parents=True)
    (trace / "notes.txt").touch()
    (trace / "step-000000009.parquet").touch()
    with pytest.raises(FileExistsError, match=str(trace)):  # the step is of another run
        train(settings(tmp_path / "run", resume=True, trace_dir=str(trace)), show=False)
    train(settings(tmp_path / "run", resume=True, trace_dir=str(trace)), show=False)
    assert sorted(path.name for path in trace.glob("[!.]*")) == [
        "notes.txt",
        *(f"step-{k:09d}.parquet" for k in range(1, 5)),
    ]


def test_a_run_that_starts_again_elsewhere_leaves_the_recording_of_another(tmp_path):
    other = tmp_path / "other" / "step-000000009.parquet"
    other.parent.mkdir()
    other.touch()
    (tmp_path / "run").mkdir()
    # A run that was killed before its first checkpoint.
    settings(tmp_path / "run", resume=True).save(tmp_path / "run" / "config.json")
    with pytest.raises(FileExistsError, match=str(other.parent)):
        train(settings(tmp_path / "run", resume=True, trace_dir=str(other.parent)), show=False)
    assert other.exists()


def test_two_processes_do_not_resume_one_run(tmp_path):
    # Each would take what the other records for the remains of a killed run.
    code = (
        "import sys, time, pathlib; from kvar.utils.atomic_files import lock_folder;"
        "lock_folder(pathlib.Path(sys.argv[1])); print(); time.sleep(600)"
    )
    recorded = tmp_path / "trace" / "step-000000001.parquet"
    recorded.parent.mkdir()
    recorded.touch()
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(FileExistsError, match=r"another process .* another folder"):
            train(settings(tmp_path, resume=True, trace_dir=str(recorded.parent)), show=False)
        other.kill()
    assert recorded.exists()
    assert not (tmp_path / "config.json").exists()


def test_a_finished_run_without_a_checkpoint_is_not_started_again(tmp_path):
    done = settings(tmp_path, max_steps=1, save_strategy="no", resume=True)
    result = train(done, show=False)
    with pytest.raises(FileExistsError, match=r"no checkpoint.*another --output_dir"):
        train(done, show=False)
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert len(kvar.read_trace(tmp_path / "trace")) == 8


def test_a_run_that_stopped_before_its_first_checkpoint_says_that_it_starts_again(tmp_path, capsys):
    train(settings(tmp_path, max_steps=1, save_strategy="no"), show=False)
    (tmp_path / "result.json").unlink()
    capsys.readouterr()
    train(settings(tmp_path, max_steps=1, save_strategy="no", resume=True))
    assert "starts again" in capsys.readouterr().out
    assert len(kvar.read_trace(tmp_path / "trace")) == 8


def test_lora_trains_an_adapter_and_keeps_that_of_the_warm_up(tmp_path):
    adapter = {"use_peft": True, "lora_r": 4, "lora_alpha": 8, "sft_steps": 2, "max_steps": 1, "save_strategy": "no"}
    made = [
        train(settings(tmp_path / name, **adapter, policy_cache=str(tmp_path / "policies")), show=False)
        for name in ("first", "second")
    ]
    assert (tmp_path / "first" / "policy" / "adapter_model.safetensors").exists()
    for name in ("eval_train_pass@1", "eval_held_out_pass@1"):
        assert made[0][name] == made[1][name]


def test_a_warm_up_is_cached_for_the_same_prompts_only(tmp_path):
    cached = {"policy_cache": str(tmp_path / "policies"), "max_steps": 1, "save_strategy": "no", "sft_steps": 1}
    for name, n_held_out in (("a", 8), ("b", 4), ("c", 8)):
        train(settings(tmp_path / name, n_held_out=n_held_out, **cached), show=False)
    assert len([path for path in (tmp_path / "policies").iterdir() if path.is_dir()]) == 2


@pytest.mark.parametrize(("slope", "word"), [(0.01, "rose"), (-0.01, "fell"), (0.0, "did not change beyond chance")])
def test_the_verdict_of_a_run_is_beyond_chance(slope, word):
    noise = 0.05 * np.random.default_rng(0).standard_normal(100)
    metrics = [{"step": k, "reward": 0.5 + slope * k + e} for k, e in enumerate(noise)]
    assert f"The mean reward {word}, from " in verdict(metrics, {})
    stopped = verdict(metrics[:3], {"stopped": 3, "steps": 9})
    assert "stopped after step 3 of 9" in stopped
    assert "too few" in stopped
