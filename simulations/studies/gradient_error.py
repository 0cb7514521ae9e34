"""Theorem 2 and corollary 2: gradient error against the oracle, in parts (arXiv 2604.28005, 2603.01162)."""

# ruff: noqa: D102  (the methods are documented in Study)
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from simulations.bandit.bandits import BanditConfig, PolicyBandit
from simulations.bandit.gradient_errors import PairedBaselines, gradient_errors
from simulations.bandit.training import BaselineEach, TrainingConfig, train
from simulations.harness import figures
from simulations.harness.statistics import Claim, ratio_of
from simulations.harness.study import Study, StudyConfig
from simulations.harness.tables import estimate_of, row_of, sample, summary

__all__ = ["GradientError", "GradientErrorConfig"]

_NAMES = ("adaptive", "kernel", "leave-one-out", "batch-mean", "none")
_PARTS = ("prompt_part", "reward_part", "baseline_part", "pair_part")
_MEASURED = ("total", *_PARTS, "value_mse")


@dataclass(frozen=True)
class GradientErrorConfig(StudyConfig):
    """Size of the study."""

    groups: tuple[int, ...] = (1, 2, 4, 8, 16, 64)  # Rollouts per prompt, G
    # Step sizes, which set how fast the policy moves; the claims are about the middle one.
    learning_rates: tuple[float, ...] = (0.1, 0.3, 1.0)
    extra_groups: tuple[int, ...] = (1, 2)  # Group sizes that the other learning rates are simulated for
    visits: int = 150  # Visits of each prompt
    warm_up: int = 50  # First visits, which are not counted


class GradientError(Study):
    """Squared error of the policy gradient, its parts, and what baselines add to that of the oracle.

    A softmax bandit of 32 prompts with success rates spread around 0.4 is trained with the oracle's advantages, 16
    prompts per step, and all baselines see the same rollouts. In 150 visits of each prompt the mean value rises from
    0.40 to 0.80 at the middle learning rate, to 0.58 at the slow one and to 0.94 at the fast one. The first 50 visits
    are not counted. The pair part comes from two rollouts of a group that enter each other's value: it is ``|g(x)|^2 /
    (G (G - 1))`` for leave-one-out, of order 1 / (B G^2), and negligible for the other baselines.
    """

    name: ClassVar[str] = "gradient-error"
    title: ClassVar[str] = "How close is the gradient with each baseline to that with the oracle? (T2, C2)"
    full: ClassVar[GradientErrorConfig] = GradientErrorConfig(repetitions=80, block=10)
    quick: ClassVar[GradientErrorConfig] = GradientErrorConfig(
        repetitions=8, block=4, groups=(1, 2, 8), learning_rates=(0.3,), visits=100
    )
    bandit: ClassVar[BanditConfig] = BanditConfig(n_prompts=32, pass_rate=0.4)
    batch_size: ClassVar[int] = 16

    @property
    def main_rate(self) -> float:
        """The learning rate of the claims."""
        return self.config.learning_rates[len(self.config.learning_rates) // 2]

    def cells(self):
        return [
            {"learning_rate": rate, "group_size": group}
            for rate in self.config.learning_rates
            for group in self.config.groups
            if rate == self.main_rate or group in self.config.extra_groups
        ]

    def simulate(self, cell, repetitions, rng):
        bandit = PolicyBandit(self.bandit, repetitions, rng)
        per_visit = self.bandit.n_prompts // self.batch_size
        group = cell["group_size"]
        training = TrainingConfig(self.config.visits * per_visit, self.batch_size, group, cell["learning_rate"])
        paired = PairedBaselines(bandit, {name: (name, {}) for name in _NAMES})
        sums = {name: dict.fromkeys(_MEASURED, 0.0) for name in ("oracle", *_NAMES)}
        counted = training.steps - self.config.warm_up * per_visit
        for step in train(bandit, training, rng, BaselineEach("oracle", repetitions)):
            advantages = {"oracle": step.advantages, **paired.advantages(step)}
            if step.number <= self.config.warm_up * per_visit:
                continue
            pair = step.rollouts.moments.signal.mean(axis=(1, 2)) / (self.batch_size * max(group * (group - 1), 1))
            for name, of_baseline in advantages.items():
                errors = gradient_errors(bandit, step, of_baseline)
                errors["pair_part"] = pair if name == "leave-one-out" and group > 1 else np.zeros(repetitions)
                for part, value in errors.items():
                    sums[name][part] = sums[name][part] + value / counted
        return {
            "repetition": np.tile(np.arange(repetitions), len(sums)),
            "baseline": np.repeat(list(sums), repetitions),
            **{part: np.concatenate([sums[name][part] for name in sums]) for part in _MEASURED},
        }

    def tables(self, rows):
        rows = rows.with_columns(
            residual=pl.col("total") - pl.sum_horizontal(_PARTS),
        )
        by = ["learning_rate", "group_size"]
        parts = summary(rows, [*by, "baseline"], [*_MEASURED, "residual"])
        excess = []
        for (rate, group), cell in rows.group_by(by, maintain_order=True):
            oracle = sample(cell, "total", baseline="oracle")
            for name in _NAMES:
                labels = {"learning_rate": rate, "group_size": group, "baseline": name}
                gap = ratio_of(sample(cell, "total", baseline=name) - oracle, oracle)
                expected = ratio_of(sample(cell, "baseline_part", baseline=name), oracle)
                excess.append(row_of(gap, **labels) | {"expected": expected.value})
        return {"parts": parts, "excess": pl.DataFrame(excess)}

    def claims(self, tables):
        claims = []
        of_adaptive = tables["excess"].filter(baseline="adaptive", learning_rate=self.main_rate)
        for group, bound in ((2, 0.02), (1, 0.05)):
            text = f"gradient MSE of adaptive over that of the oracle at G = {group}, minus 1"
            row = next(of_adaptive.filter(group_size=group).iter_rows(named=True), None)
            claims.append(Claim.at_most(text, estimate_of(row), bound))
        # By chance one residual in 370 is more than three standard errors from zero.
        deviations = np.abs(tables["parts"]["residual"] / tables["parts"]["residual_se"])
        text = "total within three standard errors of the sum of its parts, fraction of baselines and cells"
        return [*claims, Claim.fraction(text, int((deviations <= 3).sum()), len(deviations), 1.0)]

    def remarks(self, tables):
        at_main = tables["excess"].filter(learning_rate=self.main_rate)
        sentences = []
        for group in at_main["group_size"].unique(maintain_order=True):
            found = {row["baseline"]: row["value"] for row in at_main.filter(group_size=group).iter_rows(named=True)}
            others = ", ".join(f"{name} {100 * found[name]:.1f} %" for name in _NAMES[1:])
            sentences.append(
                f"At G = {group} adaptive adds {100 * found['adaptive']:.2f} % to the oracle's gradient MSE; {others}."
            )
        others = tables["excess"].filter(pl.col("learning_rate") != self.main_rate, baseline="adaptive")
        for (rate,), cell in others.group_by(["learning_rate"], maintain_order=True):
            added = [
                f"{100 * row['value']:.1f} ± {100 * row['standard_error']:.1f} % at G = {row['group_size']}"
                for row in cell.iter_rows(named=True)
            ]
            sentences.append(f"At learning rate {rate:g} instead of {self.main_rate:g} it adds {', '.join(added)}.")
        return sentences

    def pictures(self, tables):
        figure, (left, right) = figures.panels(2)
        at_main = tables["excess"].filter(learning_rate=self.main_rate)
        for (name,), group in at_main.group_by(["baseline"], maintain_order=True):
            left.errorbar(
                group["group_size"], 100 * group["value"], 200 * group["standard_error"],
                **figures.line(name), label=name,
            )  # fmt: skip
        left.set(
            xscale="log", yscale="log", xlabel="rollouts per prompt, G", ylabel="excess gradient MSE over the oracle, %"
        )
        left.axhline(2, color="#999999", linestyle=":", linewidth=1)
        left.legend(frameon=False, fontsize="small")
        figures.ticks(left, at_main["group_size"].unique(maintain_order=True).to_list())
        chosen = tables["parts"].filter(learning_rate=self.main_rate, group_size=2)
        bottom = np.zeros(len(chosen))
        for part, colour in zip(_PARTS, ("#BBBBBB", "#56B4E9", "#D55E00", "#F0E442"), strict=True):
            right.barh(chosen["baseline"], chosen[part], left=bottom, color=colour, label=part.replace("_", " "))
            bottom += chosen[part].to_numpy()
        right.plot(chosen["total"], chosen["baseline"], "k|", markersize=12, label="measured")
        right.set(xlabel="gradient MSE at G = 2")
        right.legend(frameon=False, fontsize="small")
        return {"parts": figure}
