"""Unusual settings and rewards: each works, or is refused with an error that names the remedy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from llm_train.policy.tiny import answer_reward, make_tokenizer, sums
from tests.llm_train.conftest import checkpoint_of, trace_of


def test_prompts_that_do_not_fill_the_last_batch_wait_for_the_next_epoch(make_trainer):
    # Seven prompts, four a step: one step an epoch, and TRL leaves the rest of the shuffle out.
    trainer = make_trainer(data=sums(7, 9, seed=0), max_steps=3)
    trainer.train()
    trace = trace_of(trainer)
    assert [len(set(trace.prompt_id[trace.step == step])) for step in (1, 2, 3)] == [4, 4, 4]
    with pytest.raises(ValueError, match=r"4 .* has 3: lower per_device_train_batch_size"):
        make_trainer("few", data=sums(3, 9, seed=0))


def test_a_warning_names_a_window_in_which_no_prompt_returns(make_trainer, caplog):
    data = sums(40, 9, seed=0)  # an epoch of ten generations
    make_trainer(data=data, baseline_kwargs={"bandwidth": 11})
    make_trainer("adaptive", data=data, baseline="adaptive", baseline_kwargs={})
    make_trainer("block", data=data, block_reuse=2)
    # The weight of the exponential kernel is 1/e one bandwidth back.
    make_trainer("tail", data=data, baseline_kwargs={"bandwidth": 10, "kernel": "exponential"})
    assert "bandwidth=" not in caplog.text
    make_trainer("long", data=data, max_steps=50)
    assert "10 generations" in caplog.text
    assert "bandwidth=10" in caplog.text


@pytest.mark.parametrize(("settings", "said"), [({}, True), ({"max_steps": 50}, False), ({"block_reuse": 2}, False)])
def test_a_run_in_which_no_prompt_returns_is_told_so(make_trainer, caplog, settings, said):
    make_trainer(data=sums(40, 9, seed=0), baseline="adaptive", baseline_kwargs={}, **settings)
    assert ("No prompt comes back" in caplog.text and "block_reuse" in caplog.text) == said


def test_an_evaluation_that_cannot_be_made_is_said_before_training(make_trainer):
    # Also where only the end of the run asks for it.
    with pytest.raises(ValueError, match=r"pass@16 .* draws 2: raise num_generations_eval"):
        make_trainer(extra={"eval_dataset": sums(8, 9, seed=1)}, pass_at=[1, 16])


def test_answers_are_compared_without_the_tokens_that_a_tokenizer_adds():
    plain = make_tokenizer()

    def with_bos(texts, add_special_tokens=True):
        found = plain(texts)["input_ids"]
        return {"input_ids": [[plain.bos_token_id, *ids] if add_special_tokens else ids for ids in found]}

    with_bos.eos_token_id = plain.eos_token_id
    ids = [*plain("12")["input_ids"], plain.eos_token_id]
    assert answer_reward(with_bos)(completion_ids=[ids, ids], answer=["12", "13"]) == [1.0, 0.0]


def test_a_prompt_that_comes_twice_in_a_batch_is_one_group(make_trainer):
    trainer = make_trainer(
        data=sums(4, 9, seed=0), prompt_order="independent", baseline="leave-one-out", baseline_kwargs={}
    )
    trainer.train()
    trace = trace_of(trainer)
    repeated = [s for s in range(1, 5) if len(set(trace.prompt_id[trace.step == s])) < 4]
    assert repeated
    rows = trace.step == repeated[0]
    for key in set(trace.prompt_id[rows]):
        group = rows & (trace.prompt_id == key)
        reward, n = trace.reward[group], group.sum()
        np.testing.assert_allclose(trace.extras["advantage"][group], (reward - reward.mean()) * n / (n - 1), atol=1e-6)


def test_an_order_by_variance_refuses_rewards_that_are_no_rates(make_trainer):
    def reward(completion_ids, **_):
        return [None, 1.0, 0.0, 3.0] * (len(completion_ids) // 4)

    trainer = make_trainer(reward=reward, prompt_order="variance")
    with pytest.raises(ValueError, match=r"'variance' .*got 3: scale them"):
        trainer.train()
    assert trainer.baseline.state_dict()["state"]["history"]["counts"].sum() == 0
    # Ten tenths add up to 1 up to rounding, and NaN is no reward.
    tenths = [lambda completion_ids, **_: [None, *[1.0] * (len(completion_ids) - 1)]] * 10
    make_trainer("tenths", reward=tenths, reward_weights=[0.1] * 10, prompt_order="variance", max_steps=1).train()


def test_a_run_that_ends_inside_a_generation_has_a_checkpoint_of_the_last_whole_one(make_trainer, caplog):
    settings = {"save_strategy": "steps", "save_steps": 500, "gradient_accumulation_steps": 2,
                "steps_per_generation": 4, "per_device_train_batch_size": 4}  # fmt: skip
    whole = make_trainer("whole", max_steps=6, **settings)
    whole.train()
    cut = make_trainer("cut", max_steps=5, **settings)
    cut.train()
    assert [path.name for path in Path(cut.args.output_dir).glob("checkpoint-*")] == ["checkpoint-4"]
    resumed = make_trainer("cut", max_steps=6, **settings)
    resumed.train(resume_from_checkpoint=str(checkpoint_of(cut, 4)))
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert "Raise max_steps" not in caplog.text
    make_trainer("none", max_steps=1, **settings).train()
    assert "Raise max_steps" in caplog.text


@pytest.mark.parametrize("name", ["adaptive", "batch-mean", "critic"])
def test_a_step_without_any_reward_moves_nothing(make_trainer, name):
    trainer = make_trainer(
        baseline=name, baseline_kwargs={}, reward=lambda prompts, **_: [None] * len(prompts), max_steps=2,
        whiten_advantages=name == "batch-mean",
    )  # fmt: skip
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.train()
    assert all((a == b).all() for a, b in zip(before, trainer.model.parameters(), strict=True))
    assert not trace_of(trainer).extras["advantage"].any()


def test_rewards_of_a_million(make_trainer):
    def reward(completion_ids, **_):
        return [1e6 * (len(ids) % 2) for ids in completion_ids]

    trainer = make_trainer(baseline="adaptive", baseline_kwargs={}, reward=reward, block_reuse=4)
    trainer.train()
    trace = trace_of(trainer)
    assert np.isfinite(trace.extras["advantage"]).all()
    values = trace.reward - trace.extras["advantage"]
    assert (values > -1).all()
    assert (values < 1e6 + 1).all()
    assert all(p.isfinite().all() for p in trainer.model.parameters())
    refused = make_trainer("counts", baseline="kalman", baseline_kwargs={}, reward=reward)
    with pytest.raises(ValueError, match="from 0 to 1, got 1e\\+06"):
        refused.train()


def test_accumulated_gradients_see_one_generation(make_trainer):
    one = make_trainer("one", per_device_train_batch_size=8, gradient_accumulation_steps=1, max_steps=3)
    one.train()
    two = make_trainer("two", per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=3)
    two.train()
    first, second = trace_of(one), trace_of(two)
    assert first.prompt_id.tolist() == second.prompt_id.tolist()
    assert second.extras["optimizer_step"].tolist() == np.repeat([0, 1, 2], 8).tolist()


def test_a_single_rollout_with_several_iterations(make_trainer):
    trainer = make_trainer(num_generations=1, num_iterations=2, steps_per_generation=2, max_steps=4,
                           per_device_train_batch_size=4)  # fmt: skip
    trainer.train()
    trace = trace_of(trainer)
    assert trace.step.tolist() == [1] * 8
    assert len(set(trace.prompt_id)) == 8 or len(trace) == 16


def test_whitening_is_over_the_whole_batch(make_trainer):
    trainer = make_trainer(baseline="batch-mean", baseline_kwargs={}, whiten_advantages=True, block_reuse=4)
    trainer.train()
    trace = trace_of(trainer)
    for step in range(1, 5):
        advantage = trace.extras["advantage"][trace.step == step]
        if advantage.any():
            assert abs(advantage.mean()) < 1e-6
            assert abs(advantage.std() - 1) < 1e-5
