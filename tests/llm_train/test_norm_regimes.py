"""Sampling with a cache against sampling without one, and the statistics of regimes against loops and known cases."""

import random
import re

import numpy as np
import polars as pl
import pytest
import torch

from kvar import score_norm_from_logprobs
from llm_train.policy.exact_value import answer_log_probabilities
from llm_train.policy.gradient_scores import output_norms
from llm_train.policy.tiny import make_policy, make_tokenizer
from llm_train.studies.norm_regimes import (
    NORMS,
    analyse,
    matched_ratio,
    norm_ratio,
    prompt_errors,
    within_correlation,
)
from llm_train.studies.norm_rollouts import TASKS, Task, sample, sampled_completions


@pytest.fixture(scope="module")
def policy():
    tokenizer = make_tokenizer()
    return make_policy(tokenizer, seed=0).eval(), tokenizer


def test_norms_of_sampling_are_those_of_a_pass_over_the_completions(policy):
    model, tokenizer = policy
    texts = ["1+2=", "47+19=", "3+3="]
    padded = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    assert (padded.attention_mask == 0).any()
    ends = torch.arange(model.config.vocab_size) % 4 == 0
    completions, sampled, logits = sampled_completions(
        model, padded.input_ids, padded.attention_mask, 5, 6, ends, torch.Generator().manual_seed(0)
    )
    assert len({len(y) for y in completions}) > 2
    assert all(not ends[y[:-1]].any() and (ends[y[-1]] or len(y) == 6) for y in completions)
    prompts = [ids for ids in tokenizer(texts)["input_ids"] for _ in range(5)]
    with torch.no_grad():
        logprobs = answer_log_probabilities(model, prompts, completions)
    torch.testing.assert_close(sampled, score_norm_from_logprobs(logprobs), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(logits, output_norms(model, "logits", prompts, completions), rtol=1e-4, atol=1e-6)


def test_completions_have_the_distribution_of_the_policy(policy):
    model, tokenizer = policy
    padded = tokenizer(["1+2=", "47+19="], return_tensors="pt", padding=True, padding_side="left")
    n, size = 4000, model.config.vocab_size
    found, _, _ = sampled_completions(
        model,
        *(padded.input_ids, padded.attention_mask, n, 2),
        torch.zeros(size, dtype=bool),
        torch.Generator().manual_seed(1),
    )
    prompt = tokenizer("1+2=")["input_ids"]
    with torch.no_grad():
        first = torch.softmax(model(torch.tensor([prompt])).logits[0, -1].double(), -1)
        after = torch.softmax(model(torch.tensor([[*prompt, k] for k in range(size)])).logits[:, -1].double(), -1)
    for position, expected in ((0, first), (1, first @ after)):
        frequency = torch.bincount(torch.tensor([y[position] for y in found[:n]]), minlength=size) / n
        error = (expected * (1 - expected) / n).sqrt()
        assert ((frequency - expected).abs() < 5 * error + 1e-3).all()


def test_sums_know_a_right_completion():
    for seed in range(20):
        prompt, answer = TASKS["sums"].make(random.Random(seed))
        a, b = prompt.splitlines()[-1].removesuffix("=").split("+")
        assert int(answer) == int(a) + int(b)
        assert TASKS["sums"].right(answer + "\n", answer)
        assert not any(TASKS["sums"].right(wrong, answer) for wrong in (answer, answer + "1\n", ""))


def test_worked_answers_know_a_right_completion():
    task, kinds = TASKS["worked answers"], set()
    for seed in range(60):
        prompt, answer = task.make(random.Random(seed))
        told = re.findall(r"(\w+) has (\d+) \w+ and (buys|loses) (\d+)", prompt.split("Question: ")[2])
        if len(told) == 1:
            ((_, a, _, b),) = told
            other = "9"
            assert answer == str(int(a) + int(b))
            kinds.add("addition")
        else:
            (first, a, _, b), (second, c, _, d) = told
            bought, left = int(a) + int(b), int(c) - int(d)
            assert bought != left
            assert answer == (first if bought > left else second)
            other = second if answer == first else first
            kinds.add(answer == first)
        assert task.right(f" {other} is less. The answer is {answer}.\n", answer)
        assert not any(task.right(wrong, answer) for wrong in (f" {answer} is less. The answer is {other}.\n", ""))
    assert kinds == {True, False, "addition"}


def test_a_sampled_task_has_a_row_a_rollout(policy):
    model, tokenizer = policy
    task = Task(lambda generator: ("1+2=", "3"), lambda completion, answer: "3" in completion, 4, 2, 3)
    rows = sample(model, tokenizer, task, [("1+2=", "3"), ("40+2=", "42")], 3, seed=0)
    assert rows["rollout"].to_list() == [0, 1, 2] * 2
    assert rows["length"].max() <= 4
    assert (rows["last-layer"] > 0).all()
    assert set(rows["prompt"]) == {"1+2=", "40+2="}


def _rollouts(relation: float, prompts: int = 30, n: int = 12, seed: int = 0):
    """Rewards and norms whose squares are `relation` times as large for right completions."""
    generator = np.random.default_rng(seed)
    values = generator.beta(1.5, 3.0, (prompts, 1))
    rewards = (generator.random((prompts, n)) < values).astype(float)
    return rewards, np.exp(0.2 * generator.standard_normal(rewards.shape)) * relation ** (rewards / 2)


def test_ratios_and_correlations_read_like_their_formulas():
    rewards, norms = _rollouts(0.3)
    other = norms * np.exp(0.3 * np.random.default_rng(1).standard_normal(norms.shape))
    counts = np.random.default_rng(2).multinomial(30, np.full(30, 1 / 30))
    z, n, m = (np.repeat(a, counts, axis=0) for a in (rewards, norms, other))
    right, wrong = n[z == 1] ** 2, n[z == 0] ** 2
    assert norm_ratio(rewards, norms**2, counts) == pytest.approx(right.mean() / wrong.mean(), rel=1e-12)
    above = below = 0.0
    for reward, norm in zip(z, n, strict=True):
        if 0 < reward.mean() < 1:
            above += (norm[reward == 1] ** 2).sum()
            below += reward.sum() * (norm[reward == 0] ** 2).mean()
    assert matched_ratio(rewards, norms**2, counts) == pytest.approx(above / below, rel=1e-12)
    pairs = [
        np.stack([np.log(a[r == kind]) - np.log(a[r == kind]).mean() for a in (x, y)])
        for r, x, y in zip(z, n, m, strict=True)
        for kind in (0, 1)
        if (r == kind).any()
    ]
    first, second = np.concatenate(pairs, axis=1)
    expected = (first @ second) / np.sqrt((first @ first) * (second @ second))
    assert within_correlation(rewards, norms, other, counts) == pytest.approx(expected, rel=1e-12)


def test_errors_tell_the_regimes_apart():
    """With small norms of right completions a low baseline wins; with equal ones the value does."""
    for relation in (0.1, 1.0):
        rewards, norms = _rollouts(relation, prompts=60, n=16)
        errors = prompt_errors(rewards, dict.fromkeys(NORMS, norms), 1, orders=2, seed=0)
        total = {name: error.sum() for name, error in errors.items()}
        optimal = total["variance-optimal, sampled norms"] / total["adaptive"]
        if relation < 1:
            assert optimal < 0.8
            assert total["none"] < total["adaptive"]
        else:
            assert optimal == pytest.approx(1.0, abs=0.04)
            assert total["none"] > 1.2 * total["adaptive"]


def test_no_own_reward_in_the_batch_mean():
    rewards, norms = np.eye(3)[:, :2], np.ones((3, 2))
    errors = prompt_errors(rewards, dict.fromkeys(NORMS, norms), 2, orders=1, seed=0)
    others = (rewards.sum() - rewards) / (rewards.size - 1)
    np.testing.assert_allclose(errors["batch mean of the others"], ((rewards - others) ** 2).mean(1), rtol=1e-12)
    np.testing.assert_allclose(errors["none"], rewards.mean(1), rtol=1e-12)


def test_the_tables_of_rows():
    rewards, norms = _rollouts(0.3, prompts=12)
    n_prompts, n = rewards.shape
    rows = pl.DataFrame(
        {
            "task": ["one"] * rewards.size,
            "prompt": np.repeat([f"prompt {k}" for k in range(n_prompts)], n),
            "length": np.full(rewards.size, 5),
            "reward": rewards.ravel(),
            **{name: norms.ravel() for name in NORMS},
        }
    )
    text, ratios = analyse(rows, orders=1)
    found = ratios["one", 1, "variance-optimal, sampled norms"]["adaptive"]
    assert found.low < found.value < found.high
    assert found.text() in text
    assert {group for _, group, _ in ratios} == {1, 4}
