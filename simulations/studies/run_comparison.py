"""How often two settings are called different: by chance, and when they differ."""

# ruff: noqa: D102  (the methods are documented in Study)
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from kvar import Trace
from kvar.auditing.comparison import compare_runs
from kvar.auditing.prompt_steps import PromptSteps
from simulations.bandit.bandits import BanditConfig, PolicyBandit
from simulations.bandit.training import GroupBaselineOfAll, TrainingConfig, train
from simulations.harness import figures
from simulations.harness.statistics import Claim
from simulations.harness.study import Study, StudyConfig
from simulations.harness.tables import summary

__all__ = ["RunComparison", "RunComparisonConfig"]

# Learning rate, and fraction of what is learned that all prompts share: the more, the more a run drifts as one.
_COURSES = {"slow": (0.5, 0.2), "slow, shared": (0.5, 0.8), "fast": (2.0, 0.2), "fast, shared": (2.0, 0.8)}
_PERIODS = 5
_LEVEL = 0.05


@dataclass(frozen=True)
class RunComparisonConfig(StudyConfig):
    """Size of the study."""

    runs: tuple[int, ...] = (1, 2, 4)  # Runs of each of the two settings
    factors: tuple[float, ...] = (1.0, 1.25)  # Learning rate of the second setting over that of the first
    steps: int = 200


class RunComparison(Study):
    """How often the comparison of `kvar.audit_runs` calls two settings different.

    A repetition is a pair of settings, each with some training runs of a softmax bandit of 32 prompts, 8 prompts and 4
    rollouts a step, with leave-one-out. The settings differ in the learning rate, or in nothing but the noise and the
    order of prompts. Each block has a bandit of its own. Comparisons with fewer runs are of the first of them, and the
    runs of the first setting serve all comparisons. With one run a setting, three tests that could be tried are
    counted: over prompts, over five periods of the run, and over the changes from period to period, which are
    independent if the difference is a random walk from zero. The expected power is that of a t-test of run means with
    the effect and the spread found over the whole block.
    """

    name: ClassVar[str] = "run-comparison"
    title: ClassVar[str] = "When are two settings called different?"
    full: ClassVar[RunComparisonConfig] = RunComparisonConfig(repetitions=200, block=25)
    quick: ClassVar[RunComparisonConfig] = RunComparisonConfig(repetitions=8, block=8, runs=(1, 3), steps=40)

    def cells(self):
        return [{"course": course} for course in _COURSES]

    def simulate(self, cell, repetitions, rng):
        rate, common = _COURSES[cell["course"]]
        bandit, most = PolicyBandit(BanditConfig(common=common), 1, rng), max(self.config.runs)
        first, *others = (
            self._runs(bandit, factor * rate, repetitions * most, rng).reshape(repetitions, most)
            for factor in (1.0, *self.config.factors)
        )
        found = []
        for factor, second in zip(self.config.factors, others, strict=True):
            for n in self.config.runs:
                pairs = [_compared(*pair) for pair in zip(first[:, :n].tolist(), second[:, :n].tolist(), strict=True)]
                levels = np.array([pair.pop("levels") for pair in pairs])
                same = {"factor": factor, "runs": n, "expected": _power(levels[:, :n], levels[:, n:])}
                found += [{"repetition": k, **same, **pair} for k, pair in enumerate(pairs)]
        return {name: np.array([row[name] for row in found]) for name in found[0]}

    def _runs(self, bandit: PolicyBandit, rate: float, number: int, rng) -> np.ndarray:
        """So many training runs of one bandit, as objects in an array."""
        each = bandit.repeated(number)
        config = TrainingConfig(steps=self.config.steps, batch_size=8, group_size=4, learning_rate=rate)
        steps = [
            (step.rollouts.prompts, step.rollouts.rewards)
            for step in train(each, config, rng, GroupBaselineOfAll("leave-one-out"))
        ]
        prompts, rewards = (np.array(column) for column in zip(*steps, strict=True))
        runs = np.empty(number, dtype=object)
        for r in range(number):
            reward = rewards[:, r]
            step, _, _ = np.indices(reward.shape)
            prompt = np.broadcast_to(prompts[:, r, :, None], reward.shape)
            columns = {"step": step.ravel(), "prompt_id": prompt.ravel(), "reward": reward.ravel()}
            runs[r] = PromptSteps.of(Trace.from_columns(columns))
        return runs

    def tables(self, rows):
        by = ["course", "factor", "runs"]
        every = summary(rows, by, ["effect", "different", "found", "expected", "prompts", "periods", "changes"])
        several, alone = ("different", "found", "expected"), ("prompts", "periods", "changes")
        return {
            name: every.filter(kept).drop([f"{column}{end}" for column in dropped for end in ("", "_se")])
            for name, kept, dropped in (("seeds", pl.col("runs") > 1, alone), ("pairs", pl.col("runs") == 1, several))
        }

    def claims(self, tables):
        null = tables["seeds"].filter(factor=1.0)
        held = null.filter(pl.col("different") <= _LEVEL + 2 * pl.col("different_se")).height
        # SciPy has no power for some effects that are very large.
        power = tables["seeds"].filter(pl.col("factor") > 1.0, pl.col("expected").is_not_nan())
        near = pl.col("found") >= pl.col("expected") - 0.05 - 2 * pl.col("found_se")
        return [
            Claim.fraction("No difference: at most 5 % are called different, within two errors", held, len(null), 1.0),
            Claim.fraction(
                "A difference: the expected power, less 5 points at most, within two errors",
                power.filter(near).height,
                len(power),
                1.0,
            ),
        ]

    def remarks(self, tables):
        null = tables["seeds"].filter(factor=1.0)
        called = _percents(null["different"])
        sentences = [f"With two runs or more each, {called} of settings that do not differ are called different."]
        pairs = tables["pairs"]
        for name, test in (("prompts", "over prompts"), ("periods", "over periods"), ("changes", "over changes")):
            null, other = (pairs.filter(where)[name] for where in (pl.col("factor") == 1.0, pl.col("factor") > 1.0))
            sentences.append(
                f"With one run each, a test {test} would call {_percents(null)} different, and {_percents(other)} of "
                "those that do differ; the audit gives no verdict."
            )
        return sentences

    def pictures(self, tables):
        figure, (panel,) = figures.panels(1)
        for rank, ((factor,), cells) in enumerate(tables["seeds"].group_by("factor", maintain_order=True)):
            panel.plot(cells["expected"], cells["found"], "o", color=f"C{rank}", label=f"learning rate x {factor:g}")
        panel.plot([0, 1], [0, 1], color="black", linewidth=0.8)
        panel.set(xlabel="expected power of a t-test of run means", ylabel="fraction found")
        panel.legend(frameon=False)
        return {"power": figure}


def _compared(first: list[PromptSteps], second: list[PromptSteps]) -> dict:
    from scipy.stats import ttest_1samp  # slow to import

    n_runs = len(first)
    found = compare_runs(first + second, ["first"] * n_runs + ["second"] * n_runs)
    mean = next(one for one in found.differences if one.quantity == "mean reward")
    periods = [np.mean(part) for part in np.array_split(found.curves[n_runs] - found.curves[0], _PERIODS)]
    changes = np.diff(periods, prepend=0.0)
    alone = n_runs == 1
    return {
        "effect": mean.interval.mean,
        "levels": found.levels["mean reward"],
        "different": float(any(one.different for one in found.differences)),
        "found": float(mean.interval.p_value < _LEVEL and not alone),
        "prompts": float(mean.interval.p_value < _LEVEL) if alone else np.nan,
        "periods": float(ttest_1samp(periods, 0.0).pvalue < _LEVEL) if alone else np.nan,
        "changes": float(ttest_1samp(changes, 0.0).pvalue < _LEVEL) if alone else np.nan,
    }


def _power(first: np.ndarray, second: np.ndarray) -> float:
    """Power of a pooled t-test of run means, given the means of all runs, shape (pairs, runs) a setting."""
    from statsmodels.stats.power import TTestIndPower  # slow to import

    n = first.shape[1]
    if n == 1:
        return np.nan
    spread = np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)
    return float(TTestIndPower().power(float((second.mean() - first.mean()) / spread), n, _LEVEL))


def _percents(column: pl.Series) -> str:
    return f"{100 * column.min():.1f} to {100 * column.max():.1f} %"
