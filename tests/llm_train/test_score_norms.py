"""Norms of scores that cost little: against gradients, in the trainer, and where tokens are not the policy's own."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

import kvar
from kvar import score_norm_from_logprobs
from kvar.baselines.variance_optimal import VarianceOptimal
from kvar.replaying import replay_baseline
from llm_train.policy.gradient_scores import chosen_parameters, output_norms, score_norms, scores
from llm_train.policy.supervised import supervise
from llm_train.policy.tiny import make_policy, make_tokenizer, skewed_sums, sums
from llm_train.studies.gradient_study import sample_completions
from llm_train.trainer.generation_norms import generation_norms
from tests.llm_train.conftest import checkpoint_of, trace_of

KINDS = ("sampled", "logits", "head", "last-layer", "all")


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="module")
def policy(tokenizer, tmp_path_factory):
    """A policy that knows some of the sums."""
    model = make_policy(tokenizer, seed=0)
    examples = ({"prompt": row["prompt"], "completion": row["answer"]} for row in skewed_sums(9, seed=0))
    supervise(model, tokenizer, examples, 30, 0, tmp_path_factory.mktemp("sft"))
    return copy_of(model, tokenizer).eval()


def copy_of(model, tokenizer):
    """A model with the same weights, which no trainer has changed."""
    copied = make_policy(tokenizer, seed=0)
    copied.load_state_dict(model.state_dict())
    return copied


def ids(tokenizer, texts):
    return [tokenizer(text)["input_ids"] for text in texts]


def log_probabilities(model, prompts, completions, temperature=1.0):
    """One list a completion, one pass a completion."""
    for prompt, completion in zip(prompts, completions, strict=True):
        logits = model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1].double() / temperature
        yield torch.log_softmax(logits, -1), torch.tensor(completion)


def test_proxies_go_with_the_exact_norm_within_a_reward(policy, tokenizer):
    data = sums(50, 9, seed=1)
    prompts, answers = ids(tokenizer, data["prompt"]) * 16, ids(tokenizer, data["answer"]) * 16
    drawn = sample_completions(policy, prompts, 5, tokenizer.eos_token_id, torch.Generator().manual_seed(0))
    right = np.array([y == [*answer, tokenizer.eos_token_id] for y, answer in zip(drawn, answers, strict=True)])
    assert right.sum() > 40
    exact = score_norms(policy, chosen_parameters(policy, "last-layer"), prompts, drawn)
    sampled = [
        score_norm_from_logprobs(logs.detach().gather(1, y[:, None]).T)
        for logs, y in log_probabilities(policy, prompts, drawn)
    ]
    for proxy in (torch.cat(sampled), *(output_norms(policy, kind, prompts, drawn) for kind in ("logits", "head"))):
        for some in (right, ~right):
            assert np.corrcoef(proxy[some].log(), exact[some].log())[0, 1] > 0.5


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_norms_at_the_output_are_those_of_its_gradients(policy, tokenizer, temperature):
    prompts, completions = ids(tokenizer, ("1+2=", "7+9=", "3+3=")), ids(tokenizer, ("3", "16", "+==1"))
    written = [[1], [1, 1], [1, 0, 0, 1]]
    by_logits, by_head = [], []
    for prompt, completion, own in zip(prompts, completions, written, strict=True):
        hidden = (
            policy.model(torch.tensor([[*prompt, *completion]])).last_hidden_state[0, len(prompt) - 1 : -1].double()
        )
        head = policy.lm_head.weight.detach().double().requires_grad_()
        logits = hidden.detach() @ head.T / temperature
        logits.retain_grad()
        chosen = torch.log_softmax(logits, -1).gather(1, torch.tensor(completion)[:, None])[:, 0]
        (chosen * torch.tensor(own)).sum().backward()
        by_logits.append(logits.grad.norm())
        by_head.append(head.grad.norm())
    for kind, wanted in (("logits", by_logits), ("head", by_head)):
        found = output_norms(policy, kind, prompts, completions, temperature, written)
        torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-5, atol=0)
    policy.config.final_logit_softcapping = 30.0
    with pytest.raises(ValueError, match="soft-capped logits: use 'logits' or 'sampled'"):
        output_norms(policy, "head", prompts, completions)
    policy.config.final_logit_softcapping = None


def test_scores_leave_out_what_the_policy_did_not_write(policy, tokenizer):
    prompt, completion = ids(tokenizer, ("1+2=", "3+4"))
    parameters = chosen_parameters(policy, "last-layer")
    found = scores(policy, parameters, [prompt], [completion], written=[[1, 0, 1]])[0]
    logits = policy(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1].double()
    chosen = torch.log_softmax(logits, -1).gather(1, torch.tensor(completion)[:, None])[:, 0]
    alone = torch.autograd.grad(chosen[0] + chosen[2], list(parameters.values()))
    torch.testing.assert_close(found, torch.cat([g.flatten() for g in alone]), rtol=1e-4, atol=1e-5)


# --- in the trainer -----------------------------------------------------------------------------------------------


def padded_output(trainer, tokenizer):
    """What TRL returns of two rollouts, one with a tool's token, one truncated and masked for it."""
    ids = [tokenizer(text)["input_ids"] for text in ("1+2=", "12+3=", "3+4", "15")]
    pad = tokenizer.pad_token_id
    return {
        "prompt_ids": torch.tensor([[pad, *ids[0]], ids[1]]),
        "prompt_mask": torch.tensor([[0, 1, 1, 1, 1], [1] * 5]),
        "completion_ids": torch.tensor([ids[2], [*ids[3], pad]]),
        "completion_mask": torch.tensor([[1, 1, 1], [0, 0, 0]]),
        "tool_mask": torch.tensor([[1, 0, 1], [0, 0, 1]]),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_only_tokens_of_the_loss_count(kind, make_trainer, policy, tokenizer):
    trainer = make_trainer(model=copy_of(policy, tokenizer), temperature=0.7, score_norms=kind)
    output = padded_output(trainer, tokenizer)
    found = generation_norms(trainer, output, kind)
    prompt, completion, written = ids(tokenizer, ["1+2="]), ids(tokenizer, ["3+4"]), [[1, 0, 1]]
    if kind == "sampled":
        ((logs, y),) = log_probabilities(policy, prompt, completion, temperature=0.7)
        wanted = score_norm_from_logprobs(logs.gather(1, y[:, None]).T, written)
    elif kind in ("logits", "head"):
        wanted = output_norms(policy, kind, prompt, completion, 0.7, written)
    else:
        wanted = score_norms(policy, chosen_parameters(policy, kind), prompt, completion, 2, 0.7, written)
    np.testing.assert_allclose(found, [float(wanted), 0.0], rtol=1e-4)
    if kind != "sampled":
        with pytest.raises(ValueError, match=f"{kind}' cannot pass images"):
            generation_norms(trainer, {**output, "pixel_values": torch.zeros(1)}, kind)


def test_log_probabilities_come_from_where_they_are_right(make_trainer, tokenizer, monkeypatch):
    passes = []

    def norms(names, **settings):
        trainer = make_trainer(score_norms="sampled", **settings)
        output = padded_output(trainer, tokenizer)
        known = {"old_per_token_logps": torch.full((2, 3), 0.5).log(), "sampling_per_token_logps": torch.zeros(2, 3)}
        inner = trainer._get_per_token_logps_and_entropies

        # inspect follows __wrapped__ to the parameters of the replaced method.
        def counted(*args, **kwargs):
            passes.append(1)
            return inner(*args, **kwargs)

        counted.__wrapped__ = inner
        monkeypatch.setattr(trainer, "_get_per_token_logps_and_entropies", counted)
        found = generation_norms(trainer, {**output, **{name: known[name] for name in names}}, "sampled")
        return float(found[0]), len(passes)

    own, vllm = "old_per_token_logps", "sampling_per_token_logps"
    assert norms([own, vllm]) == (pytest.approx(0.5**0.5), 0)
    assert norms([vllm]) == (0.0, 0)
    # vLLM's are of the nucleus, the loss of all tokens; a server's may be of temperature 1.
    for count, settings in enumerate(({"top_p": 0.9}, {"top_k": 5}, {"temperature": 0.7}, {"min_p": 0.1}), start=1):
        value, passed = norms([vllm], **settings)
        assert value > 1
        assert passed == count
    assert norms([], top_p=0.9)[1] == count + 1


def test_the_variance_optimal_baseline_needs_no_more_than_its_name(make_trainer):
    trainer = make_trainer(baseline="variance-optimal", num_generations=1, block_reuse=3, max_steps=6)
    trainer.train()
    trace = trace_of(trainer)
    norms = trace.extras["score_norm"]
    assert ((norms > 0) & (norms <= 3**0.5)).all()  # of three tokens at most
    values = replay_baseline(trace, VarianceOptimal()).values
    np.testing.assert_allclose(trace.extras["advantage"], trace.reward - values, atol=1e-6)
    plain = replay_baseline(trace, kvar.make_baseline("adaptive")).values
    assert np.abs(values - plain).max() > 1e-3


@pytest.mark.parametrize("steps_per_generation", [1, 2])
def test_a_resumed_run_has_the_same_norms(make_trainer, steps_per_generation):
    settings = {
        "baseline": "variance-optimal", "num_generations": 1, "save_strategy": "steps", "save_steps": 4,
        "gradient_accumulation_steps": 1, "steps_per_generation": steps_per_generation,
    }  # fmt: skip
    data = sums(32, 9, seed=0)
    whole = make_trainer("whole", data=data, max_steps=8, **settings)
    whole.train()
    first = make_trainer("parts", data=data, max_steps=4, **settings)
    first.train()
    second = make_trainer("parts", data=data, max_steps=8, **settings)
    second.train(resume_from_checkpoint=str(checkpoint_of(first, 4)))
    expected, found = trace_of(whole), trace_of(second)
    assert "score_norm" in found.extras
    for name, column in expected.columns.items():
        assert found.columns[name].tobytes() == column.tobytes(), name
    np.testing.assert_equal(second.baseline.state_dict(), whole.baseline.state_dict())


@pytest.mark.parametrize("kind", [*KINDS[:3], "lora"])
def test_norms_of_an_adapter(kind, make_trainer, policy, tokenizer):
    adapted = get_peft_model(copy_of(policy, tokenizer), LoraConfig(r=2, target_modules=["q_proj"]))
    trainer = make_trainer(model=adapted, score_norms=kind, max_steps=1)
    trainer.train()
    assert (trace_of(trainer).extras["score_norm"] > 0).all()


def test_an_unknown_kind_is_refused_at_once(make_trainer):
    with pytest.raises(ValueError, match=r"score_norms must be one of 'sampled', .*got 'exact'"):
        make_trainer(score_norms="exact")
