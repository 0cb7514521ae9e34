"""Which baseline has the least gradient error where score norms go with the reward, against it, or not at all."""

# ruff: noqa: D102  (the methods are documented in Study)
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from kvar.rollouts.batch import sums_of_others
from simulations.bandit.score_norms import TAILS, NormConfig, rollouts_with_norms
from simulations.bandit.training import BaselineEach
from simulations.harness import figures
from simulations.harness.statistics import Claim, ratio_of
from simulations.harness.study import Study, StudyConfig
from simulations.harness.tables import estimate_of, row_of, sample

__all__ = ["ScoreNorms", "ScoreNormsConfig"]

_MINE, _BEST, _BATCH, _NUMBER = "variance-optimal", "optimal", "batch-mean, others", "one number"
_REGISTERED = (_MINE, "adaptive", "none")
_RIVALS = ("oracle", "adaptive", "none", _BATCH, _NUMBER)
_ALIKE, _DIFFERENT = "binary", "ratio differs"
# Tails and parameters of each setting.
_SETTINGS = {
    _ALIKE: (TAILS, {}),
    "fast drift": (TAILS[1:2], {"drift": 3.0}),
    "continuous": (TAILS[1:2], {"concentration": 2.0}),
    "few prompts": (TAILS[2:], {"n_prompts": 64, "batch_size": 16}),
    _DIFFERENT: (TAILS[1:2], {"ratio_spread": 0.5}),
}
_KEPT = 0.95  # of the sums behind the one number, a step


@dataclass(frozen=True)
class ScoreNormsConfig(StudyConfig):
    """Size of the study."""

    groups: tuple[int, ...] = (1, 2)  # Rollouts per prompt, G
    ratios: tuple[float, ...] = (0.15, 1.0, 6.0)  # Mean squared norm of the best reward over that of the worst, W1 / W0
    visits: int = 100  # Visits of each prompt
    warm_up: int = 50  # First visits, which are not counted


class ScoreNorms(Study):
    """Second moment of the gradient given the prompts, ``E[n (Z - b)^2]``, over its minimum.

    The gradient MSE given the prompts is ``E[n (Z - b)^2] - |g(x)|^2`` over the number of rollouts, with n the squared
    norm of the score. Scores of different rollouts are taken to be orthogonal, as they nearly are in many dimensions,
    so that ``|g(x)|^2`` is zero; with it, every excess over the optimum would be larger by one factor. The expectation
    given the values is exact. Each of 128 prompts, 64 a step, is visited 100 times, and the first 50 visits are not
    counted. Logits of values are normal with mean -0.5 and standard deviation 1.3 at the start and rise by 1.2 over the
    run, as fast as in `gradient-error`.

    ``n = scale (W0 + (W1 - W0) Z) e``, where the scale of a prompt is log-normal with sigma 0.5, and the factor e of a
    rollout is constant, log-normal with sigma 1, or the square of a t with three degrees of freedom, whose variance is
    infinite. One thing is changed at a time: with fast drift logits rise by 3; continuous rewards have a beta
    distribution with a third of the variance of binary ones; few prompts are 64, of which 16 a step; where the ratio
    differs, W1 / W0 has a log-normal factor of sigma 0.5 a prompt. One number for all prompts is ``sum n Z / sum n``
    over the other rollouts of the step and the recent past.
    """

    name: ClassVar[str] = "score-norms"
    title: ClassVar[str] = "Which baseline is best for the gradient where norm and reward go together?"
    full: ClassVar[ScoreNormsConfig] = ScoreNormsConfig(repetitions=16, block=8)
    quick: ClassVar[ScoreNormsConfig] = ScoreNormsConfig(repetitions=2, block=2, groups=(1,), visits=60)

    def cells(self):
        return [
            {"setting": setting, "tails": tails, "ratio": ratio, "group_size": group}
            for setting, (shown, _) in _SETTINGS.items()
            for tails in shown
            for ratio in self.config.ratios
            for group in self.config.groups
        ]

    def simulate(self, cell, repetitions, rng):
        _, given = _SETTINGS[cell["setting"]]
        norms = NormConfig(cell["ratio"], cell["tails"], cell["group_size"], visits=self.config.visits, **given)
        each = {name: BaselineEach(name, repetitions) for name in _REGISTERED}
        number = _OneNumber(repetitions)
        skipped = self.config.warm_up * (norms.n_prompts // norms.batch_size)
        moments = dict.fromkeys((_BEST, _MINE, *_RIVALS), 0.0)
        for step in rollouts_with_norms(norms, repetitions, rng):
            rewards, values = step.rewards, step.values[..., None]
            used = {
                name: rewards - one.advantages(step.prompts, rewards, step.number, score_norm=np.sqrt(step.squares))
                for name, one in each.items()
            }
            used[_BEST], used["oracle"] = values + step.moments.optimal_shift, values
            used[_BATCH] = _of_others(rewards) / (rewards[0].size - 1)
            used[_NUMBER] = number.step(rewards, step.squares)
            if step.number > skipped:
                for name in moments:
                    moments[name] = moments[name] + step.second_moment(used[name])
        return {
            "repetition": np.tile(np.arange(repetitions), len(moments)),
            "baseline": np.repeat(list(moments), repetitions),
            "moment": np.concatenate(list(moments.values())),
        }

    def tables(self, rows):
        excess, regret = [], []
        for labels, cell in rows.group_by(["setting", "tails", "ratio", "group_size"], maintain_order=True):
            named = dict(zip(("setting", "tails", "ratio", "group_size"), labels, strict=True))
            moment = {name: sample(cell, "moment", baseline=name) for name in (_BEST, _MINE, *_RIVALS)}

            def over(name, other, moment=moment):
                return ratio_of(moment[name] - moment[other], moment[other])

            excess += [row_of(over(name, _BEST), **named, baseline=name) for name in (_MINE, *_RIVALS)]
            better = min(("adaptive", "none"), key=lambda name: moment[name].mean())
            regret.append(row_of(over(_MINE, better), **named, against=better))
        return {"excess": pl.DataFrame(excess), "regret": pl.DataFrame(regret)}

    def claims(self, tables):
        mine, regret = tables["excess"].filter(baseline=_MINE), tables["regret"]
        unrelated = regret.filter(pl.col("setting") != _DIFFERENT, ratio=1.0)
        asked = [
            *((f"the optimum, {setting}", mine.filter(setting=setting), 0.02) for setting in _SETTINGS),
            ("adaptive, norm and reward unrelated", unrelated, 0.01),
            ("the better of adaptive and none", regret, 0.02),
        ]
        claims = []
        for text, rows, bound in asked:
            for group in self.config.groups:
                worst = max(rows.filter(group_size=group).iter_rows(named=True), key=lambda row: row["value"])
                where = f"{worst['setting']}, {worst['tails']} norms, W1 / W0 = {worst['ratio']:g}"
                statement = f"{_MINE} over {text}, minus 1, worst cell at G = {group}: {where}"
                claims.append(Claim.at_most(statement, estimate_of(worst), bound))
        return claims

    def remarks(self, tables):
        excess = tables["excess"]
        sentences = []
        for (ratio, group), rows in excess.filter(setting=_ALIKE).group_by(
            ["ratio", "group_size"], maintain_order=True
        ):
            found = {
                name: [100 * row["value"] for row in rows.filter(baseline=name).iter_rows(named=True)]
                for name in (_MINE, *_RIVALS)
            }
            said = ", ".join(f"{name} {' / '.join(f'{x:.1f}' for x in values)} %" for name, values in found.items())
            tails = " / ".join(rows["tails"].unique(maintain_order=True))
            sentences.append(f"W1 / W0 = {ratio:g}, G = {group}, {tails} norms, over the optimum: {said}.")
        ratios = " / ".join(f"{ratio:g}" for ratio in self.config.ratios)
        for (setting, group), rows in excess.filter(pl.col("setting") != _ALIKE).group_by(
            ["setting", "group_size"], maintain_order=True
        ):
            found = {
                name: " / ".join(f"{100 * x:.1f}" for x in rows.filter(baseline=name)["value"])
                for name in (_MINE, "oracle")
            }
            sentences.append(
                f"{setting.capitalize()}, {rows['tails'][0]} norms, G = {group}: at W1 / W0 = {ratios}, {_MINE} is "
                f"{found[_MINE]} % over the optimum, the exact value {found['oracle']} %."
            )
        return sentences

    def pictures(self, tables):
        groups = self.config.groups
        figure, panels = figures.panels(len(groups))
        shown = tables["excess"].filter(setting=_ALIKE, tails=TAILS[1])
        for axes, group in zip(panels, groups, strict=True):
            for (name,), rows in shown.filter(group_size=group).group_by(["baseline"], maintain_order=True):
                axes.errorbar(
                    rows["ratio"], 100 * rows["value"], 200 * rows["standard_error"], **figures.line(name), label=name
                )
            axes.set(
                xscale="log",
                ylim=(0, 2e4),
                xlabel="W1 / W0",
                ylabel="second moment over the least, %",
                title=f"G = {group}",
            )
            axes.set_yscale("symlog", linthresh=1.0)
            figures.ticks(axes, self.config.ratios)
        panels[0].legend(frameon=False, fontsize="small", ncols=2, loc="upper center")
        return {"excess": figure}


class _OneNumber:
    """``sum n Z / sum n`` over the other rollouts of the step and the recent past, one number for all prompts."""

    def __init__(self, repetitions: int):
        self._sums = np.zeros((2, repetitions, 1, 1))

    def step(self, rewards: np.ndarray, squares: np.ndarray) -> np.ndarray:
        """Baselines of a step, whose rollouts are then remembered."""
        columns = (squares * rewards, squares)
        total, mass = (_of_others(column) + past for column, past in zip(columns, self._sums, strict=True))
        self._sums = _KEPT * self._sums + np.stack([column.sum(axis=(1, 2), keepdims=True) for column in columns])
        return total / mass


def _of_others(column: np.ndarray) -> np.ndarray:
    """Sum over the other rollouts of the step in every repetition."""
    return sums_of_others(column.reshape(len(column), -1)).reshape(column.shape)
