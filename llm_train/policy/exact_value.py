"""The exact value of a prompt that has one right answer.

If the reward is 1 for one string y* and 0 for every other, the value is the probability of that string with its end
token, ``V(x) = prod_t pi(y*_t | x, y*_<t)``. One teacher-forced pass gives it. It holds for sampling at temperature 1
without top-k, top-p or min-p.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

__all__ = ["ExactValue", "answer_log_probabilities", "pass_rate_func", "rows_at_once", "token_ids"]

_MOST_LOGITS = 2**27  # a gibibyte in double precision


def rows_at_once(model, length: int) -> int:
    """Number of rows per forward pass whose logits, in double precision, fit into one gibibyte."""
    return max(1, _MOST_LOGITS // (length * model.config.get_text_config().vocab_size))


def pass_rate_func(exact_value: Callable | None) -> Callable | None:
    """The function of exact pass rates that goes with one of exact values; None without one."""
    return getattr(exact_value, "pass_rate", exact_value if getattr(exact_value, "is_pass_rate", False) else None)


def token_ids(tokenizer, prompts: Sequence[str], answers: Sequence[str]) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of the prompts, and of the right answers with the end token."""
    answer_ids = tokenizer(answers, add_special_tokens=False)["input_ids"]
    return tokenizer(prompts)["input_ids"], [[*ids, tokenizer.eos_token_id] for ids in answer_ids]


def answer_log_probabilities(model, prompts: Sequence[list[int]], answers: Sequence[list[int]]) -> torch.Tensor:
    """Log-probability of each token of each answer, given its prompt and the answer's tokens before it.

    The shape is (answers, tokens of the longest answer); past the end of an answer there are zeros.
    """
    device = next(model.parameters()).device
    rows = [torch.tensor([*prompt, *answer]) for prompt, answer in zip(prompts, answers, strict=True)]
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
    length = torch.tensor([len(row) for row in rows], device=device)
    start = torch.tensor([len(prompt) for prompt in prompts], device=device)
    position = torch.arange(tokens.shape[1], device=device)
    # Of the prompts only the last tokens are scored, because a large vocabulary costs as much as the layers.
    first = int(start.min()) - 1
    mask = (position < length[:, None]).long()
    logits = model(input_ids=tokens, attention_mask=mask, logits_to_keep=tokens.shape[1] - first).logits
    scores = torch.log_softmax(logits[:, :-1].double(), dim=-1)
    chosen = scores.gather(2, tokens[:, first + 1 :, None]).squeeze(2)
    shift = start[:, None] - 1 - first + torch.arange(max(map(len, answers)), device=device)
    shift = shift.clamp(max=chosen.shape[1] - 1)
    past_end = torch.arange(shift.shape[1], device=device) >= (length - start)[:, None]
    return chosen.gather(1, shift).masked_fill(past_end, 0.0)


class ExactValue:
    """Exact values for a dataset with columns ``prompt`` and ``answer``.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Its end token must end every right completion.
    partial : bool
        Whether the reward is the fraction of the answer's tokens before the first wrong one, instead of 1 for the
        whole answer. Its expectation is the mean over t of the probability that the first t tokens are right.
    ended : bool
        Whether the end token must follow the answer, instead of anything.

    Attributes
    ----------
    is_pass_rate : bool
        Whether the value is the probability of the whole answer.
    """

    def __init__(self, tokenizer, partial: bool = False, ended: bool = True):
        self._tokenizer = tokenizer
        self._partial = partial
        self._ended = ended
        self.is_pass_rate = not partial

    def __call__(self, model, examples: Sequence[dict]) -> list[float]:
        """Values of the examples, dicts with ``prompt`` and ``answer``, under a model."""
        keys = [(example["prompt"], example["answer"]) for example in examples]
        distinct = list(dict.fromkeys(keys))
        prompts, answers = map(list, zip(*distinct, strict=True))
        prompt_ids, answer_ids = token_ids(self._tokenizer, prompts, answers)
        if not self._ended:
            answer_ids = [ids[:-1] for ids in answer_ids]
        longest = max(len(prompt) + len(answer) for prompt, answer in zip(prompt_ids, answer_ids, strict=True))
        size = rows_at_once(model, longest)
        values: list[float] = []
        for k in range(0, len(distinct), size):
            values += self._values(model, prompt_ids[k : k + size], answer_ids[k : k + size])
        by_key = dict(zip(distinct, values, strict=True))
        return [by_key[key] for key in keys]

    def _values(self, model, prompt_ids, answer_ids) -> list[float]:
        with torch.no_grad():
            scores = answer_log_probabilities(model, prompt_ids, answer_ids)
        if self._partial:
            first_right = scores.cumsum(dim=1).exp()
            return [float(row[: len(ids)].mean()) for row, ids in zip(first_right, answer_ids, strict=True)]
        return scores.sum(dim=1).exp().tolist()
