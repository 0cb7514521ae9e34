"""Theorem 3 and corollary 3: suboptimality in training under a Polyak-Lojasiewicz condition (arXiv 2604.28005)."""

# ruff: noqa: D102  (the methods are documented in Study)
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from simulations.bandit.bandits import BanditConfig, PolicyBandit
from simulations.bandit.training import BaselineEach, TrainingConfig, optimum, train
from simulations.harness import figures
from simulations.harness.statistics import Claim, MonteCarloEstimate, ratio_of
from simulations.harness.study import Study, StudyConfig
from simulations.harness.tables import estimate_of, row_of, sample, summary

__all__ = ["Convergence", "ConvergenceConfig"]

_NAMES = ("oracle", "adaptive", "kernel", "leave-one-out", "group-mean", "batch-mean", "none")


@dataclass(frozen=True)
class ConvergenceConfig(StudyConfig):
    """Size of the study."""

    # Constants of the step size ``beta / i``; the claims are about the best one for the oracle.
    betas: tuple[float, ...] = (8.0, 16.0)
    steps: int = 800  # Length of training


class Convergence(Study):
    """Distance of training from the best policy, with step size ``beta / i``.

    The bandit has 16 prompts and a quadratic penalty with weight 0.15 on all parameters; a step has 8 prompts with two
    rollouts each. Along a line in the parameters, with d the change of the logits, the value of a prompt has ``V'' =
    E[(Z - V)(d - E d)^2]``. Where the penalty exceeds the mean of these, the objective is strongly concave and
    satisfies the Polyak-Lojasiewicz condition ``|grad J|^2 >= 2 mu (J* - J)``. The condition is also measured: the
    table of constants is about the smallest ratio ``|grad J|^2 / (2 (J* - J))`` of each bandit over all recorded
    policies.

    The first step is number ``1 + 10 + 2 beta ridge``, so that no step is longer than the curvature allows. Each
    baseline starts from the same bandits with the same random numbers. "The end" is the last tenth of a run.
    `group-mean` includes the own reward. With two rollouts per prompt this halves the gradient of the value, but not
    that of the penalty, so that training converges to another policy. `leave-one-out` is the same without that bias.
    """

    name: ClassVar[str] = "convergence"
    title: ClassVar[str] = "Does training come as close to the best policy as with the oracle? (T3, C3)"
    full: ClassVar[ConvergenceConfig] = ConvergenceConfig(repetitions=200, block=20)
    quick: ClassVar[ConvergenceConfig] = ConvergenceConfig(repetitions=10, block=5, betas=(16.0,), steps=200)
    bandit: ClassVar[BanditConfig] = BanditConfig(n_prompts=16, n_features=4, individual=4.0, ridge=0.15)
    batch_size: ClassVar[int] = 8
    group_size: ClassVar[int] = 2

    def cells(self):
        return [{"beta": beta} for beta in self.config.betas]

    def simulate(self, cell, repetitions, rng):
        beta, steps = cell["beta"], self.config.steps
        bandit = PolicyBandit(self.bandit, repetitions, rng)
        best = bandit.objective(optimum(bandit))
        delay = 10.0 + 2.0 * beta * self.bandit.ridge
        training = TrainingConfig(steps, self.batch_size, self.group_size, beta, delay)
        every = max(1, steps // 40)
        seed = int(rng.integers(2**63))
        records = []
        for name in _NAMES:
            baseline = BaselineEach(name, repetitions)
            for step in train(bandit, training, np.random.default_rng(seed), baseline):
                if step.number % every == 0:
                    records.append((name, step.number, *self._state(bandit, best, step)))
        return {
            "repetition": np.tile(np.arange(repetitions), len(records)),
            "baseline": np.repeat([record[0] for record in records], repetitions),
            "step": np.repeat([record[1] for record in records], repetitions),
            "suboptimality": np.concatenate([record[2] for record in records]),
            "pl_ratio": np.concatenate([record[3] for record in records]),
        }

    def _state(self, bandit, best, step):
        below = best - bandit.objective(step.policy)
        squared = bandit.gradient(step.policy).squared_distance(bandit.initial_policy())
        return below, squared / (2.0 * below)

    def tables(self, rows):
        curves = summary(rows, ["beta", "baseline", "step"], ["suboptimality"])
        # A policy better than the optimum of exact ascent is near a second optimum, where the ratio means nothing.
        bandits = rows.group_by(["beta", "repetition"], maintain_order=True).agg(
            pl.col("pl_ratio").filter(pl.col("suboptimality") > 0).min(),
            second_top=(pl.col("suboptimality") <= 0).any(),
        )
        constants = bandits.group_by("beta", maintain_order=True).agg(
            pl.col("pl_ratio").min().alias("least"),
            pl.col("pl_ratio").quantile(0.1, "linear").alias("tenth_percentile"),
            pl.col("pl_ratio").median().alias("median"),
            pl.col("second_top").sum(),
        )
        last = rows.filter(pl.col("step") > 0.9 * self.config.steps)
        last = last.group_by(["beta", "baseline", "repetition"], maintain_order=True).agg(
            pl.col("suboptimality").mean()
        )
        end = []
        for (beta,), cell in last.group_by(["beta"], maintain_order=True):
            oracle = sample(cell, "suboptimality", baseline="oracle")
            for name in _NAMES:
                mine = sample(cell, "suboptimality", baseline=name)
                row = row_of(ratio_of(mine - oracle, oracle), beta=beta, baseline=name)
                end.append(row | {"suboptimality": float(mine.mean())})
        return {"curves": curves, "end": pl.DataFrame(end), "constants": constants}

    def _best_beta(self, tables) -> float:
        oracle = tables["end"].filter(baseline="oracle")
        return oracle.sort("suboptimality")["beta"][0]

    def _excess(self, tables) -> dict[str, MonteCarloEstimate]:
        chosen = tables["end"].filter(beta=self._best_beta(tables))
        return {row["baseline"]: estimate_of(row) for row in chosen.iter_rows(named=True)}

    def claims(self, tables):
        found = self._excess(tables)
        text = "suboptimality at the end over that of the oracle, minus 1, paired"
        claims = [Claim.covers(f"{text}: adaptive, no difference", found["adaptive"], 0.0, 0.1)]
        return claims + [
            Claim.above(f"{text}: {name} is worse", found[name], 0.0)
            for name in ("group-mean", "leave-one-out", "batch-mean")
        ]

    def remarks(self, tables):
        beta = self._best_beta(tables)
        found = self._excess(tables)
        listed = ", ".join(
            f"{name} {100 * e.value:+.0f} ± {100 * e.half_width:.0f} %" for name, e in found.items() if name != "oracle"
        )
        mu = tables["constants"].row(by_predicate=pl.col("beta") == beta, named=True)
        enough = "above" if beta * mu["tenth_percentile"] > 1 else "below"
        ratios = (
            f"The smallest Polyak-Lojasiewicz ratio in the runs of a bandit has the median {mu['median']:.3f}, the "
            f"tenth percentile {mu['tenth_percentile']:.3f} and the minimum {mu['least']:.3f}; at the tenth percentile "
            f"beta mu is {beta * mu['tenth_percentile']:.2f}, {enough} the 1 that the rate 1 / i requires. Bandits "
            f"with a second, better optimum: {mu['second_top']}."
        )
        ends = (
            f"At beta = {beta:g}, the best for the oracle, suboptimality at the end differs from that of the oracle "
            f"by: {listed}."
        )
        return [ends, ratios]

    def pictures(self, tables):
        beta = self._best_beta(tables)
        figure, (left, right) = figures.panels(2)
        for (name,), group in tables["curves"].filter(beta=beta).group_by(["baseline"], maintain_order=True):
            error = group["suboptimality_se"]
            left.plot(group["step"], group["suboptimality"], markevery=0.15, **figures.line(name), label=name)
            left.fill_between(
                group["step"], group["suboptimality"] - 2 * error, group["suboptimality"] + 2 * error,
                color=figures.line(name)["color"], alpha=0.15, linewidth=0,
            )  # fmt: skip
        left.set(xscale="log", yscale="log", xlabel="step", ylabel="J* - J")
        last = int(tables["curves"]["step"].max())
        figures.ticks(left, [last // 32, last // 16, last // 8, last // 4, last // 2, last])
        left.legend(frameon=False, fontsize="small")
        shown = [(name, e) for name, e in self._excess(tables).items() if name != "oracle"][::-1]
        for place, (name, estimate) in enumerate(shown):
            right.errorbar(100 * estimate.value, place, xerr=100 * estimate.half_width, **figures.line(name))
        right.set_yticks(range(len(shown)), [name for name, _ in shown])
        right.axvline(0, color="black", linewidth=1)
        right.set(xlabel="excess suboptimality at the end over the oracle, %")
        right.set_xscale("symlog", linthresh=10)
        return {"training": figure}
