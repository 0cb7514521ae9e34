"""Eleven checks of the trainer and of `attach` on whichever TRL is installed: ``make trl-versions``."""

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

import kvar
from llm_train import AuditCallback, KAEConfig, KAETrainer, attach, one_rollout
from llm_train.policy.tiny import make_policy, make_tokenizer, sums
from tests.llm_train.conftest import ON_CPU, checkpoint_of

SETTINGS = {
    "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 5, "learning_rate": 1e-3,
    "max_steps": 2, "save_strategy": "no", "logging_steps": 1,
}  # fmt: skip
EVALUATED = {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 8}


def some_reward(completions, **_):
    return [float(len(text) % 3 == 0) + 0.25 * text.count("1") for text in completions]


@pytest.fixture
def make(tmp_path):
    def made(kind, config, folder="run", reward=some_reward, one=False, evaluated=False, **settings):
        tokenizer, data = make_tokenizer(), sums(24, 9, seed=0)
        on_cpu = {name: value for name, value in ON_CPU.items() if name in config.__dataclass_fields__}
        args = config(output_dir=str(tmp_path / folder), **{**on_cpu, **SETTINGS, **settings})
        return kind(
            model=make_policy(tokenizer, seed=0), reward_funcs=reward, args=one_rollout(args) if one else args,
            train_dataset=data, eval_dataset=data.select(range(4)) if evaluated else None, processing_class=tokenizer,
        )  # fmt: skip

    return made


def weights(trainer, **given):
    trainer.train(**given)
    found = [p.detach().clone() for p in trainer.model.parameters()]
    assert all(p.isfinite().all() for p in found)
    return found


def same(one, other):
    return all(torch.equal(ours, theirs) for ours, theirs in zip(one, other, strict=True))


def test_the_groups_mean_is_grpo_bitwise(make):
    reference = weights(make(GRPOTrainer, GRPOConfig))
    assert same(weights(make(KAETrainer, KAEConfig, baseline="group-mean", scale_rewards="group")), reference)
    attached = make(GRPOTrainer, GRPOConfig)
    attach(attached, "group-mean")
    assert same(weights(attached), reference)


def test_attached_is_our_trainer(make):
    attached = make(GRPOTrainer, GRPOConfig, scale_rewards="none")
    assert attach(attached).baseline.name == "variance-optimal"
    assert same(weights(attached), weights(make(KAETrainer, KAEConfig, baseline="variance-optimal")))


def test_one_rollout(make, tmp_path):
    weights(make(KAETrainer, KAEConfig, baseline="kernel", num_generations=1))
    attached = make(GRPOTrainer, GRPOConfig, one=True, scale_rewards="none")
    attach(attached, trace_dir=tmp_path / "trace")
    weights(attached)
    assert set(kvar.read_trace(tmp_path / "trace").rollout.tolist()) == {0}


def test_blocks_are_recorded(make, tmp_path):
    trace_dir = str(tmp_path / "trace")
    weights(make(KAETrainer, KAEConfig, num_generations=2, block_reuse=2, trace_dir=trace_dir))
    trace = kvar.read_trace(trace_dir)
    assert len(trace) == 16
    assert set(trace.prompt_id[trace.step == 1]) == set(trace.prompt_id[trace.step == 2])


def test_one_generation_serves_several_steps(make):
    attached = make(GRPOTrainer, GRPOConfig, num_iterations=2, steps_per_generation=2, max_steps=4)
    assert attach(attached, "adaptive").generations == 0
    weights(attached)
    assert next(c for c in attached.callback_handler.callbacks if hasattr(c, "generations")).generations == 1


@pytest.mark.parametrize("samples", [None, 2])
def test_evaluation_gives_pass_rates(make, samples):
    given = {} if samples is None else {"num_generations_eval": samples}
    if samples and "num_generations_eval" not in GRPOConfig.__dataclass_fields__:
        pytest.skip("this TRL evaluates with as many rollouts as it trains with")
    trainer = make(KAETrainer, KAEConfig, evaluated=True, **EVALUATED, **given)
    weights(trainer)
    assert any("eval_pass@1" in entry for entry in trainer.state.log_history)


@pytest.mark.parametrize("ours", [True, False])
def test_save_and_resume_to_the_last_bit(make, ours):
    saved = {"num_generations": 2, "max_steps": 4, "save_strategy": "steps", "save_steps": 2}

    def made(folder):
        if ours:
            return make(KAETrainer, KAEConfig, folder, **saved)
        trainer = make(GRPOTrainer, GRPOConfig, folder, scale_rewards="none", **saved)
        attach(trainer)
        return trainer

    whole = made("run")
    expected = weights(whole)
    assert same(weights(made("again"), resume_from_checkpoint=str(checkpoint_of(whole, 2))), expected)


def test_rloo(make):
    attached = make(RLOOTrainer, RLOOConfig, beta=0.0)
    attach(attached, "adaptive")
    weights(attached)


def test_rewards_that_are_none(make):
    def patchy(completions, **_):
        return [None if k == 0 else float(k % 2) for k in range(len(completions))]

    weights(make(KAETrainer, KAEConfig, reward=patchy))


def test_the_audit(make, tmp_path):
    trainer = make(GRPOTrainer, GRPOConfig, max_steps=4)
    callback = AuditCallback.attach(trainer, print_report=False)
    weights(trainer)
    assert callback.report.n_rollouts == 32
