"""The common start of rows, computed once, against the whole rows."""

import copy
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from llm_train.policy.exact_value import answer_log_probabilities
from llm_train.policy.shared_start import common_start, share_start
from llm_train.trainer import scored_tokens

_START = [*range(4, 16)]  # long enough to be shared
_ROWS = [[*_START, *rest] for rest in ([20, 21, 22, 23, 24], [20, 25], [30, 31, 32], [33])]


def _models(**more):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    whole = LlamaForCausalLM(LlamaConfig(vocab_size=50, num_key_value_heads=2, **sizes, **more))
    shared = share_start(copy.deepcopy(whole))
    seen = []
    shared.model.embed_tokens.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].numel()))
    return whole.eval(), shared.eval(), seen


def _padded(rows, side):
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, padding_side=side)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row)).long() for row in rows], True, padding_side=side)
    return padded, mask


def test_the_common_start_by_hand():
    tokens, mask = _padded([[1, 2, 3, 4, 5], [1, 2, 3, 9], [1, 2, 3, 4]], "left")
    length, padding = common_start(tokens, mask)
    assert (length, padding.tolist()) == (3, [0, 1, 1])
    assert common_start(*_padded([[1, 2], [2, 2]], "left"))[0] == 0
    # A row that is a start of another one keeps a token for after it.
    assert common_start(*_padded([[1, 2, 3], [1, 2, 3, 4]], "left"))[0] == 2
    # Padding on the right is no part of a row, even where its tokens agree.
    tokens, mask = _padded([[1, 0, 0, 7], [1]], "right")
    assert common_start(tokens, mask)[0] == 1


@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_with_a_common_start_are_those_computed_whole(side):
    whole, shared, seen = _models()
    tokens, mask = _padded(_ROWS, side)
    wanted, found = (model(input_ids=tokens, attention_mask=mask).logits for model in (whole, shared))
    real = mask.bool()
    torch.testing.assert_close(found[real], wanted[real], rtol=0, atol=1e-5)
    assert sum(seen) == len(_START) + 4 * 5 < tokens.numel()
    weight = torch.randn(tokens.shape)
    for logits in (wanted, found):
        (logits.log_softmax(-1)[..., 3] * weight)[real].sum().backward()
    for one, other in zip(whole.parameters(), shared.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-4)


def test_a_shared_start_samples_what_whole_rows_sample():
    whole, shared, seen = _models()
    tokens, mask = _padded(_ROWS, "left")
    drawn = []
    for model in (whole, shared):
        torch.manual_seed(1)
        settings = {"attention_mask": mask, "do_sample": True, "max_new_tokens": 6, "pad_token_id": 0}
        drawn.append(model.generate(tokens, **settings).tolist())
    assert drawn[0] == drawn[1]
    assert seen[:2] == [len(_START), 4 * 5]


def test_one_row_and_rows_that_differ_are_computed_whole():
    whole, shared, seen = _models()
    for rows in (_ROWS[:1], [[5, *_START], [6, *_START]]):
        tokens, mask = _padded(rows, "left")
        assert torch.equal(
            shared(input_ids=tokens, attention_mask=mask).logits, whole(input_ids=tokens, attention_mask=mask).logits
        )
        assert seen.pop() == tokens.numel()
        assert not seen


def test_exact_values_score_no_more_of_the_prompts_than_they_must():
    whole, _, _ = _models()
    scored = []
    whole.lm_head.register_forward_hook(lambda module, inputs, output: scored.append(output.shape[1]))
    prompts, answers = [_START, _START[:10], _START[:11]], [[7, 8], [9], [5, 6, 7]]
    found = answer_log_probabilities(whole, prompts, answers)
    assert scored == [14 - 9]  # from the last token of the shortest prompt
    for row, prompt, answer in zip(found, prompts, answers, strict=True):
        for k, token in enumerate(answer):
            logits = whole(input_ids=torch.tensor([[*prompt, *answer[:k]]])).logits[0, -1]
            assert row[k].item() == pytest.approx(logits.log_softmax(-1)[token].item(), abs=1e-5)
        assert not row[len(answer) :].any()


def test_trl_projects_completions_only(monkeypatch):
    utils = pytest.importorskip("trl.trainer.utils")
    if not hasattr(utils, "_use_triton"):
        pytest.skip("this TRL projects completions only")
    monkeypatch.setattr(utils, "_use_triton", utils._use_triton)  # is put back
    tokens, mask = _padded(_ROWS, "left")
    labels = tokens.masked_fill(mask == 0, -100)
    labels[:, :-2] = -100
    found, counts, inner = [], [], utils._ChunkedLogProbFunction.apply

    def counted(hidden, *rest):
        counts.append(len(hidden))
        return inner(hidden, *rest)

    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", SimpleNamespace(apply=counted))
    for only in (False, True):
        model, _, _ = _models()
        utils.add_fused_lm_head(model)
        if only:
            scored_tokens.score_completions_only()
        log_probs = model(input_ids=tokens, attention_mask=mask, labels=labels, fused_lm_head=True).log_probs
        log_probs.sum().backward()
        found.append((log_probs, [parameter.grad for parameter in model.parameters()]))
    assert counts == [tokens[:, 1:].numel(), 4 * 2]
    for wanted, given in zip(*((found[k][0], *found[k][1]) for k in (0, 1)), strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-5)
