"""The small parts of training: order of prompts, settings, state on disk, exact values."""

import json
import math

import numpy as np
import pytest
import torch

from llm_train import KAEConfig
from llm_train.policy import exact_value
from llm_train.policy.exact_value import ExactValue, answer_log_probabilities, rows_at_once
from llm_train.policy.tiny import answer_reward, make_policy, make_tokenizer, sums
from llm_train.trainer.prompt_samplers import BlockSampler, IndependentSampler
from llm_train.trainer.state_file import load_state, save_state

# --- order of prompts ---------------------------------------------------------------------------------------------


def sampler(block_reuse, shuffle=True, n=7, kind=BlockSampler):
    return kind(
        list(range(n)),
        mini_repeat_count=2,
        batch_size=3,
        steps_per_batch=1,
        block_reuse=block_reuse,
        shuffle=shuffle,
        seed=4,
    )


def test_each_mini_batch_stays_for_its_block():
    order = list(sampler(block_reuse=4, shuffle=False))
    assert len(order) == len(sampler(block_reuse=4))
    generations = [tuple(order[k : k + 6]) for k in range(0, len(order), 6)]
    assert generations == [(0, 0, 1, 1, 2, 2)] * 4 + [(3, 3, 4, 4, 5, 5)] * 4


def test_the_shuffle_depends_on_seed_and_epoch_alone():
    first, resumed = sampler(1), sampler(1)
    epochs = []
    for epoch in range(3):
        first.set_epoch(epoch)
        epochs.append(list(first))
    resumed.set_epoch(2)
    assert list(resumed) == epochs[2]
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("kind", [BlockSampler, IndependentSampler])
def test_a_resumed_order_is_that_of_its_epoch_even_if_nobody_tells_it(kind):
    first, resumed = sampler(2, kind=kind), sampler(2, kind=kind)
    first.set_epoch(3)
    state = first.state_dict()
    resumed.load_state_dict(state)
    assert list(resumed) == list(first)
    resumed.load_state_dict({})  # as older versions saved it


def test_independent_draws_are_uniform_and_kept_for_their_block():
    draw = sampler(block_reuse=2, n=30, kind=IndependentSampler)
    seen = []
    for epoch in range(200):
        draw.set_epoch(epoch)
        order = list(draw)
        assert len(order) == len(draw)
        batches = [order[k : k + 6] for k in range(0, len(order), 6)]
        assert batches[::2] == batches[1::2]
        seen += [index for batch in batches[::2] for index in batch[::2]]
    counts = np.bincount(seen, minlength=30)
    # 6,000 draws over 30 prompts: a chi-square statistic with 29 degrees of freedom, mean 29, deviation 7.6.
    assert ((counts - 200) ** 2 / 200).sum() < 29 + 4 * 7.6
    draw.set_epoch(3)
    again = list(draw)
    draw.set_epoch(3)
    assert list(draw) == again


# --- settings -----------------------------------------------------------------------------------------------------


def config(tmp_path, **settings):
    return KAEConfig(
        output_dir=str(tmp_path), bf16=False, use_cpu=True, report_to="none", activation_checkpointing=False, **settings
    )


def test_one_rollout_a_prompt_is_allowed(tmp_path):
    made = config(tmp_path, num_generations=1, per_device_train_batch_size=1)
    assert type(made.num_generations) is int
    assert made.num_generations == 1
    assert made.generation_batch_size == 1
    json.dumps(made.to_dict())


def test_parameters_of_the_baseline_come_as_json(tmp_path):
    assert config(tmp_path, baseline="kernel", baseline_kwargs='{"bandwidth": 5}').baseline_kwargs == {"bandwidth": 5}
    assert config(tmp_path).baseline_kwargs == {}


def test_a_single_k_of_pass_at_k_needs_no_list(tmp_path):
    assert config(tmp_path, pass_at=4).pass_at == [4]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"baseline": "kernle"}, "'kernle'"),
        ({"baseline_kwargs": {"window": 3}}, "'window'"),
        ({"baseline_kwargs": "bandwidth=10"}, "baseline_kwargs must be a JSON object.*'bandwidth=10'"),
        ({"baseline_kwargs": '{"bandwidth": 10'}, "baseline_kwargs must be a JSON object"),
        ({"baseline_kwargs": "[]"}, r"baseline_kwargs must be a JSON object.*'\[\]'"),
        ({"num_generations": 0}, "num_generations must be .*, got 0"),
        ({"prompt_order": "random"}, "prompt_order must be one of 'epochs', .*, got 'random'"),
        ({"prompt_order": "independent", "shuffle_dataset": False}, "set shuffle_dataset=True"),
        ({"block_reuse": 0}, "block_reuse must be a whole number from 1 on, got 0"),
        ({"block_reuse": 2.5}, "block_reuse must be a whole number from 1 on, got 2.5"),
        ({"warm_start_rollouts": True}, "warm_start_rollouts must be a whole number from 0 on, got True"),
        ({"pass_at": [1, 0]}, "pass_at must be a whole number from 1 on, got 0"),
        ({"scale_rewards": "group"}, "got 'adaptive' and 8: set scale_rewards='none'"),
        ({"scale_rewards": "group", "baseline": "group-mean", "num_generations": 1}, "got 1 rollout a prompt"),
        ({"baseline": "opo", "num_generations": 1}, "got 1 rollout a prompt"),
        ({"scale_rewards": "batch"}, "set scale_rewards='none'; whiten_advantages=True"),
        ({"scale_rewards": True}, "scale_rewards='group' requires"),
        ({"multi_objective_aggregation": "normalize_then_sum"}, "multi_objective_aggregation='sum_then_normalize'"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        config(tmp_path, **settings)


# --- state on disk ------------------------------------------------------------------------------------------------


def test_state_survives_the_disk(tmp_path):
    state = {
        "n": 3,
        "last": -math.inf,
        "ids": [1, -(2**63), "ü"],
        "table": {"a": np.arange(6.0).reshape(2, 3), "empty": np.zeros((0, 4)), "next": np.arange(3)},
    }
    back = load_state(save_state(state, tmp_path / "state.safetensors"))
    np.testing.assert_equal(back, state)
    assert back["table"]["next"].dtype == np.int64


# --- the tiny policy and its exact value --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def policy():
    tokenizer = make_tokenizer()
    return make_policy(tokenizer, seed=0).eval(), tokenizer


def test_the_tokenizer_reads_single_characters(policy):
    _, tokenizer = policy
    assert tokenizer.convert_ids_to_tokens(tokenizer("12+7=")["input_ids"]) == list("12+7=")
    assert tokenizer.decode(tokenizer("12+7=")["input_ids"]).replace(" ", "") == "12+7="


def test_the_exact_value_is_a_product_of_single_steps(policy):
    model, tokenizer = policy
    examples = [{"prompt": "1+2=", "answer": "3"}, {"prompt": "47+59=", "answer": "106"}]
    found = ExactValue(tokenizer)(model, [*examples, examples[0]])
    for example, value in zip(examples, found, strict=False):
        tokens = tokenizer(example["prompt"])["input_ids"]
        product = 1.0
        for token in [*tokenizer(example["answer"])["input_ids"], tokenizer.eos_token_id]:
            with torch.no_grad():
                logits = model(torch.tensor([tokens])).logits[0, -1].double()
            product *= float(torch.softmax(logits, 0)[token])
            tokens = [*tokens, token]
        assert value == pytest.approx(product, rel=1e-5)  # float32 weights, other shapes of the same sums
    assert found[2] == found[0]
    two_answers = [{"prompt": "1+1=", "answer": answer} for answer in "23"]
    alone = [ExactValue(tokenizer)(model, [example])[0] for example in two_answers]
    assert ExactValue(tokenizer)(model, two_answers) == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("partial", [False, True])
def test_exact_values_take_no_more_rows_at_once_than_fit(policy, monkeypatch, partial):
    model, tokenizer = policy
    examples = [{"prompt": f"{k}+2=", "answer": str(k + 2)} for k in range(6, 11)]
    wanted, held, inner = ExactValue(tokenizer, partial)(model, examples), [], answer_log_probabilities

    def counted(model, prompts, answers):
        held.append(len(prompts))
        return inner(model, prompts, answers)

    monkeypatch.setattr(exact_value, "answer_log_probabilities", counted)
    length = len("10+2=12") + 1
    monkeypatch.setattr(exact_value, "_MOST_LOGITS", 2 * length * model.config.vocab_size)
    assert ExactValue(tokenizer, partial)(model, examples) == pytest.approx(wanted, rel=1e-5)
    assert held == [2, 2, 1]
    monkeypatch.setattr(exact_value, "_MOST_LOGITS", 1)
    assert rows_at_once(model, length) == 1


def test_the_exact_value_is_the_rate_of_success(policy):
    model, tokenizer = policy
    # An untrained policy is almost uniform: one-token answers succeed often enough to be counted.
    example = {"prompt": "1+1=", "answer": ""}
    value = ExactValue(tokenizer)(model, [example])[0]
    n = 4000
    tokens = tokenizer([example["prompt"]] * n, return_tensors="pt")
    torch.manual_seed(0)
    sampled = model.generate(**tokens, max_new_tokens=1, do_sample=True, temperature=1.0, top_k=0)[:, -1]
    rate = float((sampled == tokenizer.eos_token_id).double().mean())
    assert abs(rate - value) < 4 * math.sqrt(value * (1 - value) / n)


def test_the_log_probability_has_a_gradient(policy):
    model, tokenizer = policy
    tokens = tokenizer("1+2=")["input_ids"]
    answer_log_probabilities(model, [tokens], [[tokenizer.eos_token_id]]).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    model.zero_grad()


def test_only_the_right_tokens_are_rewarded(policy):
    _, tokenizer = policy
    reward = answer_reward(tokenizer)
    three, eos, pad = tokenizer("3")["input_ids"][0], tokenizer.eos_token_id, tokenizer.pad_token_id
    given = [[three, eos], [three], [three, three, eos], [pad, three, eos], [eos]]
    assert reward(completion_ids=given, answer=["3"] * 5, prompts=None) == [1.0, 0.0, 0.0, 0.0, 0.0]
    partial = answer_reward(tokenizer, partial=True)
    assert partial(completion_ids=given, answer=["3"] * 5, prompts=None) == [1.0, 0.5, 0.5, 0.0, 0.0]


def test_the_partial_value_is_the_mean_of_leading_products(policy):
    model, tokenizer = policy
    examples = [{"prompt": "1+2=", "answer": "3"}, {"prompt": "47+59=", "answer": "106"}]
    found = ExactValue(tokenizer, partial=True)(model, examples)
    for example, value in zip(examples, found, strict=True):
        answer = [*tokenizer(example["answer"])["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            scores = answer_log_probabilities(model, [tokenizer(example["prompt"])["input_ids"]], [answer])[0]
        assert value == pytest.approx(np.mean(np.cumprod(np.exp(scores.numpy()))), rel=1e-5)


def test_sums_are_distinct_and_right():
    data = sums(100, 9, seed=0)
    assert len(set(data["prompt"])) == 100
    for prompt, answer in zip(data["prompt"], data["answer"], strict=True):
        a, b = prompt.removesuffix("=").split("+")
        assert int(a) + int(b) == int(answer)
    with pytest.raises(ValueError, match=r"between 1 and 100 .* got 101"):
        sums(101, 9, seed=0)
