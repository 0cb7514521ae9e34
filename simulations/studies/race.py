"""How many rollouts each baseline needs to reach a target return."""

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
from simulations.harness.statistics import Claim, Crossing, MonteCarloEstimate, crossing, resamples
from simulations.harness.study import Study, StudyConfig
from simulations.harness.tables import estimate_of, row_of

__all__ = ["Race", "RaceConfig"]

# Label to the baseline that runs under it.
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
    """Size of the study."""

    groups: tuple[int, ...] = (1, 2, 4, 8, 16)  # Rollouts per prompt
    history_groups: tuple[int, ...] = (1, 2)  # Rollouts per prompt for the baselines with a history
    # Step sizes; each baseline counts at the best one for each group size.
    learning_rates: tuple[float, ...] = (0.05, 0.06, 0.07, 0.085, 0.1, 0.12, 0.14)
    pass_rates: tuple[float, ...] = (0.4,)  # Mean values under the initial policy
    targets: tuple[float, ...] = (0.9, 0.95)  # Fractions of the gain in return of the best policy over the initial one
    reach: float = 720.0  # Rollouts of a run times its learning rate


class Race(Study):
    """Rollouts until the mean return over seeds has risen by 90 and 95 % of the gain of the best policy.

    The bandit has 32 prompts, 32 rollouts per step and a quadratic penalty with weight 0.15. The return is its
    objective, so that noise in the gradient costs return at every step size. All baselines start from the same bandits
    with the same random numbers. At one learning rate all of them run for the same number of rollouts, and the best
    rate of each counts. Standard errors come from resampling the repetitions, with the choice of the rate repeated in
    each resample. The rates are closely spaced: at a rate slightly too large the noise keeps the return just below the
    target, which would exaggerate differences between baselines. `group-mean` runs as leave-one-out, which it equals
    after tuning of learning rate and penalty. With the own reward in it, it would shrink the gradient of the value but
    not that of the penalty, and converge to another policy.
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
        """Each baseline with each of its training settings."""
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
                    gained = (bandit.objective(step.policy) - start) / gain
                    records.append((label, training.group_size, training.learning_rate, seen, gained))
        columns = dict(
            zip(("baseline", "group_size", "learning_rate", "rollouts"), zip(*records, strict=True), strict=False)
        )
        return {
            "repetition": np.tile(np.arange(repetitions), len(records)),
            **{name: np.repeat(list(column), repetitions) for name, column in columns.items()},
            "gained": np.concatenate([record[-1] for record in records]),
        }

    def tables(self, rows):
        by = list(_LABELS)
        weights = resamples(rows["repetition"].n_unique())
        found: dict[tuple, tuple[Crossing, float]] = {}
        for (*labels, rate), group in rows.group_by([*by[1:], "learning_rate"], maintain_order=True):
            curves = group.pivot("rollouts", index="repetition", values="gained").sort("repetition").drop("repetition")
            times = [float(name) for name in curves.columns]
            for target in self.config.targets:
                reached, key = crossing(times, curves.to_numpy(), target, weights), (target, *labels)
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
            # At the same group size the two are paired; the best of several group sizes is partly luck.
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
        """The ratio of a baseline at its best group size, or None if one of the two never reached the target."""
        rows = tables["ratios"].filter(pl.col("against").str.starts_with(against), baseline=name, **race)
        return rows.sort("value").row(0, named=True) if len(rows) else None

    def _races(self) -> list[dict[str, float]]:
        return [{"pass_rate": p, "target": target} for p in self.config.pass_rates for target in self.config.targets]

    def _excess(self, tables, group_size: int, race: dict[str, float]) -> MonteCarloEstimate:
        """Excess rollouts of `adaptive` over the oracle at one group size; NaN if one never reached the target."""
        rows = tables["ratios"].filter(
            against="oracle at the same G", baseline="adaptive", group_size=group_size, **race
        )
        return estimate_of(next(rows.iter_rows(named=True), None)).shifted(-1.0)

    def claims(self, tables):
        # Each group size separately, because the better of two is partly luck.
        claims = []
        for race in self._races():
            for g in self.config.history_groups:
                excess = self._excess(tables, g, race)
                text = f"rollouts to {100 * race['target']:g} % over those of the oracle at the same G, minus 1: "
                text += f"adaptive, G = {g}, initial pass rate {race['pass_rate']:g}"
                claims.append(Claim.at_most(text, excess, 0.02))
        return claims

    def remarks(self, tables):
        sentences = []
        for race in self._races():
            best = {name: self._best(tables, name, "group-mean", **race) for name in _ENTRIES}
            fractions = [
                f"{name} {row['value']:.2f} ± {row['standard_error']:.2f} (G = {row['group_size']})"
                for name, row in best.items()
                if row and name != "group-mean"
            ]
            if fractions:
                against = best["group-mean"]["against"]
                sentences.append(
                    f"Rollouts to {100 * race['target']:g} % as a fraction of those of {against}, initial pass rate "
                    f"{race['pass_rate']:g}: {', '.join(fractions)}."
                )
            by_group = {g: self._excess(tables, g, race) for g in self.config.history_groups}
            more = [
                f"{100 * excess.value:.1f} ± {100 * excess.standard_error:.1f} % (G = {g})"
                for g, excess in by_group.items()
                if math.isfinite(excess.value)
            ]
            if more:
                sentences.append(
                    f"Rollouts to {100 * race['target']:g} % that adaptive needs beyond the oracle at the same G, "
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
            panel.set(xscale="log", xlabel="rollouts per prompt, G", title=f"target {100 * race['target']:g} %")
            figures.ticks(panel, self.config.groups)
        axes[0].set_ylabel("rollouts to the target")
        if len(reached):
            axes[0].legend(frameon=False, fontsize="small")
        return {"rollouts": figure}
