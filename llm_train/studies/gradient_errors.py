"""Value error and gradient error of every baseline at steps of a recorded run, by exact values and gradients.

The policy of the step samples repeatedly. Each baseline, with the history that it would have, gives values for these
rollouts, and the gradient estimate is compared with the exact gradient. Most rollouts are repetitions of few
completions, whose scores are computed once: estimates and exact gradient are combinations of these scores, so that the
inner products of the scores give every squared error. ``basis`` uses rollouts by the policy at the start of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from kvar import Baseline, Trace, make_baseline, read_trace
from kvar.rollouts.prompt_ids import prompt_key
from llm_train.policy.exact_value import answer_log_probabilities
from llm_train.policy.gradient_scores import chosen_parameters, score_norms, scores
from llm_train.policy.sampling import sample_completions
from llm_train.run.train import quiet_libraries
from llm_train.studies.gradient_study import OFFLINE_FILE, Study, policy_and_task, right_answers
from llm_train.studies.norm_kinds import EXACT, NORMS, distinct_pairs, proxy_norms
from llm_train.studies.weighted_mean import WeightedMean

__all__ = ["BASELINES", "OPTIMAL", "measure"]

_PLAIN: dict[str, dict] = {
    "none": {}, "batch-mean": {}, "running-mean": {}, "group-mean": {}, "leave-one-out": {}, "opo": {}, "krpo": {},
    "james-stein": {}, "empirical-bayes": {}, "buffer": {}, "discounted-beta": {}, "kalman": {},
    "basis": {}, "critic": {}, "kernel": {"bandwidth": 10}, "adaptive": {}, "oracle": {},
}  # fmt: skip
# Baselines that weigh by score norms, with the kind of norm that they get.
_WEIGHTED = {
    "score-weighted": "sampled",
    "weighted-mean": "sampled",
    **{f"variance-optimal, {kind}": kind for kind in NORMS},
}
# The variance-optimal function of the prompt, E[|s|^2 Z] / E[|s|^2]: the value, if |s|^2 and reward are uncorrelated.
OPTIMAL = "optimum"
BASELINES = (*_PLAIN, *_WEIGHTED, OPTIMAL)
# Rollouts of each prompt from which the mean squared norm of wrong completions is taken.
_NORM_SAMPLES = 512


def _made() -> dict[str, Baseline]:
    found = {name: make_baseline(name, **parameters) for name, parameters in _PLAIN.items()}
    for name in _WEIGHTED:
        found[name] = WeightedMean() if name == WeightedMean.name else make_baseline(name.partition(",")[0])
    return found


def _columns_for(name: str, columns: Mapping) -> dict:
    """The columns that a baseline gets, with its kind of norm as its score norm."""
    plain = {key: column for key, column in columns.items() if key not in NORMS.values()}
    return {**plain, EXACT: columns[NORMS[_WEIGHTED[name]]]} if name in _WEIGHTED else plain


def _learn(baselines: Mapping[str, Baseline], trace: Trace, offline: Mapping[int, float], step: int) -> None:
    """Take a step of the run into the histories."""
    rows = trace.step == step
    recorded = ("true_value", "completion_length", "critic_value", *NORMS.values())
    columns = {name: trace.extras[name][rows] for name in recorded}
    columns["offline_value"] = np.array([offline[key] for key in trace.prompt_id[rows].tolist()])
    for name, baseline in baselines.items():
        # As in training: baselines that learn from their predictions need to make them.
        baseline.advantages(trace.prompt_id[rows], trace.reward[rows], step, **_columns_for(name, columns))


def measure(study: Study, g: int, steps: Sequence[int], repetitions: int) -> list[dict]:
    """Errors of every baseline after some steps of the run, on new rollouts of the policy of then, as rows."""
    quiet_libraries()
    torch.set_num_threads(1)
    settings = study.run_settings(g)
    _, tokenizer, task = policy_and_task(settings)
    folder = study.folder / f"run-g{g}"
    trace = read_trace(folder / "trace")
    examples = {prompt_key(row["prompt"]): row for row in task.train}
    offline = dict(zip(examples, np.load(folder / OFFLINE_FILE).tolist(), strict=True))
    baselines, learned, found = _made(), 0, []
    for step in sorted(steps):
        for earlier in range(learned + 1, step + 1):
            _learn(baselines, trace, offline, earlier)
        learned = step
        # The value of the critic at this step does not depend on the rollouts, so that the recorded one is used.
        now = trace.step == step + 1
        known = dict(zip(trace.prompt_id[now].tolist(), trace.extras["critic_value"][now].tolist(), strict=True))
        rollouts = _Rollouts(
            model=AutoModelForCausalLM.from_pretrained(folder / f"policy-{step}").eval(),
            right=right_answers(tokenizer, [examples[key] for key in known]),
            longest=settings.training.max_completion_length,
            end=tokenizer.eos_token_id,
            generator=torch.Generator().manual_seed(settings.training.seed * 100_003 + 1009 * g + step),
            shape=(repetitions, g),
        )
        columns = {"critic_value": list(known.values()), "offline_value": [offline[key] for key in known]}
        rows = rollouts.errors(baselines, list(known), step + 1, columns)
        found += [{"rollouts": g, "step": step, **row} for row in rows]
    return found


class _Rollouts:
    """Repeated rollouts of a policy on the P prompts of a step, with inner products of the scores of all completions.

    Vectors of the parameters are combinations of the D distinct scores, and are kept as D coefficients.
    """

    def __init__(self, model, right, longest: int, end: int, generator: torch.Generator, shape: tuple[int, int]):
        self._prompts, self._right = right
        n_prompts = len(self._prompts)

        def sampled(n):
            owners = np.repeat(np.arange(n_prompts), n)
            return owners, sample_completions(model, [self._prompts[k] for k in owners], longest, end, generator)

        owners, completions = sampled(shape[0] * shape[1])
        self._true_owners = np.repeat(np.arange(n_prompts), [len(some) for some in self._right])
        true = [y for some in self._right for y in some]
        pairs = [self._prompts[k] for k in (*self._true_owners, *owners)], true + completions
        prompts, distinct, which = distinct_pairs(*pairs)
        score = scores(model, chosen_parameters(model), prompts, distinct)
        self._products = (score @ score.T).double().numpy()
        self._squares = np.diag(self._products)
        self._norms = {**proxy_norms(model, prompts, distinct), EXACT: np.sqrt(self._squares)}
        self._lengths = np.array([len(y) for y in distinct], dtype=float)
        self._of_true = which[: len(true)]
        self._places = which[len(true) :].reshape(n_prompts, *shape).swapaxes(0, 1)

        with torch.no_grad():
            by_token = answer_log_probabilities(model, pairs[0][: len(true)], true)
        self._probability = by_token.sum(dim=1).exp().numpy()
        self._values = np.bincount(self._true_owners, self._probability, n_prompts)
        self._wrong = _norms_of_wrong(model, self._prompts, self._right, *sampled(_NORM_SAMPLES))

    def errors(self, baselines: Mapping[str, Baseline], keys: list, time: int, columns: Mapping) -> Iterator[dict]:
        """Errors of every baseline in every repetition, by baselines that have learned from all earlier steps."""
        n_prompts, size, g = len(keys), len(self._squares), self._places.shape[2]
        # The gradient of the value is the sum of p(y) grad log p(y) over right completions y, without sampling.
        by_prompt = np.zeros((n_prompts, size))
        np.add.at(by_prompt, (self._true_owners, self._of_true), self._probability)
        exact, squares = by_prompt.mean(axis=0), (by_prompt @ self._products * by_prompt).sum(axis=1)
        norm2 = exact @ self._products @ exact
        choice = (squares.sum() - n_prompts * norm2) / (n_prompts - 1) / n_prompts
        n_right = np.bincount(self._true_owners, self._probability * self._squares[self._of_true], n_prompts)
        optimum, excess = _optimum(self._values, n_right, squares, *self._wrong)

        known = {"true_value": self._values, **columns}
        known = {name: np.repeat(column, g).reshape(-1, g) for name, column in known.items()}
        is_right = np.isin(np.arange(size), self._of_true)
        for repetition, places in enumerate(self._places):
            rewards = is_right[places].astype(float)
            norms = {name: norm[places] for name, norm in self._norms.items()}
            given = {**known, "completion_length": self._lengths[places], **norms}
            estimates = {
                name: baseline.estimate(keys, rewards, time, **_columns_for(name, given))
                for name, baseline in baselines.items()
            }
            estimates[OPTIMAL] = np.repeat(optimum, g).reshape(-1, g)
            for name, estimate in estimates.items():
                difference = np.bincount(places.ravel(), (rewards - estimate).ravel(), size) / places.size - exact
                yield {
                    "repetition": repetition,
                    "baseline": name,
                    "value_mse": float(((estimate - self._values[:, None]) ** 2).mean()),
                    "gradient_mse": float(difference @ self._products @ difference),
                    "gradient_norm2": float(norm2),
                    "choice_mse": float(choice),
                    "optimum_excess": float(excess),
                }


def _norms_of_wrong(
    model, prompts: Sequence, right: Sequence, owners: np.ndarray, completions: Sequence
) -> tuple[np.ndarray, np.ndarray]:
    """Mean squared norm of the wrong rollouts of each prompt with its standard error, shape (P,) each.

    The mean of all prompts counts as one rollout more, since a prompt may have no wrong one.
    """
    kept = [k for k, y in enumerate(completions) if y not in right[owners[k]]]
    owners, completions = owners[kept], [completions[k] for k in kept]
    distinct_prompts, distinct, which = distinct_pairs([prompts[k] for k in owners], completions)
    norms = score_norms(model, chosen_parameters(model), distinct_prompts, distinct).double().numpy()[which] ** 2
    count = np.bincount(owners, minlength=len(prompts))
    mean = (np.bincount(owners, norms, len(prompts)) + norms.mean()) / (count + 1)
    scatter = np.bincount(owners, (norms - mean[owners]) ** 2, len(prompts)) + (mean - norms.mean()) ** 2
    return mean, np.sqrt(scatter / np.maximum(count, 1) / (count + 1))


def _optimum(values, n_right, squares, wrong, error) -> tuple[np.ndarray, float]:
    """The optimum of each prompt, and what its Monte Carlo error adds to its gradient MSE, as a fraction.

    `n_right` is the expected squared norm times the reward, `squares` that of the exact gradients.
    """
    n_wrong = (1 - values) * wrong
    optimum = n_right / (n_right + n_wrong)
    variance = n_right * (1 - optimum) ** 2 + n_wrong * optimum**2 - squares
    added = (n_right + n_wrong) * (optimum * (1 - values) * error / (n_right + n_wrong)) ** 2
    return optimum, float(added.sum() / variance.sum())
