"""What the order of prompts does to the gradient: its error at equal rollouts, and whether it stays unbiased."""

# ruff: noqa: D102  (the methods are documented in Study)
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import polars as pl

from kvar import make_baseline
from kvar.prompt_draws import DRAWS, Outlook, inclusion_probabilities
from simulations.bandit.bandits import BanditConfig, PolicyBandit
from simulations.bandit.prompt_draws import PromptMoments
from simulations.bandit.training import BaselineEach, TrainingConfig, train
from simulations.harness import figures
from simulations.harness.statistics import Claim, MonteCarloEstimate, ratio_of
from simulations.harness.study import Study, StudyConfig
from simulations.harness.tables import estimate_of, row_of, sample, summary

__all__ = ["PromptOrders", "PromptOrdersConfig"]

_RULE, _EPOCHS = "importance", "epochs"
_LEARNED = ("variance-optimal", "adaptive")
_WEIGHTED = (_EPOCHS, "importance, exact moments", *(f"importance, {name}" for name in _LEARNED))
_BIASED = ("variance", "arc-without-dead-zone")
_UNWEIGHTED = (*_BIASED, "arc")
_BY = ["pass_rate", "norm_spread", "order"]


@dataclass(frozen=True)
class PromptOrdersConfig(StudyConfig):
    """Size of the study."""

    pass_rates: tuple[float, ...] = (0.1, 0.4)  # Mean value at the start
    norm_spreads: tuple[float, ...] = (0.0, 0.5, 1.0)  # Sigma of the log-normal scale of a prompt's features
    visits: int = 40  # Visits of each prompt before the measurement
    draws: int = 300  # Batches of each order


class PromptOrders(Study):
    """Squared error and bias of the policy gradient of batches of 16 of 64 prompts, with one rollout each.

    A softmax bandit is trained in epochs with the oracle's advantages, while baselines learn from the same rollouts.
    Then the policy stands still. Each order draws 300 batches, by what its baseline has learned or by the exact second
    moments ``E[n (Z - b)^2 | x]``, and `variance` and `arc` draw by `variance-optimal`. For all of them b is the exact
    optimum of each prompt, so that they differ in the prompts and weights alone. The scores of a prompt have a
    log-normal scale, by which their norms differ between prompts. With groups of one rollout, which never have two
    different rewards, the dead zone of `arc` takes nearly all of its scores to zero, and it draws all prompts alike.

    The error by theory is exact in the part of the rollouts, and in that of the prompts it is the approximation of
    Hajek (1964). The squared bias is a fraction of the squared norm of the gradient, estimated without bias by products
    of different batches, so that it may be negative.
    """

    name: ClassVar[str] = "prompt-orders"
    title: ClassVar[str] = "What is it worth to draw prompts by importance, and is the gradient unbiased?"
    full: ClassVar[PromptOrdersConfig] = PromptOrdersConfig(repetitions=24, block=4)
    quick: ClassVar[PromptOrdersConfig] = PromptOrdersConfig(
        repetitions=4, block=4, pass_rates=(0.4,), norm_spreads=(0.5,)
    )
    batch_size: ClassVar[int] = 16
    n_prompts: ClassVar[int] = 64

    def cells(self):
        return [
            {"pass_rate": rate, "norm_spread": spread}
            for rate in self.config.pass_rates
            for spread in self.config.norm_spreads
        ]

    def simulate(self, cell, repetitions, rng):
        bandit = PolicyBandit(BanditConfig(self.n_prompts, pass_rate=cell["pass_rate"]), repetitions, rng)
        bandit.features *= np.exp(cell["norm_spread"] * rng.standard_normal((repetitions, self.n_prompts, 1, 1)))
        learned = {name: [make_baseline(name) for _ in range(repetitions)] for name in _LEARNED}
        n_steps = self.config.visits * self.n_prompts // self.batch_size
        training = TrainingConfig(n_steps + 1, self.batch_size, 1, 0.3)
        for step in train(bandit, training, rng, BaselineEach("oracle", repetitions)):
            if step.number > n_steps:
                break
            rollouts = step.rollouts
            norms = bandit.columns(rollouts)["score_norm"]
            for each in learned.values():
                for r, baseline in enumerate(each):
                    baseline.advantages(rollouts.prompts[r], rollouts.rewards[r], step.number, score_norm=norms[r])
        truth = PromptMoments(bandit, step.policy, rng)
        orders = self._orders(learned, step.number, truth)
        columns = []
        for rule, outlooks in orders.values():
            expected = np.full(repetitions, np.nan)
            if rule == _RULE:
                moments = [outlook.second_moments for outlook in outlooks]
                expected = truth.theory(np.array([inclusion_probabilities(some, self.batch_size) for some in moments]))
            drawn = [[DRAWS[rule](one, self.batch_size, rng) for _ in range(self.config.draws)] for one in outlooks]
            found = truth.measured(drawn)
            columns.append((found.mse, expected, found.squared_bias / truth.exact_square))
        mse, theory, bias = (np.concatenate(column) for column in zip(*columns, strict=True))
        return {
            "repetition": np.tile(np.arange(repetitions), len(orders)),
            "order": np.repeat(list(orders), repetitions),
            "mse": mse,
            "theory": theory,
            "squared_bias": bias,
        }

    def _orders(self, learned, step: int, truth: PromptMoments) -> dict[str, tuple[str, list[Outlook]]]:
        """Rule of each order, and what it knows in each repetition."""
        keys = np.arange(self.n_prompts)
        seen = {name: [Outlook.by(one, keys, step, {}, 1) for one in each] for name, each in learned.items()}
        mine = seen[_LEARNED[0]]
        exact = [replace(one, second_moments=m) for one, m in zip(mine, truth.second_moments, strict=True)]
        # Equal moments give a simple random sample with weights of one.
        equal = [replace(one, second_moments=np.ones(self.n_prompts)) for one in mine]
        of_importance = zip(_WEIGHTED, (equal, exact, *seen.values()), strict=True)
        return {name: (_RULE, some) for name, some in of_importance} | {name: (name, mine) for name in _UNWEIGHTED}

    def tables(self, rows):
        rows = rows.with_columns(residual=pl.col("mse") - pl.col("theory")).fill_nan(None)
        errors = summary(rows, _BY, ["mse", "theory", "residual", "squared_bias"])
        ratios = []
        for labels, cell in rows.group_by(_BY, maintain_order=True):
            named = dict(zip(_BY, labels, strict=True))
            epochs = rows.filter(**named | {"order": _EPOCHS})
            ratio = row_of(ratio_of(sample(cell, "mse"), sample(epochs, "mse")), **named)
            ratios.append(ratio | {"expected": _quotient(cell, epochs)})
        return {"errors": errors, "ratios": pl.DataFrame(ratios)}

    def claims(self, tables):
        errors, ratios = tables["errors"], tables["ratios"]
        unbiased = errors.filter(pl.col("order").is_in(_WEIGHTED))
        claims = [
            Claim.fraction(
                f"{text} within four standard errors, fraction of epochs and importance orders in all cells",
                int(((unbiased[column] / unbiased[f"{column}_se"]).abs() <= 4).sum()), len(unbiased), 1.0,
            )
            for text, column in (("squared bias zero", "squared_bias"), ("gradient MSE that of theory", "residual"))
        ]  # fmt: skip
        for order in _WEIGHTED[1:]:
            worst = max(ratios.filter(order=order).iter_rows(named=True), key=lambda row: row["value"])
            claims.append(Claim.at_most(f"gradient MSE of {order} over epochs, {_where(worst)}", estimate_of(worst), 1))
        for order in _BIASED:
            least = min(errors.filter(order=order).iter_rows(named=True), key=lambda row: row["squared_bias"])
            bias = MonteCarloEstimate(least["squared_bias"], least["squared_bias_se"], least["repetitions"])
            claims.append(Claim.above(f"squared bias of {order}, as a fraction, {_where(least)}", bias, 0.0))
        return claims

    def remarks(self, tables):
        sentences = []
        for (order,), rows in (
            tables["ratios"].filter(pl.col("order") != _EPOCHS).group_by("order", maintain_order=True)
        ):
            found = " / ".join(f"{value:.2f}" for value in rows["value"])
            said = "" if order in _UNWEIGHTED else f", by theory {' / '.join(f'{x:.2f}' for x in rows['expected'])}"
            bias = tables["errors"].filter(order=order)["squared_bias"]
            sentences.append(
                f"{order}: gradient MSE over epochs {found}{said}; squared bias {' / '.join(f'{x:.4f}' for x in bias)}."
            )
        return sentences

    def pictures(self, tables):
        rates = self.config.pass_rates
        figure, axes = figures.panels(len(rates))
        for panel, rate in zip(axes, rates, strict=True):
            shown = tables["ratios"].filter(pl.col("order").is_in(_WEIGHTED[1:]), pass_rate=rate)
            for k, ((order,), rows) in enumerate(shown.group_by(["order"], maintain_order=True)):
                panel.errorbar(
                    rows["norm_spread"], rows["value"], 2 * rows["standard_error"],
                    fmt="o", color=f"C{k}", label=order.removeprefix("importance, "),
                )  # fmt: skip
                panel.plot(rows["norm_spread"], rows["expected"], color=f"C{k}", linewidth=1)
            panel.axhline(1, color="#999999", linestyle=":", linewidth=1)
            panel.set(
                xlabel="spread of norms between prompts", ylabel="gradient MSE over epochs", title=f"pass rate {rate:g}"
            )
            figures.ticks(panel, self.config.norm_spreads)
        axes[0].legend(frameon=False, fontsize="small")
        return {"ratios": figure}


def _quotient(cell: pl.DataFrame, epochs: pl.DataFrame) -> float | None:
    mean = cell["theory"].mean()
    return None if mean is None else mean / epochs["theory"].mean()


def _where(row: dict) -> str:
    return f"worst cell: pass rate {row['pass_rate']:g}, spread of norms {row['norm_spread']:g}"
