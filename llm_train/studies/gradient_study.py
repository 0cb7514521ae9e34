"""Value error and gradient error of every baseline in training, on the same rollouts, by exact values and gradients.

Tables 1 and 2 of the paper at the scale of the tiny policy. A run is recorded for each number of rollouts G. A stage is
one block of steps on the same prompts. It has every visit of the block, so that short and long histories both count. At
each step of a stage the policy of that step samples repeatedly. Each baseline, with the history that it would have,
gives values for these rollouts, and the gradient estimate is compared with the exact gradient. ``basis`` uses rollouts
by the policy at the start of the run, and the critic learns from the rewards of every step.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PrinterCallback, TrainerCallback

from kvar import Baseline, Trace, make_baseline, read_trace
from kvar.rollouts.prompt_ids import prompt_key
from llm_train.policy.exact_value import token_ids
from llm_train.policy.gradient_scores import chosen_parameters, score_norms, scores
from llm_train.policy.models import load_policy
from llm_train.run.settings import RunSettings, resolve
from llm_train.run.train import quiet_libraries
from llm_train.run.warm_up import warmed_up_policy
from llm_train.studies.stage_errors import BLOCK
from llm_train.tasks.load_task import Task, load_task
from llm_train.trainer.critic import CriticBaseline
from llm_train.trainer.kae_trainer import KAETrainer

__all__ = ["BASELINES", "OFFLINE_SAMPLES", "STAGES", "Study", "measure", "record"]

STAGES = (10, 90, 170)
BASELINES: dict[str, dict] = {
    "none": {}, "batch-mean": {}, "running-mean": {}, "group-mean": {}, "leave-one-out": {}, "opo": {}, "krpo": {},
    "james-stein": {}, "empirical-bayes": {}, "buffer": {}, "discounted-beta": {}, "kalman": {},
    "basis": {}, "critic": {}, "kernel": {"bandwidth": 10}, "adaptive": {}, "oracle": {},
}  # fmt: skip
# The variance-optimal function of the prompt, E[|s|^2 Z] / E[|s|^2]: the value, if |s|^2 and reward are uncorrelated.
OPTIMAL = "score-weighted optimum"
_NORM_SAMPLES = 16
# Rollouts of each prompt by the policy at the start of the run, for the offline values.
OFFLINE_SAMPLES = 8
_OFFLINE_FILE = "offline.npy"


@dataclasses.dataclass(frozen=True)
class Study:
    """What is measured.

    Attributes
    ----------
    folder : Path
        Folder of runs and results.
    settings : dict
        Settings of the runs, except those that depend on the number of rollouts.
    prompts_per_step : int
        Prompts B per step, for every number of rollouts.
    stages : tuple of int
        First step of each stage, a multiple of the block.
    """

    folder: Path
    settings: dict
    prompts_per_step: int = 16
    stages: tuple[int, ...] = STAGES

    def run_settings(self, g: int) -> RunSettings:
        """Settings of the run with g rollouts per prompt."""
        folder = self.folder / f"run-g{g}"
        return resolve(
            {
                "baseline": "kernel",
                "block_reuse": BLOCK,
                "lr_scheduler_type": "constant",
                "max_completion_length": 5,
                "save_strategy": "no",
                "eval_on_start": False,
                "n_held_out": 0,
                **self.settings,
                "num_generations": g,
                "per_device_train_batch_size": g * self.prompts_per_step,
                "max_steps": max(self.stages) + BLOCK,
                "output_dir": str(folder),
                "trace_dir": str(folder / "trace"),
            }
        )


class _KeepPolicies(TrainerCallback):
    """Saves the policies that the steps of the stages sample from."""

    def __init__(self, folder: Path, steps: Sequence[int]):
        self._folder, self._steps = folder, set(steps)

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.on_step_end(args, state, control, model)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step in self._steps:
            model.save_pretrained(self._folder / f"policy-{state.global_step}")


def record(study: Study, g: int) -> None:
    """Train with g rollouts per prompt; keep the trace, the policies of the stages and pass rates before training."""
    quiet_libraries()
    settings = study.run_settings(g)
    folder = study.folder / f"run-g{g}"
    done = folder / "done"
    if done.exists():
        return
    # A run that was killed left no checkpoints, so it begins again.
    shutil.rmtree(folder, ignore_errors=True)
    torch.set_num_threads(1)
    model, tokenizer, task = _policy_and_task(settings)
    settings.training.disable_tqdm = True
    model = warmed_up_policy(settings, model, tokenizer, task, announce=lambda *args, **kwargs: None)
    folder.mkdir(parents=True)
    np.save(folder / _OFFLINE_FILE, _pass_rates(model.eval(), tokenizer, task, settings.training))
    steps = [stage + visit for stage in study.stages for visit in range(BLOCK)]
    trainer = _TrainerWithCritic(
        model=model,
        reward_funcs=task.reward,
        args=settings.training,
        train_dataset=task.train,
        processing_class=tokenizer,
        true_value_func=task.exact_value,
        callbacks=[_KeepPolicies(folder, steps)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    done.touch()


class _TrainerWithCritic(KAETrainer):
    """Records the values of a critic that learns along the run, as it would with ``--baseline critic``."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._critic = CriticBaseline()
        self._critic.build(self.accelerator.unwrap_model(self.model), self.accelerator.device, self.args.seed)

    def _critic_column(self, output):
        return self._read_by(self._critic, output)

    def _advantages(self, keys, rewards, columns):
        advantages = super()._advantages(keys, rewards, columns)
        self._critic.update(keys, rewards, self._generations, critic_value=columns["critic_value"])
        return advantages


def _policy_and_task(settings: RunSettings) -> tuple[object, object, Task]:
    run, seed = settings.run, settings.training.seed
    model, tokenizer = load_policy(run.model, settings.model, seed)
    return model, tokenizer, load_task(run, tokenizer, seed + 1)


def _rewards(completions: Sequence[list[int]], answers: Sequence[list[int]]) -> np.ndarray:
    """1 for each right completion, else 0, shape (P, N); the N completions of a prompt follow each other."""
    n = len(completions) // len(answers)
    return np.array([float(y == answers[k // n]) for k, y in enumerate(completions)]).reshape(-1, n)


def _pass_rates(model, tokenizer, task: Task, training) -> np.ndarray:
    """Pass rate of each training prompt in a few rollouts, shape (P,)."""
    prompts, answers = token_ids(tokenizer, list(task.train["prompt"]), list(task.train["answer"]))
    repeated = [prompt for prompt in prompts for _ in range(OFFLINE_SAMPLES)]
    generator = torch.Generator().manual_seed(training.seed)
    longest, end = training.max_completion_length, tokenizer.eos_token_id
    return _rewards(sample_completions(model, repeated, longest, end, generator), answers).mean(axis=1)


def histories(trace: Trace, offline: Mapping[int, float], step: int) -> dict[str, Baseline]:
    """Every baseline with the history that it would have before a step."""
    made = {name: make_baseline(name, **parameters) for name, parameters in BASELINES.items()}
    for earlier in range(1, step):
        rows = trace.step == earlier
        columns = {name: trace.extras[name][rows] for name in ("true_value", "completion_length", "critic_value")}
        columns["offline_value"] = np.array([offline[key] for key in trace.prompt_id[rows].tolist()])
        for baseline in made.values():
            # As in training: baselines that learn from their predictions need to make them.
            baseline.advantages(trace.prompt_id[rows], trace.reward[rows], earlier, **columns)
    return made


def measure(study: Study, g: int, step: int, repetitions: int) -> list[dict]:
    """Errors of every baseline at one step of the run, on new rollouts of the policy of that step, as rows."""
    quiet_libraries()
    torch.set_num_threads(1)
    settings = study.run_settings(g)
    _, tokenizer, task = _policy_and_task(settings)
    folder = study.folder / f"run-g{g}"
    trace = read_trace(folder / "trace")
    model = AutoModelForCausalLM.from_pretrained(folder / f"policy-{step}").eval()
    generator = torch.Generator().manual_seed(settings.training.seed * 100_003 + 1009 * g + step)

    examples = {prompt_key(row["prompt"]): row for row in task.train}
    offline = dict(zip(examples, np.load(folder / _OFFLINE_FILE).tolist(), strict=True))
    # The value of the critic at this step does not depend on the rollouts, so that the recorded one is used.
    now = trace.step == step + 1
    critic_values = dict(zip(trace.prompt_id[now].tolist(), trace.extras["critic_value"][now].tolist(), strict=True))
    visited = list(critic_values)
    rows = [examples[key] for key in visited]
    prompts, answers = token_ids(tokenizer, [row["prompt"] for row in rows], [row["answer"] for row in rows])
    values = np.array(task.exact_value(model, rows))
    parameters = chosen_parameters(model)
    longest, end = settings.training.max_completion_length, tokenizer.eos_token_id
    right = scores(model, parameters, prompts, answers)
    # With one right answer y* the gradient of the value is V(x) grad log pi(y*|x), without sampling.
    by_prompt = right * torch.as_tensor(values, dtype=right.dtype)[:, None]
    exact = by_prompt.mean(dim=0)
    choice = float(by_prompt.double().var(dim=0).sum()) / len(rows)
    # The optimum E[|s|^2 Z] / E[|s|^2] has an exact numerator; its denominator is a mean over separate rollouts.
    repeated = [prompt for prompt in prompts for _ in range(_NORM_SAMPLES)]
    sampled = sample_completions(model, repeated, longest, end, generator)
    norms = score_norms(model, parameters, repeated, sampled).square().numpy().reshape(-1, _NORM_SAMPLES)
    optimum = values * right.square().sum(dim=1).numpy() / norms.mean(axis=1)

    baselines = histories(trace, offline, step + 1)
    known = {
        "true_value": values,
        "critic_value": list(critic_values.values()),
        "offline_value": [offline[key] for key in visited],
    }
    known = {name: np.repeat(column, g).reshape(-1, g) for name, column in known.items()}
    repeated = [prompt for prompt in prompts for _ in range(g)]
    found = []
    for repetition in range(repetitions):
        sampled = sample_completions(model, repeated, longest, end, generator)
        rewards = _rewards(sampled, answers)
        score = scores(model, parameters, repeated, sampled)
        columns = {**known, "completion_length": np.array([len(y) for y in sampled], dtype=float).reshape(-1, g)}
        estimates = {
            name: baseline.estimate(visited, rewards, step + 1, **columns) for name, baseline in baselines.items()
        }
        estimates[OPTIMAL] = np.repeat(optimum, g).reshape(-1, g)
        advantages = torch.tensor(np.stack([(rewards - v).ravel() for v in estimates.values()]), dtype=score.dtype)
        errors = (advantages @ score / len(repeated) - exact).double().square().sum(dim=1).tolist()
        for (name, estimate), error in zip(estimates.items(), errors, strict=True):
            found.append(
                {
                    "rollouts": g,
                    "step": step,
                    "repetition": repetition,
                    "baseline": name,
                    "value_mse": float(((estimate - values[:, None]) ** 2).mean()),
                    "gradient_mse": error,
                    "gradient_norm2": float(exact.double().square().sum()),
                    "choice_mse": choice,
                }
            )
    return found


def sample_completions(
    model, prompts: Sequence[list[int]], longest: int, end: int, generator: torch.Generator
) -> list[list[int]]:
    """Sample completions of up to `longest` tokens from a policy at temperature 1; they end with the token `end`."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    tokens = torch.zeros(len(prompts), int(lengths.max()) + longest, dtype=torch.long)
    for k, prompt in enumerate(prompts):
        tokens[k, : len(prompt)] = torch.tensor(prompt)
    rows = torch.arange(len(prompts))
    with torch.no_grad():
        for k in range(longest):
            # Tokens attend to the left only, so that the padding on the right has no effect.
            logits = model(input_ids=tokens[:, : int(lengths.max()) + k]).logits[rows, lengths - 1 + k]
            tokens[rows, lengths + k] = torch.multinomial(torch.softmax(logits, -1), 1, generator=generator)[:, 0]
    completions = [tokens[k, n : n + longest].tolist() for k, n in enumerate(lengths.tolist())]
    return [y[: y.index(end) + 1] if end in y else y for y in completions]
