"""Logs of a real run of TRL's own trainer: read without options, they give the numbers of our own trace."""

import json

import numpy as np
import polars as pl
import pytest
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

import kvar
from kvar.readers import read_log
from llm_train.policy.tiny import make_policy, make_tokenizer, sums
from llm_train.trainer import audit_callback
from llm_train.trainer.audit_callback import AuditCallback
from tests.llm_train.conftest import ON_CPU, trace_of

CHAT = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def starts_even(completion_ids, **_):
    return [float(bool(ids) and ids[0] % 2 == 0) for ids in completion_ids]


def is_short(completion_ids, **_):
    # One kind of completion cannot be judged.
    return [None if len(ids) == 1 else float(len(ids) < 3) for ids in completion_ids]


@pytest.fixture(scope="module", params=["text", "conversation"])
def run(request, tmp_path_factory):
    """A run of an unmodified GRPOTrainer, its folder and the callback."""
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = make_tokenizer()
    data = sums(6, 9, seed=0)
    settings = {}
    if request.param == "conversation":
        tokenizer.chat_template = CHAT
        data = Dataset.from_list(
            [{"prompt": [{"role": "user", "content": row["prompt"]}], "answer": row["answer"]} for row in data]
        )
        settings = {"reward_weights": [1.0, 0.25], "scale_rewards": "none"}
    config = GRPOConfig(
        output_dir=str(folder),
        num_generations=4,
        per_device_train_batch_size=8,
        max_completion_length=4,
        max_steps=6,
        learning_rate=1e-3,
        logging_steps=1,
        log_completions=True,
        save_strategy="no",
        **ON_CPU,
        **settings,
    )
    trainer = GRPOTrainer(
        model=make_policy(tokenizer, seed=0),
        reward_funcs=[starts_even, is_short],
        args=config,
        train_dataset=data,
        processing_class=tokenizer,
    )
    callback = AuditCallback.attach(trainer, report_to="trainer")
    trainer.train()
    return folder, callback


def same_numbers(report, other):
    """Equal tables, up to the order of summation."""
    for mine, theirs in zip(report.rows, other.rows, strict=True):
        assert mine.label == theirs.label
        for name in ("one_step_error", "above_best", "estimated_value_mse"):
            one, two = getattr(mine, name), getattr(theirs, name)
            np.testing.assert_allclose([one.mean, one.low, one.high], [two.mean, two.low, two.high], atol=1e-6)


def test_key_figures_go_to_the_trainers_log(run):
    _, callback = run
    logged = callback._trainer.state.log_history[-1]
    assert {name: logged[f"audit/{name}"] for name in callback.report.key_figures} == callback.report.key_figures
    assert logged["audit/wasted_rollouts"] == callback.report.facts.wasted_rollouts
    with pytest.raises(ValueError, match="report_to"):
        AuditCallback(report_to="wandb")


COMPARED = ["group-mean", "leave-one-out", "batch-mean", "kernel", "discounted-beta", "none"]


def test_trl_logs_give_the_numbers_of_our_trace(run):
    folder, _ = run
    ours = kvar.read_trace(folder / "trace")
    log = read_log(folder / "completions")
    assert log.layout == "trl"
    assert not log.notes.omissions()
    assert len(log.trace) == len(ours) == 6 * 8
    np.testing.assert_allclose(log.trace.reward, ours.reward, atol=1e-6)
    assert log.trace.prompt_id.tolist() == ours.prompt_id.tolist()
    assert log.trace.step.tolist() == ours.step.tolist()
    same_numbers(kvar.audit(log, COMPARED), kvar.audit(ours, COMPARED))
    # A pattern of files is read as well as their folder.
    assert len(kvar.read_trace(folder / "completions" / "*.parquet")) == len(ours)


def test_verl_dumps_give_the_numbers_of_our_trace(run, tmp_path):
    folder, _ = run
    ours = kvar.read_trace(folder / "trace")
    frames = [pl.read_parquet(path) for path in sorted((folder / "completions").iterdir())]
    for step, frame in enumerate(frames, 1):
        rewards = ours.reward[ours.step == step]
        with (tmp_path / f"{step}.jsonl").open("w") as file:
            for row, reward in zip(frame.iter_rows(named=True), rewards, strict=True):
                line = {"input": json.dumps(row["prompt"]), "output": json.dumps(row["completion"]), "gts": None}
                file.write(json.dumps({**line, "score": reward, "step": step, "acc": row["starts_even"]}) + "\n")
    log = read_log(tmp_path)
    assert log.layout == "verl"
    assert not log.notes.omissions()
    assert "acc" in log.trace.extras
    same_numbers(kvar.audit(log, COMPARED), kvar.audit(ours, COMPARED))


def test_weights_of_reward_functions_are_found(run):
    folder, _ = run
    weighted = "conversation" in folder.name
    (remark,) = read_log(folder / "completions").notes.remarks
    assert ("1 starts_even + 0.25 is_short" in remark) == weighted
    assert ("agrees with the advantages" in remark) == (not weighted)


def test_the_callback_audits_at_the_end(run):
    folder, callback = run
    assert callback.report.n_rollouts == 6 * 8
    assert callback.report.chosen.label in callback.report.recommendation
    trace = kvar.read_trace(folder / "trace")
    assert {"completion_length", "starts_even", "is_short"} <= set(trace.extras)


def test_a_run_outlives_an_audit_that_fails(run, monkeypatch, caplog):
    folder, callback = run

    def failing(trace):
        raise ValueError("nothing to see")

    monkeypatch.setattr(audit_callback, "audit", failing)
    callback.on_train_end(None, None, None)
    assert "nothing to see" in caplog.text
    assert f"kvar audit {folder / 'trace'}" in caplog.text


def test_the_callback_wants_a_trainer_with_the_methods_of_trl():
    with pytest.raises(TypeError, match=r"TrainerCallback has no _calculate_rewards"):
        AuditCallback.attach(TrainerCallback())


def test_the_callback_records_what_our_own_trainer_records(make_trainer, tmp_path):
    trainer = make_trainer(max_steps=2, eval_strategy="steps", eval_steps=1, extra={"eval_dataset": sums(4, 9, seed=1)})
    AuditCallback.attach(trainer, trace_dir=tmp_path / "second", print_report=False)
    trainer.train()
    ours, found = trace_of(trainer), kvar.read_trace(tmp_path / "second")
    assert found.prompt_id.tolist() == ours.prompt_id.tolist()
    assert found.step.tolist() == ours.step.tolist()
    np.testing.assert_array_equal(found.reward, ours.reward)
    np.testing.assert_array_equal(found.extras["completion_length"], ours.extras["completion_length"])
