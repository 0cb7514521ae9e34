"""Scores and gradient errors against one rollout at a time, against the exact gradient, and through the whole study."""

import copy
from collections import Counter

import numpy as np
import polars as pl
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from kvar import read_trace
from kvar.rollouts.prompt_ids import prompt_key
from llm_train.commands.gradients import main
from llm_train.policy import gradient_scores as scoring
from llm_train.policy.exact_value import answer_log_probabilities
from llm_train.policy.gradient_scores import chosen_parameters, score_norms, scores
from llm_train.policy.sampling import sample_completions
from llm_train.policy.tiny import make_policy, make_tokenizer
from llm_train.studies.gradient_errors import BASELINES, OPTIMAL, _norms_of_wrong, _optimum, measure
from llm_train.studies.gradient_study import Study, record, right_answers
from llm_train.studies.gradient_tables import table
from llm_train.studies.norm_kinds import NORMS, norm_columns, proxy_norms
from llm_train.studies.stage_errors import BLOCK
from llm_train.studies.weighted_mean import WeightedMean
from llm_train.tasks.load_task import load_task


@pytest.fixture(scope="module")
def policy():
    tokenizer = make_tokenizer()
    return make_policy(tokenizer, seed=0).eval(), tokenizer


@pytest.mark.parametrize("which", ["all", "last-layer"])
def test_scores_are_those_of_single_rollouts(policy, which):
    model, tokenizer = policy
    parameters = chosen_parameters(model, which)
    prompts = [tokenizer(p)["input_ids"] for p in ("1+2=", "47+9=", "3+3=")]
    completions = [tokenizer(a)["input_ids"] for a in ("3", "56", "+")]
    completions[0].append(tokenizer.eos_token_id)
    found = scores(model, parameters, prompts, completions, chunk=2)
    for row, prompt, completion in zip(found, prompts, completions, strict=True):
        log_probability = answer_log_probabilities(model, [prompt], [completion]).sum()
        alone = torch.autograd.grad(log_probability, list(parameters.values()))
        torch.testing.assert_close(row, torch.cat([g.flatten() for g in alone]), rtol=1e-4, atol=1e-5)
    norms = score_norms(model, parameters, prompts, completions, chunk=2)
    torch.testing.assert_close(norms, found.norm(dim=1), rtol=1e-5, atol=0)


def test_scores_are_those_of_the_policy_as_it_samples(policy):
    model, tokenizer = policy
    parameters = chosen_parameters(model, "last-layer")
    prompt, answer = tokenizer("1+2=")["input_ids"], tokenizer("3")["input_ids"]
    found = scores(model, parameters, [prompt], [answer], temperature=0.5)[0]
    log_probability = torch.log_softmax(model(torch.tensor([prompt])).logits[0, -1].double() / 0.5, 0)[answer[0]]
    alone = torch.autograd.grad(log_probability, list(parameters.values()))
    torch.testing.assert_close(found, torch.cat([g.flatten() for g in alone]), rtol=1e-4, atol=1e-5)


def test_scores_of_an_adapter(policy):
    model, tokenizer = policy
    adapted = get_peft_model(copy.deepcopy(model), LoraConfig(r=2, target_modules=["q_proj"], lora_dropout=0.5))
    parameters = chosen_parameters(adapted, "lora")
    prompts, completions = [tokenizer("1+2=")["input_ids"]] * 2, [tokenizer(a)["input_ids"] for a in ("3", "4")]
    found = scores(adapted, parameters, prompts, completions)
    adapted.eval()
    for row, prompt, completion in zip(found, prompts, completions, strict=True):
        log_probability = answer_log_probabilities(adapted, [prompt], [completion]).sum()
        alone = torch.autograd.grad(log_probability, list(parameters.values()))
        torch.testing.assert_close(row, torch.cat([g.flatten() for g in alone]), rtol=1e-4, atol=1e-5)
    assert found.any()
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert set(parameters) == trained == set(chosen_parameters(adapted))
    assert set(chosen_parameters(adapted, "last-layer")) == {name for name in trained if ".layers.3." in name}


def test_norms_hold_no_more_scores_than_fit(policy, monkeypatch):
    model, tokenizer = policy
    parameters = chosen_parameters(model, "last-layer")
    prompts, completions = [tokenizer("1+2=")["input_ids"]] * 5, [tokenizer(a)["input_ids"] for a in "34567"]
    wanted, held, inner = score_norms(model, parameters, prompts, completions), [], scoring.scores

    def counted(*args):
        held.append(len(args[2]))
        return inner(*args)

    monkeypatch.setattr(scoring, "scores", counted)
    entries = sum(p.numel() for p in parameters.values())
    for limit, sizes in ((2 * entries, [2, 2, 1]), (entries - 1, [1] * 5)):
        monkeypatch.setattr(scoring, "_MOST_ENTRIES", limit)
        held.clear()
        torch.testing.assert_close(score_norms(model, parameters, prompts, completions), wanted, rtol=1e-5, atol=0)
        assert held == sizes


def test_which_parameters(policy):
    model, _ = policy
    assert sum(p.numel() for p in chosen_parameters(model).values()) == sum(p.numel() for p in model.parameters())
    assert all(".layers.3." in name for name in chosen_parameters(model, "last-layer"))
    with pytest.raises(ValueError, match="no parameters of the kind 'lora'"):
        chosen_parameters(model, "lora")
    with pytest.raises(ValueError, match="must be one of all, last-layer, lora, got 'head'"):
        chosen_parameters(model, "head")


def test_samples_follow_the_policy(policy):
    model, tokenizer = policy
    n, end = 4000, tokenizer.eos_token_id
    prompts = [tokenizer(p)["input_ids"] for p in ("1+2=", "47+9=")]
    repeated = [prompts[k % 2] for k in range(2 * n)]
    sampled = sample_completions(model, repeated, 2, end, torch.Generator().manual_seed(0))
    for k, prompt in enumerate(prompts):
        counts = Counter(map(tuple, sampled[k::2]))
        frequent = [y for y, _ in counts.most_common(20)]
        assert all(len(y) == 2 or y == (end,) for y in counts)
        probability = torch.exp(answer_log_probabilities(model, [prompt] * 20, frequent).sum(dim=1)).tolist()
        for y, p in zip(frequent, probability, strict=True):
            assert abs(counts[y] / n - p) < 5 * np.sqrt(p * (1 - p) / n)


def test_proxies_are_norms_of_the_gradients_by_logits_and_head(policy):
    model, tokenizer = policy
    prompts = [tokenizer(p)["input_ids"] for p in ("1+2=", "47+9=")]
    completions = [[*tokenizer("3")["input_ids"], tokenizer.eos_token_id], tokenizer("561")["input_ids"]]
    found = proxy_norms(model, prompts, completions)
    for k, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        with torch.no_grad():
            hidden = model.model(torch.tensor([[*prompt, *completion]])).last_hidden_state[0, len(prompt) - 1 : -1]
        head = model.lm_head.weight.detach().clone().requires_grad_()
        logits = hidden @ head.T
        chosen = torch.log_softmax(logits, -1)[torch.arange(len(completion)), completion]
        by_logits, by_head = torch.autograd.grad(chosen.sum(), [logits, head])
        wanted = {"logits": by_logits.norm(), "head": by_head.norm(), "sampled": (1 - chosen.exp()).norm()}
        for kind, norm in wanted.items():
            assert found[NORMS[kind]][k] == pytest.approx(norm.item(), rel=1e-4)


def test_equal_completions_have_their_norms(policy):
    model, tokenizer = policy
    prompts = [tokenizer(p)["input_ids"] for p in ("1+2=", "3+4=", "1+2=", "1+2=")]
    completions = [tokenizer(y)["input_ids"] for y in ("3", "3", "3", "31")]
    found = norm_columns(model, prompts, completions)
    assert set(found) == set(NORMS.values())
    for k, pair in enumerate(zip(prompts, completions, strict=True)):
        alone = norm_columns(model, *([part] for part in pair))
        assert all(found[name][k] == pytest.approx(alone[name][0], rel=1e-4) for name in found)


def test_one_number_leaves_the_own_rollout_out():
    rng = np.random.default_rng(0)
    steps = [(rng.integers(0, 2, (3, 2)).astype(float), rng.exponential(size=(3, 2))) for _ in range(3)]
    baseline, total, mass = WeightedMean(), 0.0, 0.0
    for step, (rewards, norms) in enumerate(steps):
        found = rewards - baseline.advantages(range(3), rewards, step, score_norm=norms)
        for place in np.ndindex(rewards.shape):
            others = np.ones(rewards.shape, dtype=bool)
            others[place] = False
            weights = norms[others] ** 2
            wanted = (total + weights @ rewards[others]) / (mass + weights.sum())
            assert found[place] == pytest.approx(wanted, rel=1e-12)
        discount = 0.95 ** (6 / 64)
        total, mass = discount * total + (norms**2 * rewards).sum(), discount * mass + (norms**2).sum()


def test_the_norms_of_wrong_rollouts_and_the_optimum(policy):
    model, tokenizer = policy
    prompt, answer, end = tokenizer("1+2=")["input_ids"], tokenizer("3")["input_ids"], tokenizer.eos_token_id
    right = [*answer, end]
    every = [[end], *([a, b] for a in range(len(tokenizer)) if a != end for b in range(len(tokenizer)))]
    probability = torch.exp(answer_log_probabilities(model, [prompt] * len(every), every).sum(dim=1)).detach().numpy()
    n = score_norms(model, chosen_parameters(model), [prompt] * len(every), every).double().numpy() ** 2
    is_right = np.array([y == right for y in every])
    value, n_right = probability[is_right].sum(), (probability * n)[is_right].sum()
    sampled = sample_completions(model, [prompt] * 2000, 2, end, torch.Generator().manual_seed(0))
    wrong, error = _norms_of_wrong(model, [prompt], [[right]], np.zeros(2000, dtype=int), sampled)
    assert abs(wrong[0] - (probability * n)[~is_right].sum() / (1 - value)) < 4.5 * error[0]
    assert error[0] == pytest.approx(np.sqrt(np.cov(n, aweights=probability) / 2000), rel=0.2)
    exact = n_right / (probability * n).sum()
    found, excess = _optimum(np.array([value]), np.array([n_right]), np.array([0.0]), wrong, error)
    error_of_optimum = exact * (1 - exact) * error[0] / wrong[0]
    assert abs(found[0] - exact) < 4.5 * error_of_optimum
    # The squared error around the optimum is E[n] (b - b*)^2.
    least = (probability * n * (is_right - exact) ** 2).sum()
    assert excess == pytest.approx((probability * n).sum() * error_of_optimum**2 / least, rel=0.2)


def test_the_study_from_a_run_to_its_table(tmp_path):
    small = {
        "seed": 0,
        "largest": 9,
        "n_prompts": 16,
        "max_completion_length": 3,
        "sft_steps": 10,
        "learning_rate": 1e-4,
    }
    study = Study(tmp_path, small, prompts_per_step=4, stages=(0,))
    left = tmp_path / "run-g2" / "trace" / "step-000000099.parquet"  # by a run that was killed
    left.parent.mkdir(parents=True)
    left.touch()
    record(study, 2)
    assert not left.exists()
    trace, rates = read_trace(tmp_path / "run-g2" / "trace"), np.load(tmp_path / "run-g2" / "offline.npy")
    said = trace.extras["critic_value"]
    assert not said[trace.step == 1].any()
    assert said[trace.step == BLOCK].all()
    at_start = AutoModelForCausalLM.from_pretrained(tmp_path / "run-g2" / "policy-0")
    task = load_task(study.run_settings(2).run, make_tokenizer(), seed=1)
    truth = np.array(task.exact_value(at_start, list(task.train)))
    assert abs(rates.mean() - truth.mean()) < 4.5 * np.sqrt((truth * (1 - truth)).sum() / 8) / len(truth)
    repetitions = 60
    found = pl.DataFrame(measure(study, 2, [5], repetitions))
    assert set(found["baseline"]) == set(BASELINES)
    assert len(found) == repetitions * len(BASELINES)
    mean = {name: found.filter(pl.col("baseline") == name) for name in BASELINES}
    assert mean["oracle"]["value_mse"].max() == 0
    # Without a baseline the expected squared error is the mean over prompts of V (1 - V) |s(y*)|^2, over B G.
    error = {name: rows["gradient_mse"].to_numpy() for name, rows in mean.items()}
    at_step = AutoModelForCausalLM.from_pretrained(tmp_path / "run-g2" / "policy-5")
    examples = {prompt_key(row["prompt"]): row for row in task.train}
    rows = [examples[key] for key in dict.fromkeys(trace.prompt_id[trace.step == 6].tolist())]
    prompts, right = right_answers(make_tokenizer(), rows)
    values = np.array(task.exact_value(at_step, rows))
    norms = score_norms(at_step, chosen_parameters(at_step), prompts, [y for (y,) in right]).numpy()
    expected = (values * (1 - values) * norms**2).mean() / (4 * 2)
    assert abs(error["none"].mean() - expected) < 4.5 * error["none"].std() / np.sqrt(repetitions)
    more = error[OPTIMAL] - error["oracle"]
    assert more.mean() < 3 * more.std() / np.sqrt(repetitions)
    # The group's own rewards in its mean shrink the gradient by (G - 1) / G.
    pairs = zip(mean["group-mean"]["gradient_mse"], mean["leave-one-out"]["gradient_mse"], strict=True)
    assert all(abs(own**0.5 - 0.5 * other**0.5) < 0.5 * norm**0.5 + 1e-9
               for (own, other), norm in zip(pairs, mean["oracle"]["gradient_norm2"], strict=True))  # fmt: skip
    # The policy that wrote step 6 is the one that was measured, and the critic is the one that had learned by then.
    error = (said - trace.extras["true_value"])[trace.step == 6]
    np.testing.assert_allclose(mean["critic"]["value_mse"].unique(), [(error**2).mean()], rtol=1e-4)
    text = table(found)
    assert "| oracle | 0.0 ± 0.0 |" in text
    assert f"| {OPTIMAL} |" in text
    assert BLOCK == 10


def test_results_of_other_settings_are_not_taken_for_these(tmp_path, capsys):
    (tmp_path / "settings.json").write_text('{"seed": 0}')
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--seed", "1"])
    assert "was made with other baselines, " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--repetitions", "1"])
    assert "2 repetitions or more, got 1" in capsys.readouterr().err
