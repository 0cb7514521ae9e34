"""An equal-rollout race: how many rollouts each baseline needs to reach a target return."""

# ruff: noqa: D102  (the methods are documented in Study)
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from simulations.bandit.bandits import BanditConfig, PolicyBandit
from simulations.bandit.training import BaselineEach, TrainingConfig, optimum, train
from simulations.harness import figures
from simulations.harness.statistics import Claim, Crossing, Estimate, crossing, resamples
from simulations.harness.study import Study, StudyConfig
from simulations.harness.tables import estimate_of, row_of

__all__ = ["Race", "RaceConfig"]

# Label to the baseline that is run.
_ENTRIES = {"oracle": "oracle", "adaptive": "adaptive", "kernel": "kernel", "group-mean": "leave-one-out"}

_LABELS = {"target": pl.Float64, "pass_rate": pl.Float64, "baseline": pl.String, "group_size": pl.Int64}
_NEEDED = _LABELS | {
    "learning_rate": pl.Float64,
    "rollouts": pl.Float64,
    "rollouts_se": pl.Float64,
    "repetitions": pl.Int64,
}
_RATIOS = _LABELS | {
    "against": pl.String,
    "value": pl.Float64,
    "standard_error": pl.Float64,
    "repetitions": pl.Int64,
}


@dataclass(frozen=True)
class RaceConfig(StudyConfig):
    """Size of the study.

    Attributes
    ----------
    groups : tuple of int
        Rollouts a prompt.
    history_groups : tuple of int
        Those of the baselines with a history.
    learning_rates : tuple of float
        Step sizes; each baseline is judged at its best, group by group.
    pass_rates : tuple of float
        Mean values under the initial policy.
    targets : tuple of float
        Shares of what the best policy could add to the return.
    reach : float
        Rollouts of a run times its learning rate.
    """

    groups: tuple[int, ...] = (1, 2, 4, 8, 16)
    history_groups: tuple[int, ...] = (1, 2)
    learning_rates: tuple[float, ...] = (0.05, 0.06, 0.07, 0.085, 0.1, 0.12, 0.14)
    pass_rates: tuple[float, ...] = (0.4,)
    targets: tuple[float, ...] = (0.9, 0.95)
    reach: float = 720.0


class Race(Study):
    """Rollouts until the mean return over seeds has risen by 90 and by 95 % of what the best policy could add.

    The bandit has 32 prompts, 32 rollouts a step and a quadratic penalty with weight 0.15; the return is its
    objective, so that noise in the gradient costs return at every step size. All entries start from the same bandits
    with the same random numbers and run equally long at each learning rate, of which the best one counts; errors are
    by resampling repetitions, the choice of the rate included. The rates lie close, for at one that is a little too
    large the noise holds the return just below the target, and what tells two baselines apart counts for more than at
    the best. `group-mean` enters as the mean of the others in the group, which is what it becomes when learning rate
    and penalty are tuned to it: with the own reward in it, it would shrink the gradient of the value beside that of
    the penalty and head for another policy.
    """

    name: ClassVar[str] = "race"
    title: ClassVar[str] = "How many rollouts does it take to reach a target return?"
    full: ClassVar[RaceConfig] = RaceConfig(repetitions=400, block=20)
    quick: ClassVar[RaceConfig] = RaceConfig(
        repetitions=8,
        block=4,
        groups=(1, 4, 8),
        history_groups=(1,),
        learning_rates=(0.1, 0.12),
        targets=(0.9,),
    )
    per_step: ClassVar[int] = 32

    def cells(self):
        return [{"pass_rate": p} for p in self.config.pass_rates]

    def _entries(self):
        """Each baseline with the settings that it runs at."""
        config = self.config
        for label, name in _ENTRIES.items():
            for group in config.history_groups if label in ("adaptive", "kernel") else config.groups:
                for rate in config.learning_rates:
                    if group > 1 or label != "group-mean":
                        steps = math.ceil(config.reach / rate / self.per_step)
                        yield label, name, TrainingConfig(steps, self.per_step // group, group, rate)

    def simulate(self, cell, repetitions, rng):
        bandit = PolicyBandit(
            BanditConfig(32, pass_rate=cell["pass_rate"], individual=math.sqrt(32), ridge=0.15), repetitions, rng
        )
        start = bandit.objective(bandit.initial_policy())
        gain = bandit.objective(optimum(bandit)) - start
        seed = int(rng.integers(2**63))
        records = []
        for label, name, training in self._entries():
            baseline = BaselineEach(name, repetitions)
            for step in train(bandit, training, np.random.default_rng(seed), baseline):
                if step.number % 5 == 1:
                    seen = (step.number - 1) * self.per_step
                    share = (bandit.objective(step.policy) - start) / gain
                    records.append((label, training.group_size, training.learning_rate, seen, share))
        columns = dict(
            zip(("baseline", "group_size", "learning_rate", "rollouts"), zip(*records, strict=True), strict=False)
        )
        return {
            "repetition": np.tile(np.arange(repetitions), len(records)),
            **{name: np.repeat(list(column), repetitions) for name, column in columns.items()},
            "share": np.concatenate([record[-1] for record in records]),
        }

    def tables(self, rows):
        by = list(_LABELS)
        shares = resamples(rows["repetition"].n_unique())
        found: dict[tuple, tuple[Crossing, float]] = {}
        for (*labels, rate), group in rows.group_by([*by[1:], "learning_rate"], maintain_order=True):
            curves = group.pivot("rollouts", index="repetition", values="share").sort("repetition").drop("repetition")
            times, of_each = [float(name) for name in curves.columns], curves.to_numpy()
            for target in self.config.targets:
                reached, key = crossing(times, of_each, target, shares), (target, *labels)
                best, its_rate = found.get(key, (reached, rate))
                found[key] = (reached.or_sooner(best), rate if reached.time < best.time else its_rate)
        needed = []
        for key, (reached, rate) in found.items():
            row = dict(zip(by, key, strict=True)) | {"repetitions": reached.repetitions}
            if math.isfinite(reached.time):
                row |= {"learning_rate": rate, "rollouts": reached.time, "rollouts_se": reached.standard_error}
            needed.append(row)
        times = {key: reached for key, (reached, _) in found.items() if math.isfinite(reached.time)}
        ratios = []
        for key, reached in times.items():
            # The best of several group sizes owes something to luck; at the same one the two are paired.
            rivals = {"oracle at the same G": (*key[:2], "oracle", key[-1])}
            for against in ("oracle", "group-mean"):
                entries = [entry for entry in times if entry[:3] == (*key[:2], against)]
                best = min(entries, key=lambda entry: times[entry].time, default=None)
                rivals |= {f"{against} at its best G = {best[-1]}": best} if best else {}
            for against, rival in rivals.items():
                if rival in times:
                    labels = dict(zip(by, key, strict=True)) | {"against": against}
                    ratios.append(row_of(reached.over(times[rival]), **labels))
        return {"needed": pl.DataFrame(needed, schema=_NEEDED), "ratios": pl.DataFrame(ratios, schema=_RATIOS)}

    def _best(self, tables, name: str, against: str, **race: float) -> dict | None:
        """The ratio of a baseline at its best group, or None if one of the two never reached the target."""
        rows = tables["ratios"].filter(pl.col("against").str.starts_with(against), baseline=name, **race)
        return rows.sort("value").row(0, named=True) if len(rows) else None

    def _races(self) -> list[dict[str, float]]:
        return [{"pass_rate": p, "target": target} for p in self.config.pass_rates for target in self.config.targets]

    def _beside_the_oracle(self, tables, group_size: int, race: dict[str, float]) -> Estimate:
        """What `adaptive` needs beyond the oracle at one group size; unknown if one of the two never got there."""
        rows = tables["ratios"].filter(
            against="oracle at the same G", baseline="adaptive", group_size=group_size, **race
        )
        return estimate_of(next(rows.iter_rows(named=True), None)).shifted(-1.0)

    def claims(self, tables):
        # Every group size by itself: the better of two would owe something to luck.
        claims = []
        for race in self._races():
            for g in self.config.history_groups:
                excess = self._beside_the_oracle(tables, g, race)
                text = f"rollouts to {100 * race['target']:g} % over the oracle's at the same G, less 1: adaptive, "
                text += f"G = {g}, initial pass rate {race['pass_rate']:g}"
                claims.append(Claim.at_most(text, excess, 0.02))
        return claims

    def remarks(self, tables):
        sentences = []
        for race in self._races():
            best = {name: self._best(tables, name, "group-mean", **race) for name in _ENTRIES}
            told = [
                f"{name} {row['value']:.2f} ± {row['standard_error']:.2f} (G = {row['group_size']})"
                for name, row in best.items()
                if row and name != "group-mean"
            ]
            if told:
                against = best["group-mean"]["against"]
                sentences.append(
                    f"Rollouts to {100 * race['target']:g} % as a share of {against}, initial pass rate "
                    f"{race['pass_rate']:g}: {', '.join(told)}."
                )
            beside = {g: self._beside_the_oracle(tables, g, race) for g in self.config.history_groups}
            more = [
                f"{100 * excess.value:.1f} ± {100 * excess.standard_error:.1f} % (G = {g})"
                for g, excess in beside.items()
                if math.isfinite(excess.value)
            ]
            if more:
                sentences.append(
                    f"Rollouts to {100 * race['target']:g} % that adaptive needs over the oracle's at the same G, "
                    f"initial pass rate {race['pass_rate']:g}: {', '.join(more)}."
                )
        return sentences

    def pictures(self, tables):
        races = self._races()
        figure, axes = figures.panels(len(races))
        reached = tables["needed"].drop_nulls("rollouts")
        for panel, race in zip(axes, races, strict=True):
            for (name,), group in reached.filter(**race).group_by(["baseline"], maintain_order=True):
                panel.errorbar(
                    group["group_size"], group["rollouts"], 1.96 * group["rollouts_se"],
                    **figures.line(name), label=name,
                )  # fmt: skip
            panel.set(xscale="log", xlabel="rollouts a prompt, G", title=f"target {100 * race['target']:g} %")
            figures.ticks(panel, self.config.groups)
        axes[0].set_ylabel("rollouts to the target")
        if len(reached):
            axes[0].legend(frameon=False, fontsize="small")
        return {"rollouts": figure}
