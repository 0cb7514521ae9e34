"""Rollouts of SmolLM2-135M on two tasks, with the norms of their scores: what `norm_regimes` looks at."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from trl import ModelConfig

from kvar import score_norm_from_logprobs
from kvar.utils.atomic_files import atomic_write
from kvar.utils.progress import tracked
from llm_train.policy.gradient_scores import chosen_parameters, score_norms
from llm_train.policy.models import load_policy
from llm_train.tasks.word_problems import comparison_or_addition, is_last_answer

__all__ = ["TASKS", "Task", "sample", "sampled_completions", "write_rollouts"]

# Prompts that are sampled from together.
_BATCH = 8


@dataclass(frozen=True)
class Task:
    """Prompts with answers, made from a random generator, and the rule that says whether a completion is right."""

    make: Callable[[random.Random], tuple[str, str]]
    right: Callable[[str, str], bool]
    longest: int
    prompts: int
    rollouts: int


def _sum(generator: random.Random) -> tuple[str, str]:
    a, b = generator.randint(10, 49), generator.randint(10, 49)
    return f"12+25=37\n41+17=58\n30+56=86\n{a}+{b}=", str(a + b)


TASKS = {
    "sums": Task(_sum, lambda completion, answer: completion == f"{answer}\n", 6, 24, 16),
    "worked answers": Task(comparison_or_addition, is_last_answer, 64, 24, 12),
}


def sampled_completions(
    model, prompts: torch.Tensor, mask: torch.Tensor, n: int, longest: int, ends: torch.Tensor, generator
) -> tuple[list[list[int]], torch.Tensor, torch.Tensor]:
    """N completions of each prompt at temperature 1, and norms of both proxies; the prompts are padded on the left.

    A completion ends with the first token of which `ends`, a flag for each of the vocabulary, is true. Norms come from
    the log-probabilities of the tokens, and from all logits, ``sqrt(sum_t |e_t - p_t|^2)``.
    """
    total = len(prompts) * n
    completions: list[list[int]] = [[] for _ in range(total)]
    logprobs, squares = torch.zeros(total, longest, dtype=torch.double), torch.zeros(total, dtype=torch.double)
    with torch.no_grad():
        found = model(input_ids=prompts, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0))
        cache, logits = found.past_key_values, found.logits[:, -1].repeat_interleave(n, 0)
        cache.batch_repeat_interleave(n)
        mask, live = mask.repeat_interleave(n, 0), torch.arange(total)
        for k in range(longest):
            log_p = torch.log_softmax(logits.double(), -1)
            p = log_p.exp()
            token = torch.multinomial(p, 1, generator=generator)
            logprobs[live, k] = log_p.gather(1, token)[:, 0]
            squares[live] += 1 - 2 * p.gather(1, token)[:, 0] + p.square().sum(1)
            for row, entry in zip(live.tolist(), token[:, 0].tolist(), strict=True):
                completions[row].append(entry)
            going = (~ends[token[:, 0]]).nonzero()[:, 0]
            if k == longest - 1 or not len(going):
                break
            cache.batch_select_indices(going)
            live, token = live[going], token[going]
            position = mask[going].sum(1, keepdim=True)
            mask = torch.cat([mask[going], torch.ones_like(position)], 1)
            logits = model(input_ids=token, attention_mask=mask, position_ids=position, past_key_values=cache).logits[
                :, -1
            ]
    # Past the end of a completion the log-probability is 0, which adds nothing.
    return completions, score_norm_from_logprobs(logprobs), squares.sqrt()


def sample(model, tokenizer, task: Task, examples: Sequence[tuple[str, str]], n: int, seed: int) -> pl.DataFrame:
    """N rollouts of each prompt with rewards, lengths and norms, a row each."""
    texts = [text for text, _ in examples]
    padded = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    vocabulary = range(model.config.get_text_config().vocab_size)
    ends = torch.tensor([k == tokenizer.eos_token_id or "\n" in tokenizer.decode([k]) for k in vocabulary])
    completions, sampled, logits = sampled_completions(
        model, padded.input_ids, padded.attention_mask, n, task.longest, ends, torch.Generator().manual_seed(seed)
    )
    written = [tokenizer.decode(completion) for completion in completions]
    prompts = [ids for ids in tokenizer(texts).input_ids for _ in range(n)]
    # Short completions repeat, and those of one length leave no padding.
    pairs = [*zip(map(tuple, prompts), map(tuple, completions), strict=True)]
    distinct = sorted(set(pairs), key=lambda pair: (len(pair[0]) + len(pair[1]), pair))
    found = score_norms(model, chosen_parameters(model, "last-layer"), *zip(*distinct, strict=True), chunk=4)
    exact = dict(zip(distinct, found.tolist(), strict=True))
    return pl.DataFrame(
        {
            "prompt": [text for text in texts for _ in range(n)],
            "rollout": [*range(n)] * len(texts),
            "completion": written,
            "length": [len(completion) for completion in completions],
            "reward": [float(task.right(y, examples[k // n][1])) for k, y in enumerate(written)],
            "last-layer": [exact[pair] for pair in pairs],
            "sampled": sampled.numpy(),
            "logits": logits.numpy(),
        }
    )


def write_rollouts(folder: Path, seed: int) -> None:
    """Write ``rows.parquet`` with the rollouts of all tasks; batches that are there are not sampled again."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    model, tokenizer = load_policy("smollm2-135m", ModelConfig(), seed)
    parts = []
    for name, task in TASKS.items():
        generator, examples = random.Random(seed), {}
        while len(examples) < task.prompts:
            text, answer = task.make(generator)
            examples[text] = answer
        for k in tracked(range(0, task.prompts, _BATCH), name, task.prompts // _BATCH):
            part = folder / f"{name.replace(' ', '-')}-{k}.parquet"
            if not part.exists():
                some = list(examples.items())[k : k + _BATCH]
                rows = sample(model.eval(), tokenizer, task, some, task.rollouts, seed * 1000 + k)
                with atomic_write(part) as temporary:
                    rows.with_columns(task=pl.lit(name)).write_parquet(temporary)
            parts.append(part)
    with atomic_write(folder / "rows.parquet") as temporary:
        pl.concat(pl.read_parquet(part) for part in parts).write_parquet(temporary)
