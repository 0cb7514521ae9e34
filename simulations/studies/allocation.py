"""At a fixed number of rollouts per step: how many per prompt, and what a better baseline saves."""

# ruff: noqa: D102  (the methods are documented in Study)
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from simulations.bandit.bandits import BanditConfig, PolicyBandit
from simulations.bandit.gradient_errors import PairedBaselines
from simulations.bandit.training import BaselineEach, TrainingConfig, train
from simulations.harness import figures
from simulations.harness.statistics import Claim, ratio_of
from simulations.harness.study import Study, StudyConfig
from simulations.harness.tables import estimate_of, row_of, sample, summary

__all__ = ["Allocation", "AllocationConfig"]

_SEEN = ("adaptive", "kernel")
_NAMES = ("oracle", *_SEEN, "group-mean", "none")
_LABELS = ["pass_rate", "learning_rate", "budget", "nuisance"]


@dataclass(frozen=True)
class AllocationConfig(StudyConfig):
    """Size of the study."""

    pass_rates: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)  # Mean values under the initial policy
    learning_rates: tuple[float, ...] = (0.1, 0.3, 1.0)  # Step sizes, which set how fast values move
    budgets: tuple[int, ...] = (16, 64, 256)  # Rollouts per step, N = B G
    groups: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)  # Rollouts per prompt, as far as the budget allows
    # Dimensions of the score that the reward does not depend on; they move the ratio of R to P.
    nuisances: tuple[int, ...] = (0, 10, 100, 1000)
    steps: int = 200  # Length of training; the first third is not counted

    @property
    def shown(self) -> dict:
        """The setting of the claims and of the table of costs: the middle one."""
        return {
            "pass_rate": self.pass_rates[len(self.pass_rates) // 2],
            "learning_rate": self.learning_rates[len(self.learning_rates) // 2],
            "budget": self.budgets[len(self.budgets) // 2],
        }


class Allocation(Study):
    """Gradient MSE at a fixed number of rollouts per step, over the number of rollouts per prompt.

    Let P, R and D be the parts of prompts, rewards and baseline. N rollouts, G per prompt, have the gradient MSE ``(G P
    + R + D) / N`` if prompts are drawn from an infinite population. This falls as 1 / N. So the ratio of ``G P + R +
    D`` between two baselines is the fraction of the rollouts that one needs for the gradient MSE of the other. For
    leave-one-out, which is `group-mean` scaled to be unbiased, D is about ``R / (G - 1)``. Its best group size is ``1 +
    sqrt(R / P)``. A baseline without error then needs ``(P + R) / (sqrt(P) + sqrt(R))**2`` of its rollouts, never less
    than half. On this page `group-mean` means this unbiased form.

    A bandit of 64 prompts is trained with the oracle's advantages, and the other baselines see the same rollouts.
    Scores of language models have far more dimensions than the reward depends on. `nuisance` adds such dimensions, as
    standard normal numbers in expectation, and so sets R / P. The table of costs has the middle setting only.
    """

    name: ClassVar[str] = "allocation"
    title: ClassVar[str] = "How many rollouts per prompt are best, and how many does a better baseline save?"
    full: ClassVar[AllocationConfig] = AllocationConfig(repetitions=12, block=2)
    quick: ClassVar[AllocationConfig] = AllocationConfig(
        repetitions=4, block=2, pass_rates=(0.5,), learning_rates=(0.3,), budgets=(64,), steps=120
    )
    n_prompts: ClassVar[int] = 64

    def cells(self):
        config = self.config
        return [
            {"pass_rate": p, "learning_rate": rate, "budget": n}
            for p in config.pass_rates
            for rate in config.learning_rates
            for n in config.budgets
        ]

    def simulate(self, cell, repetitions, rng):
        bandit = PolicyBandit(BanditConfig(self.n_prompts, pass_rate=cell["pass_rate"]), repetitions, rng)
        seed = int(rng.integers(2**63))
        tables = []
        for group in self.config.groups:
            n_prompts = cell["budget"] // group
            if 1 <= n_prompts <= self.n_prompts:
                training = TrainingConfig(self.config.steps, n_prompts, group, cell["learning_rate"])
                tables += self._parts(bandit, training, np.random.default_rng(seed))
        return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}

    def _parts(self, bandit, training, rng) -> list[dict]:
        """P, R and D of each baseline for every number of nuisance dimensions, as means over the counted steps."""
        n, group, nuisances = bandit.repetitions, training.group_size, np.array(self.config.nuisances)
        names = [name for name in _NAMES if group > 1 or name != "group-mean"]
        prompt, reward = np.zeros(n), np.zeros((n, len(nuisances)))
        of_baseline = {name: np.zeros((n, len(nuisances))) for name in names}
        paired = PairedBaselines(bandit, {name: (name, {}) for name in _SEEN})
        skipped = training.steps // 3
        for step in train(bandit, training, rng, BaselineEach("oracle", n)):
            advantages = paired.advantages(step)
            if step.number <= skipped:
                continue
            rollouts, moments = step.rollouts, step.rollouts.moments
            variance = (rollouts.values * (1.0 - rollouts.values))[..., None]
            errors = {name: rollouts.rewards - a - rollouts.values[..., None] for name, a in advantages.items()}
            errors["none"] = -rollouts.values[..., None]
            parts = {name: (moments.baseline_part(error), error**2) for name, error in errors.items()}
            if group > 1:
                left_out = moments.leave_one_out_part(variance, group) + moments.signal / (group - 1)
                parts["group-mean"] = (left_out, variance / (group - 1))
            # Each nuisance dimension adds the squared error of the value to D and the variance of the reward to R.
            prompt += bandit.prompt_variance(step.policy)
            reward += _with_nuisance(moments.reward_part, variance, nuisances)
            for name, part in parts.items():
                of_baseline[name] += _with_nuisance(*part, nuisances)
        counted = training.steps - skipped
        shape = (n, len(nuisances))
        return [
            {
                "repetition": np.broadcast_to(np.arange(n)[:, None], shape).ravel(),
                "nuisance": np.broadcast_to(nuisances, shape).ravel(),
                "group_size": np.full(n * len(nuisances), group),
                "baseline": np.full(n * len(nuisances), name),
                "prompt_part": np.broadcast_to(prompt[:, None] / counted, shape).ravel(),
                "reward_part": reward.ravel() / counted,
                "baseline_part": of_baseline[name].ravel() / counted,
            }
            for name in names
        ]

    def tables(self, rows):
        rows = rows.with_columns(
            cost=pl.col("group_size") * pl.col("prompt_part") + pl.col("reward_part") + pl.col("baseline_part")
        )
        costs = summary(
            rows, [*_LABELS, "baseline", "group_size"], ["cost", "prompt_part", "reward_part", "baseline_part"]
        )
        best = costs.sort("cost").unique([*_LABELS, "baseline"], keep="first", maintain_order=True)
        best = best.sort([*_LABELS, "baseline"]).select(
            [*_LABELS, "baseline", "group_size", "cost", "cost_se", "repetitions"]
        )
        group_at = {
            tuple(row[k] for k in (*_LABELS, "baseline")): row["group_size"] for row in best.iter_rows(named=True)
        }
        savings = []
        for labels, cell in rows.group_by(_LABELS, maintain_order=True):
            rivals = {"group-mean at its best": ("group-mean", group_at[*labels, "group-mean"])}
            largest = int(cell["group_size"].max())
            rivals |= {f"group-mean at {g}": ("group-mean", g) for g in (8, 64) if g <= largest}
            rivals["oracle"] = ("oracle", group_at[*labels, "oracle"])
            for against, (name, group) in rivals.items():
                # Against the oracle at the same G: both see the same training, so that the ratio has little noise.
                own = group if name == "oracle" else group_at[*labels, "adaptive"]
                mine = sample(cell, "cost", baseline="adaptive", group_size=own)
                ratio = ratio_of(mine, sample(cell, "cost", baseline=name, group_size=group))
                settings = dict(zip(_LABELS, labels, strict=True))
                balance = float(cell["reward_part"].mean() / cell["prompt_part"].mean())
                savings.append(row_of(ratio, **settings, against=against) | {"reward_to_prompt": balance})
        return {"costs": costs.filter(**self.config.shown), "best": best, "savings": pl.DataFrame(savings)}

    def claims(self, tables):
        shown = tables["savings"].filter(against="oracle", **self.config.shown)
        text = "rollouts of adaptive over those of the oracle at its best G, minus 1, for the same gradient MSE"
        return [
            Claim.at_most(
                f"{text}, {row['nuisance']} nuisance dimensions",
                estimate_of(row).shifted(-1.0),
                0.02,
            )
            for row in shown.iter_rows(named=True)
        ]

    def remarks(self, tables):
        best = tables["best"].filter(**self.config.shown)
        sentences = []
        for nuisance in self.config.nuisances:
            of = dict(best.filter(nuisance=nuisance).select("baseline", "group_size").iter_rows())
            balance = tables["savings"].filter(nuisance=nuisance, **self.config.shown)["reward_to_prompt"][0]
            listed = ", ".join(f"{name} {of[name]}" for name in ("group-mean", "kernel", "adaptive", "oracle"))
            sentences.append(f"With R / P = {balance:.0f} the best number of rollouts per prompt is: {listed}.")
        for against in tables["savings"].filter(pl.col("against") != "oracle")["against"].unique(maintain_order=True):
            needed = tables["savings"].filter(against=against)["value"]
            quarter, half, nothing = (100 * cases.mean() for cases in (needed <= 0.25, needed <= 0.5, needed > 0.95))
            sentences.append(
                f"Against {against}, adaptive needs a fraction of {needed.min():.2f} to {needed.max():.2f} of the "
                f"rollouts over {len(needed)} settings: at most a quarter in {quarter:.0f} % of the settings, at most "
                f"half in {half:.0f} %, and more than 0.95 in {nothing:.0f} %."
            )
        against_oracle = tables["savings"].filter(against="oracle")
        more = [
            f"{(of_budget['value'] > 1.02).sum()} of {len(of_budget)} settings with {budget} rollouts per step"
            for (budget,), of_budget in against_oracle.group_by(["budget"], maintain_order=True)
        ]
        low, high = against_oracle["value"].min(), against_oracle["value"].max()
        sentences.append(
            f"Against the oracle at the same G, adaptive needs {low:.2f} to {high:.2f} times the rollouts: more than "
            f"1.02 times in {', '.join(more)}."
        )
        return sentences

    def pictures(self, tables):
        figure, axes = figures.panels(2)
        nuisance = self.config.nuisances[-2]
        chosen = tables["costs"].filter(nuisance=nuisance)
        for (name,), group in chosen.group_by(["baseline"], maintain_order=True):
            axes[0].plot(group["group_size"], group["cost"], **figures.line(name), label=name)
        axes[0].set(xscale="log", yscale="log", xlabel="rollouts per prompt, G", ylabel="N x gradient MSE")
        figures.ticks(axes[0], self.config.groups)
        axes[0].legend(frameon=False, fontsize="small")
        at_best = tables["savings"].filter(against="group-mean at its best")
        balance = np.geomspace(at_best["reward_to_prompt"].min(), at_best["reward_to_prompt"].max(), 200)
        for rank, rate in enumerate(self.config.learning_rates):
            group = at_best.filter(learning_rate=rate)
            axes[1].scatter(
                group["reward_to_prompt"], group["value"], s=10, color=f"C{rank}", label=f"learning rate {rate:g}"
            )
        axes[1].plot(
            balance, (1 + balance) / (1 + np.sqrt(balance)) ** 2, "k-", linewidth=1, label="a baseline without error"
        )
        axes[1].set(xscale="log", xlabel="R / P", ylabel="fraction of the rollouts needed", ylim=(0.3, 1.15))
        axes[1].legend(frameon=False, fontsize="small", loc="lower right")
        drawn = {"groups": figure}
        if len(self.config.pass_rates) > 1:
            drawn["map"] = self._map(tables["savings"], nuisance)
        return drawn

    def _map(self, savings, nuisance):
        """Fractions over pass rate and learning rate, with a panel for each comparison and budget."""
        config = self.config
        panels = [("group-mean at its best", n) for n in config.budgets] + [("group-mean at 8", config.shown["budget"])]
        figure, axes = figures.panels(len(panels), width=2.9, height=3.0)
        for panel, (against, budget) in zip(axes, panels, strict=True):
            cell = savings.filter(against=against, budget=budget, nuisance=nuisance)
            grid = cell.pivot("pass_rate", index="learning_rate", values="value").drop("learning_rate").to_numpy()
            panel.imshow(grid, vmin=0.2, vmax=1.2, cmap="RdYlBu_r", aspect="auto", origin="lower")
            for (i, j), fraction in np.ndenumerate(grid):
                panel.text(j, i, f"{fraction:.2f}", ha="center", va="center", fontsize="small")
            panel.set_xticks(range(len(config.pass_rates)), [f"{p:g}" for p in config.pass_rates])
            panel.set_yticks(range(len(config.learning_rates)), [f"{r:g}" for r in config.learning_rates])
            panel.grid(False)
            panel.set(xlabel="initial pass rate", title=f"{against},\nN = {budget}")
        axes[0].set_ylabel("learning rate (drift)")
        return figure


def _with_nuisance(part, per_dimension, nuisances) -> np.ndarray:
    """Mean of a part over the rollouts of a step for each number of nuisance dimensions, shape (R, their number)."""
    return part.mean(axis=(1, 2))[:, None] + nuisances * per_dimension.mean(axis=(1, 2))[:, None]
