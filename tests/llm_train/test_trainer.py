"""The trainer against what it records, through resumes, single rollouts, missing rewards and evaluation."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

import kvar
from kvar.rollouts.prompt_ids import prompt_key
from llm_train import KAETrainer
from llm_train.policy.exact_value import ExactValue
from llm_train.policy.tiny import make_policy, make_tokenizer, sums
from llm_train.trainer.measured_trainer import MeasuredTrainer
from llm_train.trainer.state_file import load_state, save_state
from tests.llm_train.conftest import checkpoint_of, counts_of, trace_of


def replayed_advantages(trace, name="kernel", **parameters):
    return np.nan_to_num(trace.reward - kvar.replay(trace, name, **parameters), nan=0.0)


@pytest.mark.parametrize("name", ["kernel", "adaptive", "leave-one-out", "opo", "discounted-beta"])
def test_advantages_are_those_of_the_baseline(make_trainer, name):
    trainer = make_trainer(baseline=name, baseline_kwargs={}, block_reuse=2, max_steps=6)
    trainer.train()
    trace = trace_of(trainer)
    assert len(trace) == 6 * 8
    np.testing.assert_allclose(trace.extras["advantage"], replayed_advantages(trace, name), atol=1e-7)
    assert trace.extras["optimizer_step"].tolist() == np.repeat(np.arange(6), 8).tolist()
    # What TRL logs is what was recorded.
    np.testing.assert_allclose(list(trainer._logs["advantages"]), trace.extras["advantage"][-8:], atol=1e-7)


def test_the_loss_sees_the_advantages(make_trainer):
    trainer = make_trainer(max_steps=1)
    trainer.model.train()
    batch = next(iter(trainer.get_train_dataloader()))
    output = trainer._generate_and_score_completions(batch)
    np.testing.assert_allclose(output["advantages"].numpy(), trace_of(trainer).extras["advantage"], atol=1e-7)
    assert output["advantages"].dtype == torch.float32


def test_grpo_is_that_of_trl(make_trainer, monkeypatch):
    of_trl = []
    inner = MeasuredTrainer._generate_and_score_completions

    def remembered(self, inputs):
        output = inner(self, inputs)
        of_trl.append(output["advantages"].clone())
        return output

    monkeypatch.setattr(MeasuredTrainer, "_generate_and_score_completions", remembered)
    trainer = make_trainer(baseline="group-mean", scale_rewards="group", num_generations=4)
    trainer.train()
    advantages = trace_of(trainer).extras["advantage"]
    assert np.any(advantages)
    np.testing.assert_allclose(advantages, torch.cat(of_trl).numpy(), atol=1e-6)


def test_a_baseline_is_given_the_columns_it_needs(make_trainer):
    data = sums(8, 9, seed=0)
    with pytest.raises(ValueError, match="'offline_value': add it as a column"):
        make_trainer(data=data, baseline="basis")
    rated = data.add_column("offline_value", [0.1 + 0.1 * k for k in range(8)])
    trainer = make_trainer(data=rated, baseline="basis", max_steps=2)
    trainer.train()
    trace = trace_of(trainer)
    np.testing.assert_allclose(trace.extras["advantage"], replayed_advantages(trace, "basis"), atol=1e-6)


def test_the_prompt_key_is_a_column_or_a_hash(make_trainer):
    data = sums(8, 9, seed=0)
    names = [f"t{k}" for k in range(8)]
    for column, wanted in ((None, {prompt_key(prompt) for prompt in data["prompt"]}), ("task", set(names))):
        trainer = make_trainer(str(column), data=data.add_column("task", names), prompt_id_column=column, max_steps=1)
        trainer.train()
        assert set(trace_of(trainer).prompt_id.tolist()) <= wanted
    with pytest.raises(ValueError, match=r"prompt_id_column='missing' .* prompt, answer"):
        make_trainer("wrong", data=data, prompt_id_column="missing").train()


def test_mini_batches_are_reused(make_trainer):
    trainer = make_trainer(block_reuse=3, max_steps=6)
    trainer.train()
    trace = trace_of(trainer)
    visited = [tuple(trace.prompt_id[trace.step == step]) for step in range(1, 7)]
    assert visited[0] == visited[1] == visited[2]
    assert visited[3] == visited[4] == visited[5]
    assert not set(visited[0]) & set(visited[3])


# Of eight prompts, each step takes four, for two steps: the resume falls inside the second epoch. Or the checkpoint is
# due at step 5, inside a generation that serves three steps, and is written at its end.
@pytest.mark.parametrize("settings", [{"block_reuse": 2, "save_steps": 6}, {"num_iterations": 3, "save_steps": 5}])
def test_a_resumed_run_is_the_same_to_the_last_bit(make_trainer, settings):
    whole = make_trainer("whole", max_steps=12, **settings)
    whole.train()
    first = make_trainer("parts", max_steps=9, save_strategy="steps", **settings)
    first.train()
    assert set(Path(first.args.output_dir).glob("checkpoint-*")) == {checkpoint_of(first, step) for step in (6, 9)}
    second = make_trainer("parts", max_steps=12, save_strategy="steps", **settings)
    second.train(resume_from_checkpoint=str(checkpoint_of(first, 6)))

    expected, found = trace_of(whole), trace_of(second)
    assert found.columns.keys() == expected.columns.keys()
    for name, column in expected.columns.items():
        assert found.columns[name].tobytes() == column.tobytes(), name
    np.testing.assert_equal(second.baseline.state_dict(), whole.baseline.state_dict())
    for ours, theirs in zip(second.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_what_was_not_logged_before_a_resume_is_logged_after_it(make_trainer):
    settings = {"max_steps": 8, "logging_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = make_trainer("whole", **settings)
    whole.train()
    checkpoint = checkpoint_of(whole, 6)

    def resumed(folder):
        trainer = make_trainer(folder, **settings)
        trainer.train(resume_from_checkpoint=str(checkpoint))
        return trainer.state.log_history[-2]

    expected, found = whole.state.log_history[-2], resumed("resumed")
    timed = ("time/", "step_time", "loss")  # the loss is that of the steps after the checkpoint
    assert found.keys() == expected.keys()
    assert all(found[name] == value for name, value in expected.items() if not name.startswith(timed))
    # Files of older versions hold no metrics.
    state = load_state(checkpoint / "baseline.safetensors")
    assert state.pop("metrics")
    save_state(state, checkpoint / "baseline.safetensors")
    assert resumed("older")["step"] == 8


def test_a_checkpoint_without_history_is_refused(make_trainer):
    trainer = make_trainer(max_steps=2, save_strategy="steps", save_steps=2)
    trainer.train()
    checkpoint = checkpoint_of(trainer, 2)
    (checkpoint / "baseline.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"checkpoint-2.*start a new run"):
        make_trainer("other", max_steps=4).train(resume_from_checkpoint=str(checkpoint))


def test_a_single_rollout_learns(make_trainer):
    trainer = make_trainer(num_generations=1, block_reuse=50, max_steps=50)
    trainer.train()
    trace = trace_of(trainer)
    assert not trace.rollout.any()
    # From the second visit on, and until the policy has learned the task and every reward is what was expected.
    early = (trace.step >= 2) & (trace.step <= 15)
    assert (np.abs(trace.extras["advantage"][early]).reshape(14, 8).max(axis=1) > 0).all()
    first, last = trace.reward[trace.step <= 15], trace.reward[trace.step > 35]
    error = math.sqrt(first.var() / first.size + last.var() / last.size)
    assert last.mean() - first.mean() > 4 * error


def test_an_unscorable_completion_moves_nothing(make_trainer):
    def sometimes(completion_ids, **_):
        return [None if k % 3 == 0 else float(k % 2) for k in range(len(completion_ids))]

    trainer = make_trainer(reward=sometimes, block_reuse=4)
    trainer.train()
    trace = trace_of(trainer)
    missing = np.isnan(trace.reward)
    assert missing.sum() == 4 * 3
    assert (trace.extras["advantage"][missing] == 0).all()
    np.testing.assert_allclose(trace.extras["advantage"], replayed_advantages(trace), atol=1e-7)
    assert counts_of(trainer).sum() == (~missing).sum()


def test_rewards_are_weighted_and_summed(make_trainer):
    def one(completion_ids, **_):
        return [1.0] * len(completion_ids)

    def two(completion_ids, **_):
        return [None if k == 0 else 10.0 for k in range(len(completion_ids))]

    trainer = make_trainer(reward=[one, two], reward_weights=[0.5, 2.0], max_steps=1)
    trainer.train()
    assert trace_of(trainer).reward.tolist() == [0.5] + [20.5] * 7


def test_evaluation_leaves_the_history_alone(make_trainer):
    trainer = make_trainer(max_steps=2)
    trainer.train()
    before = trainer.baseline.state_dict()
    trainer.evaluate(sums(4, 9, seed=1))
    np.testing.assert_equal(trainer.baseline.state_dict(), before)
    assert len(trace_of(trainer)) == 2 * 8


def test_one_generation_for_several_steps_is_seen_once(make_trainer):
    trainer = make_trainer(num_iterations=2, steps_per_generation=2, max_steps=8, gradient_accumulation_steps=1)
    trainer.train()
    trace = trace_of(trainer)
    assert trace.step.tolist() == np.repeat([1, 2], 16).tolist()
    assert trace.extras["optimizer_step"].tolist() == np.repeat([0, 4], 16).tolist()
    assert counts_of(trainer).sum() == 32


def test_the_true_value_is_that_of_the_policy_that_sampled(make_trainer):
    tokenizer = make_tokenizer()
    exact_value = ExactValue(tokenizer)
    data = sums(4, 9, seed=0)
    model = make_policy(tokenizer, seed=0)
    expected = dict(zip(map(prompt_key, data["prompt"]), exact_value(model, list(data)), strict=True))
    trainer = make_trainer(
        data=data, model=model, max_steps=2, block_reuse=2, extra={"true_value_func": exact_value}, baseline="oracle"
    )
    trainer.train()
    trace = trace_of(trainer)
    first, found = trace.step == 1, trace.extras["true_value"]
    np.testing.assert_allclose(found[first], [expected[key] for key in trace.prompt_id[first]], rtol=1e-5)
    assert (found[~first] != found[first]).all()
    np.testing.assert_allclose(trace.extras["advantage"], trace.reward - found, atol=1e-7)


def test_only_the_process_that_records_looks_for_another_run(make_trainer, monkeypatch):
    make_trainer(max_steps=1).train()
    with pytest.raises(FileExistsError, match=r"1 step.*another trace_dir"):
        make_trainer().train()
    monkeypatch.setattr(Accelerator, "is_main_process", False)
    make_trainer().train()


def test_what_cannot_work_is_refused_before_training(make_trainer):
    with pytest.raises(ValueError, match=r"'oracle' .*pass true_value_func"):
        make_trainer(baseline="oracle")
    with pytest.raises(TypeError, match=r"args=KAEConfig\(...\), got str"):
        KAETrainer(model=None, args="run")
    with pytest.raises(ValueError, match=r"block_reuse.*without streaming"):
        make_trainer(data=sums(8, 9, seed=0).to_iterable_dataset(), block_reuse=2)
    with pytest.raises(ValueError, match="set prompt_id_column"):
        make_trainer(data=sums(8, 9, seed=0).add_column("image", [0] * 8))
