"""``python -m llm_train.studies.optimum_limit``: how near the optimum of each prompt a baseline can come.

A Bayes filter is told what no estimator can know: the exact value and the mean squared norms of right and wrong
rollouts of all other prompts at the start of a stage. The rollouts of a prompt since then, and the others of its group,
say which of those prompts it is like. Runs are those of ``python -m llm_train gradients``.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import AutoModelForCausalLM

from kvar import read_trace
from kvar.rollouts.prompt_ids import prompt_key
from kvar.utils.atomic_files import atomic_write_text
from kvar.utils.markdown import markdown_table
from kvar.utils.progress import tracked
from llm_train.policy.exact_value import answer_log_probabilities
from llm_train.policy.gradient_scores import chosen_parameters, score_norms
from llm_train.policy.sampling import sample_completions
from llm_train.run.train import quiet_libraries
from llm_train.studies.gradient_errors import OPTIMAL
from llm_train.studies.gradient_study import Study, policy_and_task, right_answers
from llm_train.studies.gradient_tables import SHOWN
from llm_train.studies.norm_kinds import distinct_pairs
from llm_train.studies.norm_regimes import bootstrap
from llm_train.studies.stage_errors import BLOCK, stage_means

__all__ = ["Prompts", "look_at", "main"]

# Deviations of log norms of right and wrong rollouts around what they should be, the latter as a multiple of that
# within prompts. The pair that serves the filter best is taken, in hindsight; infinity ignores the norms.
_WIDTHS = (*itertools.product((0.3, 0.6, 1.0), (1.0, 2.0)), (np.inf, np.inf))
_FLOOR = 1e-9
_GROUPS = 20  # Groups that are drawn of each prompt


@dataclass(frozen=True)
class Prompts:
    """Prompts with one right answer each, under one policy."""

    values: np.ndarray
    right: np.ndarray  # E[n Z], n the squared norm of the score
    wrong: np.ndarray  # E[n (1 - Z)]
    logs: np.ndarray  # shape (2, P): Mean log n of wrong, then of right rollouts
    of_wrong: list[np.ndarray]  # log n of the wrong rollouts that were sampled
    spread: float  # Standard deviation of log n of wrong rollouts within prompts

    def second_moments(self, baselines: np.ndarray) -> np.ndarray:
        """``E[n (Z - b)^2] - |g(x)|^2`` of each prompt, what a rollout adds to the gradient MSE given the prompts."""
        return self.right * (1 - baselines) ** 2 + self.wrong * baselines**2 - self.values * self.right


def look_at(model, prompts: Sequence, right: Sequence, n: int, longest: int, end: int, generator) -> Prompts:
    """Exact values and norms of right answers; those of wrong ones from n rollouts of each prompt."""
    owners = np.repeat(np.arange(len(prompts)), n)
    completions = sample_completions(model, [prompts[k] for k in owners], longest, end, generator)
    answers = [some[0] for some in right]
    with torch.no_grad():
        values = answer_log_probabilities(model, prompts, answers).sum(1).double().exp().numpy()
    pairs = distinct_pairs([*prompts, *(prompts[k] for k in owners)], [*answers, *completions])
    squares = score_norms(model, chosen_parameters(model), *pairs[:2]).double().numpy()[pairs[2]] ** 2
    of_right, is_wrong = (
        squares[: len(prompts)],
        np.array([y != answers[k] for k, y in zip(owners, completions, strict=True)]),
    )
    squares, owners = squares[len(prompts) :][is_wrong], owners[is_wrong]
    logs, count = np.log(squares + _FLOOR), np.bincount(owners, minlength=len(prompts)) + 1
    # The mean of all prompts counts as one rollout more, since a prompt may have no wrong one.
    mean, mean_log = ((np.bincount(owners, x, len(prompts)) + x.mean()) / count for x in (squares, logs))
    return Prompts(
        values,
        values * of_right,
        (1 - values) * mean,
        np.stack([mean_log, np.log(of_right + _FLOOR)]),
        [logs[owners == k] for k in range(len(prompts))],
        float((logs - mean_log[owners]).std()),
    )


def _likelihood(told: Prompts, rewards: np.ndarray, logs: np.ndarray, widths: tuple[float, float]) -> np.ndarray:
    """Log-likelihood of each prompt that the filter was told of, by some rollouts; shape (P,)."""
    rewards = rewards[:, None]
    of_reward = np.where(rewards, np.log(told.values + _FLOOR), np.log(1 - told.values + _FLOOR))
    centre = np.where(rewards, told.logs[1], told.logs[0])
    width = np.where(rewards, widths[0], widths[1] * told.spread)
    return (of_reward - 0.5 * ((logs[:, None] - centre) / width) ** 2).sum(axis=0)


def _stage(study: Study, g: int, stage: int) -> list[dict]:
    """Second moments of each prompt of a stage over its visits: optimum, best constant, and the filter, as rows."""
    quiet_libraries()
    torch.set_num_threads(1)
    settings = study.run_settings(g)
    _, tokenizer, task = policy_and_task(settings)
    folder, examples = study.folder / f"run-g{g}", list(task.train)
    place = {prompt_key(row["prompt"]): k for k, row in enumerate(examples)}
    prompts, right = right_answers(tokenizer, examples)
    longest, end = settings.training.max_completion_length, tokenizer.eos_token_id
    generator = torch.Generator().manual_seed(1000 * g + stage)
    random = np.random.default_rng(1000 * g + stage)

    def look(step: int, places: Sequence[int], n: int) -> Prompts:
        model = AutoModelForCausalLM.from_pretrained(folder / f"policy-{step}").eval()
        return look_at(model, [prompts[k] for k in places], [right[k] for k in places], n, longest, end, generator)

    trace = read_trace(folder / "trace")
    keys = list(dict.fromkeys(trace.prompt_id[trace.step == stage + 1].tolist()))
    own = [place[key] for key in keys]
    told = look(stage, range(len(prompts)), 64)
    total = {name: np.zeros(len(keys)) for name in ("optimum", "constant", *_WIDTHS)}
    for step in range(stage, stage + BLOCK):
        truth = look(step, own, 512)
        total["optimum"] += truth.second_moments(truth.right / (truth.right + truth.wrong))
        total["constant"] += truth.second_moments(told.right.sum() / (told.right + told.wrong).sum())
        for k, key in enumerate(keys):
            rows = (trace.prompt_id == key) & (trace.step > stage) & (trace.step <= step)
            past = trace.reward[rows] > 0.5, np.log(trace.extras["score_norm"][rows] ** 2 + _FLOOR)
            for widths in _WIDTHS:
                before = _likelihood(told, *past, widths)
                before[own] = -np.inf
                for _ in range(1 if g == 1 else _GROUPS):
                    others = random.random(g - 1) < truth.values[k]
                    logs = random.choice(truth.of_wrong[k], g - 1) if truth.of_wrong[k].size else np.zeros(g - 1)
                    logs = np.where(others, truth.logs[1, k], logs)
                    log_weights = before + _likelihood(told, others, logs, widths)
                    weights = np.exp(log_weights - log_weights.max())
                    baseline = weights @ told.right / (weights @ (told.right + told.wrong))
                    moment = truth.second_moments(np.full(len(keys), baseline))[k]
                    total[widths][k] += moment / (1 if g == 1 else _GROUPS)
    return [
        {"rollouts": g, "stage": stage, "prompt": k, "baseline": str(name), "moment": moment}
        for name, moments in total.items()
        for k, moment in enumerate(moments.tolist())
    ]


def _table(rows: pl.DataFrame, of_study: pl.DataFrame) -> str:
    """Ratios to the optimum, in the mean over the stages, with standard errors by resampled prompts."""
    means, cells = stage_means(of_study, "gradient_mse"), []
    for (g,), part in rows.group_by(["rollouts"], maintain_order=True):
        names, stages = part["baseline"].unique(maintain_order=True).to_list(), part["stage"].n_unique()
        moments = {name: part.filter(baseline=name)["moment"].to_numpy().reshape(stages, -1) for name in names}

        def ratio(counts, name, moments=moments, stages=stages):
            counts = counts.reshape(stages, -1)
            return ((moments[name] * counts).sum(1) / (moments["optimum"] * counts).sum(1)).mean()

        found = {
            name: bootstrap(lambda counts, name=name: ratio(counts, name), moments[name].size, 0) for name in names[1:]
        }
        best = min(names[2:], key=lambda name: found[name].value)
        mine, least = (means.filter(rollouts=g, baseline=name).sort("stage")["mean"] for name in (SHOWN, OPTIMAL))
        of_filter, constant = (f"{found[name].value:.2f} ± {found[name].error:.2f}" for name in (best, "constant"))
        cells.append([g, f"{(mine / least).mean():.2f}", constant, of_filter, best])
    headers = ["G", SHOWN, "best constant", "Bayes filter", "its widths"]
    return _NOTE + markdown_table(headers, cells) + "\n"


_NOTE = f"""\
Gradient MSE given the prompts as a ratio to that with the optimum of each prompt, in the mean over the stages. The
best constant is E[n Z] / E[n] over all prompts at the start of the stage. The Bayes filter is told the exact values and
mean squared norms, n, of all other prompts at the start of the stage, with 64 rollouts of each for the norms of wrong
completions. A prompt's rollouts since then and the others of its group, with exact norms, weigh these prompts. A stage
is {BLOCK} visits. The widths of the log norms are those that serve the filter best. ± is one standard error over
prompts; the column `{SHOWN}` has what the study measured. Neither rival knows how the policy moves within the stage.

"""


def main() -> None:
    """Compute and write ``limit.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("results/gradients"), help="folder of the study's runs")
    options = parser.parse_args()
    settings = json.loads((options.study / "settings.json").read_text())
    if settings["task"] != "sums":
        parser.error(f"the filter knows one right answer a prompt, which {settings['task']} does not have")
    of_study = pl.read_parquet(options.study / "rows.parquet")
    given = {name: value for name, value in settings.items() if name not in ("stages", "baselines")}
    study = Study(options.study, {**given, "policy_cache": str(options.study / "policies")})
    cells = list(itertools.product(sorted(of_study["rollouts"].unique()), settings["stages"]))
    rows = [row for cell in tracked(cells, "stages", len(cells)) for row in _stage(study, *cell)]
    text = _table(pl.DataFrame(rows), of_study)
    atomic_write_text(options.study / "limit.md", text)
    print(text)


if __name__ == "__main__":
    main()
