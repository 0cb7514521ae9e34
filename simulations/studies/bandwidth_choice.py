"""How much bandwidth and kernel matter, and how close the automatic choice comes to the best in hindsight."""

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
from simulations.harness.statistics import ratio_of
from simulations.harness.study import Study, StudyConfig
from simulations.harness.tables import row_of, sample, summary

__all__ = ["BandwidthChoice", "BandwidthChoiceConfig"]


@dataclass(frozen=True)
class BandwidthChoiceConfig(StudyConfig):
    """Size of the study."""

    kernels: tuple[str, ...] = ("triangular", "uniform", "epanechnikov", "exponential")  # Kernels
    bandwidths: tuple[float, ...] = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)  # Windows in steps
    schedules: tuple[str, ...] = ("blocks", "epochs", "independent")  # Orders of the prompts
    learning_rates: tuple[float, ...] = (0.1, 0.3, 1.0)  # Step sizes, which set how fast values move
    steps: int = 300  # Length of training; the first third is not counted


class BandwidthChoice(Study):
    """Value MSE of the kernel estimate over windows and kernels, of ``bandwidth="auto"`` and of `adaptive`.

    A bandit of 32 prompts is trained with the oracle's advantages, with 16 prompts per step and two rollouts each: in
    blocks of 10 steps, in epochs, or with prompts drawn independently at each step. All estimates see the same
    rollouts.
    """

    name: ClassVar[str] = "bandwidth"
    title: ClassVar[str] = "How much do bandwidth and kernel matter, and does the automatic choice find the best?"
    full: ClassVar[BandwidthChoiceConfig] = BandwidthChoiceConfig(repetitions=10, block=5)
    quick: ClassVar[BandwidthChoiceConfig] = BandwidthChoiceConfig(
        repetitions=4, block=2, kernels=("triangular",), bandwidths=(5.0, 10.0, 50.0, 200.0), learning_rates=(0.3,)
    )
    bandit: ClassVar[BanditConfig] = BanditConfig(n_prompts=32)

    def cells(self):
        return [{"schedule": s, "learning_rate": r} for s in self.config.schedules for r in self.config.learning_rates]

    def simulate(self, cell, repetitions, rng):
        config = self.config
        bandit = PolicyBandit(self.bandit, repetitions, rng)
        training = TrainingConfig(config.steps, 16, 2, cell["learning_rate"], schedule=cell["schedule"])
        windows = [(kernel, window) for kernel in config.kernels for window in (*config.bandwidths, "auto")]
        made = {f"{kernel} {w}": ("kernel", {"kernel": kernel, "bandwidth": w}) for kernel, w in windows}
        paired = PairedBaselines(bandit, {**made, "adaptive": ("adaptive", {})})
        errors = dict.fromkeys([*made, "adaptive"], 0.0)
        for step in train(bandit, training, rng, BaselineEach("oracle", repetitions)):
            advantages = paired.advantages(step)
            if step.number > config.steps // 3:
                for label, found in advantages.items():
                    error = step.rollouts.rewards - found - step.rollouts.values[..., None]
                    errors[label] = errors[label] + (error**2).mean(axis=(1, 2))
        counted = config.steps - config.steps // 3
        return {
            "repetition": np.tile(np.arange(repetitions), len(errors)),
            "estimate": np.repeat(list(errors), repetitions),
            "kernel": np.repeat([*(kernel for kernel, _ in windows), "adaptive"], repetitions),
            "window": np.repeat([*(str(w) for _, w in windows), "auto"], repetitions),
            "value_mse": np.concatenate(list(errors.values())) / counted,
        }

    def tables(self, rows):
        by = ["schedule", "learning_rate"]
        errors = summary(rows, [*by, "kernel", "window"], ["value_mse"])
        hindsight = []
        for labels, cell in rows.group_by(by, maintain_order=True):
            at = dict(zip(by, labels, strict=True))
            fixed = errors.filter((pl.col("window") != "auto") & (pl.col("kernel") != "adaptive"), **at).sort(
                "value_mse"
            )
            best = fixed.row(0, named=True)
            reference = sample(cell, "value_mse", kernel=best["kernel"], window=best["window"])
            choices = [(k, w) for k, w in cell.select("kernel", "window").unique(maintain_order=True).iter_rows()]
            for kernel, window in choices:
                if window == "auto" or (kernel, window) == ("triangular", "10.0"):
                    ratio = ratio_of(sample(cell, "value_mse", kernel=kernel, window=window), reference)
                    labelled = {**at, "best": f"{best['kernel']} {best['window']}", "estimate": f"{kernel} {window}"}
                    hindsight.append(row_of(ratio, **labelled))
        return {"errors": errors, "hindsight": pl.DataFrame(hindsight)}

    def claims(self, tables):
        return []

    def remarks(self, tables):
        found = tables["hindsight"].group_by("estimate", maintain_order=True)
        sentences = []
        for (name,), group in found:
            sentences.append(
                f"{name.removesuffix(' auto') if name.startswith('adaptive') else name}: {group['value'].min():.2f} to "
                f"{group['value'].max():.2f} times the value MSE of the best window and kernel in hindsight, "
                f"over {len(group)} settings."
            )
        best = tables["errors"].filter(pl.col("window") != "auto")
        spread = best.group_by("schedule", "learning_rate", "window").agg(
            ratio=pl.col("value_mse").max() / pl.col("value_mse").min()
        )
        if best["kernel"].n_unique() > 1:
            sentences.append(
                f"At one window the kernels differ by a factor of {spread['ratio'].median():.2f} in the median."
            )
        return sentences

    def pictures(self, tables):
        from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

        schedules = tables["errors"]["schedule"].unique(maintain_order=True).to_list()
        figure, axes = figures.panels(len(schedules), width=3.6)
        rates = tables["errors"]["learning_rate"].unique(maintain_order=True).to_list()
        for panel, schedule in zip(axes, schedules, strict=True):
            for rank, rate in enumerate(rates):
                cell = tables["errors"].filter(schedule=schedule, learning_rate=rate)
                colour = f"C{rank}"
                fixed = cell.filter(pl.col("window") != "auto").with_columns(pl.col("window").cast(float))
                of_all = fixed.group_by("window", maintain_order=True).agg(
                    pl.col("value_mse").min().alias("low"), pl.col("value_mse").max().alias("high")
                )
                panel.fill_between(*of_all.select("window", "low", "high"), color=colour, alpha=0.15, linewidth=0)
                group = fixed.filter(kernel="triangular")
                panel.errorbar(
                    group["window"], group["value_mse"], 2 * group["value_mse_se"], color=colour, linewidth=1.8,
                    label=f"learning rate {rate:g}",
                )  # fmt: skip
                for kernel, style in (("triangular", "--"), ("adaptive", ":")):
                    automatic = cell.filter(window="auto", kernel=kernel)
                    panel.axhline(automatic["value_mse"][0], color=colour, linestyle=style, linewidth=1)
            panel.set(xscale="log", yscale="log", xlabel="window in steps", title=schedule)
            figures.ticks(panel, tables["errors"].filter(pl.col("window") != "auto")["window"].cast(float).unique())
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            panel.yaxis.set_minor_locator(NullLocator())
        axes[0].set_ylabel("value MSE")
        for style, width, label in (("-", 1.8, "triangular"), ("--", 1, "triangular, auto"), (":", 1, "adaptive")):
            axes[0].plot([], [], style, color="black", linewidth=width, label=label)
        axes[0].fill_between([], [], color="black", alpha=0.15, linewidth=0, label="least to largest of all kernels")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        return {"windows": figure}
