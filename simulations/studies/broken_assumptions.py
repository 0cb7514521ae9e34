"""The assumptions of the theory, broken one at a time, and what to do about it."""

# ruff: noqa: D102  (the methods are documented in Study)
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from kvar.baselines.score_weighted import ScoreWeighted
from simulations.bandit.bandits import BanditConfig, PolicyBandit
from simulations.bandit.gradient_errors import PairedBaselines, gradient_errors
from simulations.bandit.rewards import BinaryRewards, HeavyTailedRewards
from simulations.bandit.training import BaselineEach, TrainingConfig, train
from simulations.harness import figures
from simulations.harness.study import Study, StudyConfig
from simulations.harness.tables import summary

__all__ = ["BrokenAssumptions", "BrokenAssumptionsConfig"]

_JUMP, _DRIFT, _NORM, _ONCE, _TAILS = "jump", "fast drift", "score norm", "never again", "heavy tails"
_TRACKERS = {
    "kernel": ("kernel", {}),
    "adaptive": ("adaptive", {}),
    "leave-one-out": ("leave-one-out", {}),
}


@dataclass(frozen=True)
class BrokenAssumptionsConfig(StudyConfig):
    """Size of the study."""

    steps: int = 200  # Length of a run
    drifts: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1)  # Change of the value between two visits
    # Completions per prompt; with few of them the norm of the score and the reward are strongly correlated.
    completions: tuple[int, ...] = (2, 4, 8, 16, 32)
    degrees: tuple[float, ...] = (2.1, 2.5, 3.0, 5.0, 30.0)  # Degrees of freedom of the distribution of the rewards
    groups: tuple[int, ...] = (1, 2, 4, 8)  # Rollouts per prompt where each prompt comes once


class BrokenAssumptions(Study):
    """Values that jump or drift fast, rewards correlated with the norm of the score or heavy-tailed, prompts seen once.

    Jumps, drift and heavy tails are simulated on 16 prompts that come at every step and follow given value paths, with
    eight rollouts each (two for heavy tails). For heavy tails the table has the median over repetitions: all rewards
    have variance 1/4, so that the value MSE of a linear estimate does not depend on the tails, but most of it comes
    from rare runs, which a mean over few repetitions misses. The norm of the score is studied by the gradient of a
    bandit with pass rate 0.7 whose policy hardly moves, and prompts seen once by that of a bandit in training.
    """

    name: ClassVar[str] = "broken-assumptions"
    title: ClassVar[str] = "What if the assumptions do not hold?"
    full: ClassVar[BrokenAssumptionsConfig] = BrokenAssumptionsConfig(repetitions=40, block=10)
    quick: ClassVar[BrokenAssumptionsConfig] = BrokenAssumptionsConfig(
        repetitions=4,
        block=4,
        steps=120,
        drifts=(0.001, 0.01, 0.1),
        completions=(2, 8, 32),
        degrees=(2.1, 3.0, 30.0),
        groups=(1, 4),
    )
    n_prompts: ClassVar[int] = 16

    def cells(self):
        config = self.config
        settings = {
            _JUMP: (0.0,),
            _DRIFT: config.drifts,
            _NORM: config.completions,
            _ONCE: config.groups,
            _TAILS: config.degrees,
        }
        return [{"broken": kind, "setting": float(x)} for kind, values in settings.items() for x in values]

    def simulate(self, cell, repetitions, rng):
        kind, setting = cell["broken"], cell["setting"]
        if kind == _NORM:
            found = self._score_norm(int(setting), repetitions, rng)
        elif kind == _ONCE:
            found = self._never_again(int(setting), repetitions, rng)
        else:
            time = np.arange(1, self.config.steps + 1)
            shape = (repetitions, self.n_prompts, len(time))
            if kind == _JUMP:
                up = rng.random(shape[:2]) < 0.5
                before = np.where(up, 0.2, 0.7)[..., None]
                values = np.where(time <= self.config.steps // 2, before, 0.9 - before)
            elif kind == _DRIFT:
                # Up and down between 0.2 and 0.8; each prompt starts elsewhere, so that prompts share no drift.
                place = np.mod(setting * time + 1.2 * rng.random((*shape[:2], 1)), 1.2)
                values = 0.2 + np.minimum(place, 1.2 - place)
            else:
                values = np.broadcast_to(rng.uniform(0.2, 0.8, shape[:2])[..., None], shape)
            found = self._tracked(
                kind, values, HeavyTailedRewards(0.5, setting) if kind == _TAILS else BinaryRewards(), rng
            )
        return {
            "repetition": np.tile(np.arange(repetitions), len(found)),
            "baseline": np.repeat([name for name, _, _ in found], repetitions),
            "x": np.repeat([float(x) for _, x, _ in found], repetitions),
            "error": np.concatenate([error for _, _, error in found]),
        }

    def _tracked(self, kind, values, law, rng) -> list[tuple[str, float, np.ndarray]]:
        """Value MSE on given paths: at every step around a jump, else the mean over the last two thirds of the run."""
        repetitions, n_prompts, steps = values.shape
        prompts = np.broadcast_to(np.arange(n_prompts), (repetitions, n_prompts))
        baselines, group = dict(_TRACKERS), 2 if kind == _TAILS else 8
        if kind == _TAILS:
            baselines["kernel, rewards clipped"] = ("kernel", {})
        each = {label: BaselineEach(name, repetitions, **parameters) for label, (name, parameters) in baselines.items()}
        errors = {label: np.empty((repetitions, steps)) for label in each}
        for step in range(1, steps + 1):
            value = values[..., step - 1]
            rewards = law.sample(np.repeat(value[..., None], group, axis=2), rng)
            for label, baseline in each.items():
                shown = np.clip(rewards, -1.0, 2.0) if "clipped" in label else rewards
                estimate = shown - baseline.advantages(prompts, shown, step)
                errors[label][:, step - 1] = ((estimate - value[..., None]) ** 2).mean(axis=(1, 2))
        if kind == _JUMP:
            shown = range(steps // 2 - 20, steps // 2 + 60)
            return [(label, s + 1 - steps // 2, error[:, s]) for label, error in errors.items() for s in shown]
        return [(label, 0.0, error[:, steps // 3 :].mean(axis=1)) for label, error in errors.items()]

    def _score_norm(self, completions, repetitions, rng):
        """Excess gradient MSE with many visits, of a policy that hardly moves."""
        bandit = PolicyBandit(BanditConfig(self.n_prompts, completions, pass_rate=0.7, spread=0.1), repetitions, rng)
        training = TrainingConfig(self.config.steps, self.n_prompts, 2, 0.01)
        window = {"bandwidth": 50}
        return self._excess(
            bandit, training, rng, {"kernel": ("kernel", window), "score-weighted": (ScoreWeighted, window)}
        )

    def _never_again(self, group, repetitions, rng):
        """Excess gradient MSE where every prompt comes once."""
        steps = self.config.steps // 2
        bandit = PolicyBandit(BanditConfig(16 * steps, n_completions=8, n_features=4), repetitions, rng)
        more = {"batch-mean": ("batch-mean", {}), "james-stein": ("james-stein", {})}
        found = self._excess(bandit, TrainingConfig(steps, 16, group, 0.1, schedule="once"), rng, _TRACKERS | more)
        return [each for each in found if each[0] != "optimal"]

    def _excess(self, bandit, training, rng, baselines) -> list[tuple[str, float, np.ndarray]]:
        """What baselines add to the gradient MSE of the oracle, as a fraction of it, from exact moments."""
        seen = PairedBaselines(bandit, baselines)
        excess, skipped = dict.fromkeys([*baselines, "optimal"], 0.0), training.steps // 3
        for step in train(bandit, training, rng, BaselineEach("oracle", bandit.repetitions)):
            advantages, moments = seen.advantages(step), step.rollouts.moments
            if step.number <= skipped:
                continue
            advantages["optimal"] = step.rollouts.rewards - step.rollouts.values[..., None] - moments.optimal_shift
            for name, of_baseline in advantages.items():
                errors = gradient_errors(bandit, step, of_baseline)
                added = errors["baseline_part"] / (errors["prompt_part"] + errors["reward_part"])
                excess[name] = excess[name] + added / (training.steps - skipped)
        return [(name, 0.0, added) for name, added in excess.items()]

    def tables(self, rows):
        # The horizontal axis is the step around a jump, else the setting.
        placed = rows.with_columns(x=pl.when(broken=_JUMP).then("x").otherwise("setting"))
        by = ["broken", "baseline", "x"]
        means = summary(placed.filter(pl.col("broken") != _TAILS), by, ["error"])
        return {"errors": pl.concat([means, _medians(placed.filter(broken=_TAILS), by)])}

    def claims(self, tables):
        return []

    def _curve(self, tables, kind, name) -> dict[float, float]:
        rows = tables["errors"].filter(broken=kind, baseline=name)
        return dict(rows.select("x", "error").iter_rows())

    def remarks(self, tables):
        return [
            self._jump_remark(tables),
            self._drift_remark(tables),
            self._norm_remark(tables),
            self._single_visit_remark(tables),
            self._tail_remark(tables),
        ]

    def _jump_remark(self, tables) -> str:
        curves = {name: self._curve(tables, _JUMP, name) for name in _TRACKERS}
        after = {name: np.array([e for x, e in curve.items() if x > 0]) for name, curve in curves.items()}
        kernel, adaptive = (int((after[name] > after["leave-one-out"]).sum()) for name in ("kernel", "adaptive"))
        return (
            f"Jump: after a jump of 0.5, kernel is worse than leave-one-out with a group of eight for {kernel} steps, "
            f"adaptive for {adaptive}. Advice: do nothing where jumps are rare; start a new history after a change of "
            "task or reward."
        )

    def _drift_remark(self, tables) -> str:
        kernel, adaptive, group = (self._curve(tables, _DRIFT, name) for name in _TRACKERS)
        fastest = max(kernel)
        lost = [f"{x:g}" for x in kernel if kernel[x] > group[x]]
        return (
            f"Fast drift: where values move by {fastest:g} per visit, the value MSE of kernel with a window of 10 is "
            f"{kernel[fastest] / group[fastest]:.2f} times that of leave-one-out, the value MSE of adaptive "
            f"{adaptive[fastest] / group[fastest]:.2f} times; kernel loses at a drift of {', '.join(lost) or 'none'}. "
            'Advice: let adaptive or bandwidth="auto" choose the window.'
        )

    def _norm_remark(self, tables) -> str:
        best, weighted, kernel = (self._curve(tables, _NORM, n) for n in ("optimal", "score-weighted", "kernel"))
        few, many = min(best), max(best)
        return (
            f"Score norm: against the oracle, with {few:g} completions per prompt, the variance-optimal baseline "
            f"changes the gradient MSE by {100 * best[few]:+.0f} %, its kernel estimate by "
            f"{100 * weighted[few]:+.0f} %, the kernel estimate of the value by {100 * kernel[few]:+.0f} %; with "
            f"{many:g} completions by {100 * best[many]:+.1f}, {100 * weighted[many]:+.1f} and "
            f"{100 * kernel[many]:+.1f} %. Advice: weight rewards by squared score norms where prompts have few "
            "answers; with many answers the value suffices."
        )

    def _single_visit_remark(self, tables) -> str:
        adaptive, left_out, batch = (self._curve(tables, _ONCE, n) for n in ("adaptive", "leave-one-out", "batch-mean"))
        one, most = min(adaptive), max(adaptive)
        return (
            f"Never again: for prompts that come once, adaptive adds {100 * adaptive[one]:.0f} % to the gradient MSE "
            f"of the oracle at G = {one:g} and batch-mean {100 * batch[one]:.0f} %; at G = {most:g} adaptive adds "
            f"{100 * adaptive[most]:.0f} % and leave-one-out {100 * left_out[most]:.0f} %. Advice: history cannot help "
            "here; keep mini-batches for several steps, or rely on shrinkage across prompts."
        )

    def _tail_remark(self, tables) -> str:
        clipped, kernel, adaptive = (
            self._curve(tables, _TAILS, name) for name in ("kernel, rewards clipped", "kernel", "adaptive")
        )
        heaviest = min(kernel)
        return (
            f"Heavy tails: with {heaviest:g} degrees of freedom, clipping the rewards to [-1, 2] leaves "
            f"{clipped[heaviest] / kernel[heaviest]:.2f} of the median value MSE of kernel; adaptive without clipping "
            f"has {adaptive[heaviest] / kernel[heaviest]:.2f} of it. Advice: clip unbounded rewards before they reach "
            "a baseline."
        )

    def pictures(self, tables):
        drawn = {}
        axes_of = {
            _JUMP: ("steps after the jump", "value MSE", {}),
            _DRIFT: ("change of the value between visits", "value MSE", {"xscale": "log"}),
            _NORM: ("completions per prompt", "excess gradient MSE, %", {"xscale": "log", "yscale": "symlog"}),
            _ONCE: ("rollouts per prompt, G", "excess gradient MSE, %", {"xscale": "log", "yscale": "log"}),
            _TAILS: ("degrees of freedom", "value MSE", {"xscale": "log", "yscale": "log"}),
        }
        for kind, (xlabel, ylabel, scales) in axes_of.items():
            # Wider where the settings lie close together, so that their labels stay apart.
            figure, (axes,) = figures.panels(1, width=6.4 if kind == _TAILS else 4.2)
            factor = 100.0 if "%" in ylabel else 1.0
            for (name,), group in tables["errors"].filter(broken=kind).group_by(["baseline"], maintain_order=True):
                axes.errorbar(
                    group["x"], factor * group["error"], 2 * factor * group["error_se"],
                    markevery=10 if kind == _JUMP else 1, elinewidth=0.7, **figures.line(name), label=name,
                )  # fmt: skip
            axes.set(xlabel=xlabel, ylabel=ylabel, **scales)
            if kind != _JUMP:
                figures.ticks(axes, sorted(tables["errors"].filter(broken=kind)["x"].unique()))
            figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
            drawn[kind.replace(" ", "-")] = figure
        return drawn


def _medians(rows: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """As `summary`, with medians: a mean of squares has no finite variance at four degrees of freedom or less."""
    median = pl.col("error").median()
    # The number of repetitions below the true median has mean n / 2 and standard deviation sqrt(n) / 2.
    rank = pl.col("error").rank(method="ordinal") - (pl.len() + 1) / 2
    near = pl.col("error").filter(rank.abs() <= pl.len().sqrt() / 2)
    spread = ((near.max() - near.min()) / 2).alias("error_se")
    return rows.group_by(by, maintain_order=True).agg(median, spread, pl.len().alias("repetitions"))
