"""A baseline on a trainer of TRL: the same as `KAETrainer`, whole through checkpoints, or refused with a reason."""

import functools
import re
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
import trl
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

import kvar
from kvar.rollouts.prompt_ids import prompt_key
from llm_train import KAETrainer, attach, one_rollout
from llm_train.policy.tiny import make_policy, make_tokenizer, sums
from llm_train.trainer.prompt_keys import PromptKeys
from tests.llm_train.conftest import ON_CPU, checkpoint_of

SETTINGS = {
    "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 4, "learning_rate": 1e-3,
    "max_steps": 4, "save_strategy": "no", "logging_steps": 1, "scale_rewards": "none", "lr_scheduler_type": "constant",
    "temperature": 1.0,
}  # fmt: skip


def some_reward(completions, **_):
    return [float(len(text) % 3 == 0) + 0.25 * text.count("1") for text in completions]


@pytest.fixture
def plain(tmp_path):
    """Make a trainer of TRL."""

    def make(kind=GRPOTrainer, folder="plain", data=None, reward=some_reward, one=False, eval_data=None, **settings):
        tokenizer = make_tokenizer()
        config = {GRPOTrainer: GRPOConfig, RLOOTrainer: RLOOConfig}[kind]
        settings = {**SETTINGS, **settings}
        if kind is RLOOTrainer:
            del settings["scale_rewards"]
        args = config(output_dir=str(tmp_path / folder), **ON_CPU, **settings)
        return kind(
            model=make_policy(tokenizer, seed=0), reward_funcs=reward, args=one_rollout(args) if one else args,
            train_dataset=data or sums(8, 9, seed=0), eval_dataset=eval_data, processing_class=tokenizer,
        )  # fmt: skip

    return make


def assert_same_weights(one, other):
    for ours, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["kernel", "adaptive", "variance-optimal", "critic"])
def test_an_attached_trainer_is_a_kae_trainer(plain, make_trainer, tmp_path, name):
    parameters = {"bandwidth": 10} if name == "kernel" else {}
    trainer = plain()
    attached = attach(trainer, name, trace_dir=tmp_path / "trace", **parameters)
    trainer.train()
    ours = make_trainer(reward=some_reward, baseline=name, baseline_kwargs=parameters, **SETTINGS)
    ours.train()
    assert_same_weights(trainer, ours)
    assert attached.generations == 4
    trace = kvar.read_trace(tmp_path / "trace")
    np.testing.assert_array_equal(trace.extras["advantage"], kvar.read_trace(ours.args.trace_dir).extras["advantage"])
    np.testing.assert_allclose(list(trainer._logs["advantages"]), trace.extras["advantage"][-8:], atol=1e-7)
    assert {"baseline/value", "baseline/one_step_error"} <= set(trainer.state.log_history[0])
    assert type(trainer) is GRPOTrainer
    assert "_calculate_rewards" not in vars(GRPOTrainer(**_arguments(trainer)))


def _arguments(trainer):
    return {"model": trainer.model, "reward_funcs": some_reward, "args": trainer.args,
            "train_dataset": trainer.train_dataset, "processing_class": trainer.processing_class}  # fmt: skip


@pytest.mark.parametrize("one", [True, False])
def test_a_resumed_run_is_the_same_to_the_last_bit(plain, one):
    # A generation serves two steps, so that the checkpoint of step 5 is written at step 6.
    settings = {"num_iterations": 2, "one": one, "save_strategy": "steps"}
    whole = plain(folder="whole", max_steps=8, save_steps=100, **settings)
    expected = attach(whole)
    whole.train()
    first = plain(folder="parts", max_steps=8, save_steps=5, **settings)
    attach(first)
    first.train()
    second = plain(folder="parts", max_steps=8, save_steps=100, **settings)
    found = attach(second)
    second.train(resume_from_checkpoint=str(checkpoint_of(first, 6)))
    assert found.generations == expected.generations == 4
    np.testing.assert_equal(found.baseline.state_dict(), expected.baseline.state_dict())
    assert_same_weights(second, whole)
    bare = plain(folder="bare", max_steps=2, num_iterations=2, save_strategy="steps", save_steps=2)
    bare.train()
    resumed = plain(folder="other", max_steps=8, **settings)
    attach(resumed)
    with pytest.raises(FileNotFoundError, match="without a baseline"):
        resumed.train(resume_from_checkpoint=str(checkpoint_of(bare, 2)))


def test_evaluation_leaves_the_history_alone(plain):
    trainer = plain(max_steps=2, eval_strategy="steps", eval_steps=1, per_device_eval_batch_size=8,
                    eval_data=sums(4, 9, seed=1))  # fmt: skip
    attached = attach(trainer, "adaptive")
    trainer.train()
    assert attached.generations == 2
    assert len(attached.baseline.state_dict()["state"]["history"]["prompt_ids"]) <= 4


def test_rloo_takes_a_baseline_too(plain):
    trainer = plain(RLOOTrainer, beta=0.0)
    attached = attach(trainer, "leave-one-out")
    trainer.train()
    reference = plain(RLOOTrainer, folder="reference", beta=0.0)
    reference.train()
    for ours, theirs in zip(trainer.model.parameters(), reference.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert attached.generations == 4
    clipped = plain(RLOOTrainer, folder="clipped", beta=0.0, reward_clip_range=(0.0, 0.5), max_steps=1)
    found = attach(clipped, "none")
    clipped.train()
    assert max(clipped._logs["advantages"]) == 0.5
    assert found.generations == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"scale_rewards": "group"}, {"scale_rewards": "batch"}, {"scale_rewards": False},
        {"multi_objective_aggregation": "normalize_then_sum"}, {"gradient_accumulation_steps": 2, "num_iterations": 2},
    ],
)  # fmt: skip
def test_the_groups_mean_is_grpo_bitwise(plain, make_trainer, settings):
    # Seven prompts, two a step and one left out: three epochs. The same question twice is two groups.
    data = sums(7, 9, seed=0)
    data = data.select([0, 1, 2, 3, 4, 5, 0])

    def length(completions, **_):
        return [None if len(text) == 1 else 0.1 * len(text) for text in completions]

    settings = {**SETTINGS, **settings, "max_steps": 8}
    reference = plain(data=data, reward=[some_reward, length], **settings)
    reference.train()
    attached = plain(data=data, reward=[some_reward, length], **settings)
    attach(attached, "group-mean")
    attached.train()
    ours = make_trainer(data=data, reward=[some_reward, length], baseline="group-mean", **settings)
    ours.train()
    for trainer in (attached, ours):
        assert_same_weights(trainer, reference)
        assert list(trainer._logs["advantages"]) == list(reference._logs["advantages"])


def test_a_trainer_that_cannot_be_served_is_refused(plain, make_trainer, caplog):
    with pytest.raises(TypeError, match="object has no accelerator"):
        attach(object())
    changed = plain()
    changed._calculate_rewards = lambda samples: None
    with pytest.raises(TypeError, match=r"_calculate_rewards takes \(samples\), not \(inputs, prompts"):
        attach(changed)
    with pytest.raises(ValueError, match=r"has the baseline 'kernel' already"):
        attach(make_trainer())
    penalised = plain(RLOOTrainer, beta=0.0)
    penalised.beta = 0.05  # with it, the trainer would want to load a reference model
    with pytest.raises(ValueError, match=r"beta=0.05 .*set beta=0"):
        attach(penalised)
    with pytest.raises(ValueError, match="normalize_advantages=False"):
        attach(plain(RLOOTrainer, beta=0.0, normalize_advantages=True))
    with pytest.raises(ValueError, match=r"'normalize_then_sum' .*'sum_then_normalize'"):
        attach(plain(multi_objective_aggregation="normalize_then_sum"))
    with pytest.raises(ValueError, match="'offline_value': add it"):
        attach(plain(), "basis")
    with pytest.raises(TypeError, match="bandwidth cannot be set"):
        attach(plain(), kvar.make_baseline("adaptive"), bandwidth=3)
    with pytest.raises(ValueError, match=r"with images .*prompt_key_func"):
        attach(plain(data=sums(8, 9, seed=0).add_column("image", [0] * 8)))
    assert "learning rate" not in caplog.text
    attach(plain(scale_rewards="group"), "adaptive")
    assert "learning rate" in caplog.text
    with pytest.raises(TypeError, match=r"one_rollout takes .* got dict"):
        one_rollout({})


# --- ms-swift -----------------------------------------------------------------------------------------------------


def swift_batch(mask, logprobs):
    return {"grpo_batch": SimpleNamespace(
        completion_mask=mask, old_per_token_logps=None, rollout_per_token_logps=logprobs
    )}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "steps", "said"), [("adaptive", 4, True), ("adaptive", 50, False), ("none", 4, False)]
)
def test_a_run_in_which_no_prompt_returns_is_told_so(plain, caplog, name, steps, said):
    attach(plain(data=sums(20, 9, seed=0), max_steps=steps), name)
    assert ("No prompt comes back" in caplog.text) == said


def test_the_trainer_of_swift_has_one_method(plain, tmp_path):
    class Swift(GRPOTrainer):
        _calculate_rewards = None

        def _compute_advantages(self, samples, rewards_per_func, batch_encoded_inputs):
            return torch.zeros(len(rewards_per_func))

    trainer = plain(num_generations=2)
    trainer.__class__ = Swift
    attached = attach(trainer, "variance-optimal", trace_dir=tmp_path / "trace")
    loop = kvar.make_baseline("variance-optimal")
    trainer.model.train()
    rng = torch.Generator().manual_seed(0)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]] * 2)
    for step in range(1, 6):
        samples = [
            SimpleNamespace(extra={"row": k // 2}, messages=[{"role": "user", "content": f"{k // 2}?"}] * (1 + k // 2)
            + [{"role": "assistant", "content": f"{step} {k}"}]) for k in range(8)
        ]  # fmt: skip
        rewards = torch.randint(0, 2, (8, 1), generator=rng).float()
        logprobs = -torch.rand((2, 4, 3), generator=rng)
        batches = [swift_batch(mask, some) for some in logprobs]
        found = trainer._compute_advantages(samples, rewards, batches)
        norms = torch.cat([kvar.score_norm_from_logprobs(some, mask) for some in logprobs]).view(4, 2)
        expected = loop.advantages(range(4), rewards.view(4, 2), step, score_norm=norms)
        torch.testing.assert_close(found, expected.flatten())
    assert attached.generations == 5
    trace = kvar.read_trace(tmp_path / "trace")
    assert trace.extras["completion_length"].tolist() == [2, 3] * 20
    assert len(set(trace.prompt_id)) == 4
    with pytest.raises(ValueError, match="no log-probabilities"):
        trainer._compute_advantages(samples, rewards, [swift_batch(mask, None)] * 2)
    trainer.model.eval()
    assert not trainer._compute_advantages(samples, rewards, batches).any()
    assert attached.generations == 5
    several = plain(folder="several")
    several.__class__ = Swift
    several.dynamic_num_samples = True
    with pytest.raises(ValueError, match="dynamic_num_samples"):
        attach(several)


# --- ids of prompts -----------------------------------------------------------------------------------------------


class WithEnvironments:
    environment_factories: ClassVar = {None: object}


def test_prompts_of_environments_are_told_apart_by_what_made_them():
    keys = PromptKeys(WithEnvironments())
    play = [{"role": "user", "content": "Play."}]
    examples = [{"prompt": play, "word": word, "environment": name} for word, name in ("xa", "xa", "xb", "ya")]
    found = keys.gathered(keys.before(examples), [play] * 4, 1)
    assert [found.index(key) for key in found] == [0, 0, 2, 3]
    # What reset() adds tells prompts apart too; an example without a prompt is no error.
    seen = [[{"role": "user", "content": text}] for text in ("a", "a", "b", "b")]
    found = keys.gathered(keys.before([{"environment": "x"}] * 4), seen, 2)
    assert [found.index(key) for key in found] == [0, 0, 2, 2]
    with pytest.raises(ValueError, match=r"one group have different prompts.*prompt_key_func"):
        keys.gathered(keys.before([{"environment": "x"}] * 4), seen, 4)


def test_ids_by_a_function_are_taken_before_rewards_can_change_the_examples(plain, tmp_path):
    def spoiling(completions, row, **_):
        return [float(k % 2) for k in row]

    class Spoiling(GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            for example in inputs:
                example["row"] = -1
            return output

    trainer = plain(data=sums(8, 9, seed=0).add_column("row", list(range(8))), reward=spoiling)
    trainer.__class__ = Spoiling
    attach(trainer, "adaptive", prompt_key_func=lambda example: np.int64(example["row"]), trace_dir=tmp_path / "trace")
    trainer.train()
    assert set(kvar.read_trace(tmp_path / "trace").prompt_id.tolist()) <= set(range(8))
    with pytest.raises(TypeError, match=r"an integer or a string, got \[\]"):
        PromptKeys(trainer, None, lambda example: []).before([{}])
    with pytest.raises(ValueError, match="prompt_id_column='row' and prompt_key_func"):
        PromptKeys(trainer, "row", prompt_key)


# --- as GRPOTrainer -----------------------------------------------------------------------------------------------


def test_our_trainer_makes_settings_where_none_are_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from llm_train.trainer import kae_trainer

    class OnCPU(kae_trainer.KAEConfig):
        def __init__(self, output_dir):
            super().__init__(output_dir, **ON_CPU)

    monkeypatch.setattr(kae_trainer, "KAEConfig", OnCPU)
    tokenizer = make_tokenizer()
    policy = make_policy(tokenizer, seed=0)
    policy.config._name_or_path = "somebody/tiny"
    trainer = KAETrainer(policy, some_reward, train_dataset=sums(8, 9, seed=0), processing_class=tokenizer)
    assert trainer.args.output_dir == "tiny-KAE"
    assert trainer.args.baseline == "adaptive"


def test_the_model_card_cites_the_method(make_trainer, tmp_path):
    trainer = make_trainer()
    trainer.create_model_card(model_name="a model")
    card = (tmp_path / "run" / "README.md").read_text()
    assert "2604.28005" in card
    assert "DeepSeekMath" not in card


# --- the documentation --------------------------------------------------------------------------------------------


def test_the_three_lines_of_the_documentation_train(tmp_path, monkeypatch):
    text = Path("docs/site/training.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (code,) = (block for block in blocks if "one_rollout" in block)
    monkeypatch.chdir(tmp_path)
    small = {"max_steps": 2, "per_device_train_batch_size": 8, "max_completion_length": 3, "logging_steps": 1}
    monkeypatch.setattr(trl, "GRPOConfig", functools.partial(GRPOConfig, **ON_CPU, **small))
    tokenizer = make_tokenizer()
    names = {"tokenizer": tokenizer, "model": make_policy(tokenizer, seed=0), "reward": some_reward}
    exec(code, names | (found := {"data": sums(8, 9, seed=0)}), found)
    trainer = found["trainer"]
    assert trainer.num_generations == 1
    assert "baseline/value" in trainer.state.log_history[0]
    assert Path("run/checkpoint-2/baseline.safetensors").exists()
