"""Whether the findings of an audit are right, on runs whose values are known."""

# ruff: noqa: D102  (the methods are documented in Study)
from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

import kvar
from kvar.auditing.prompt_verdicts import FALSE_DISCOVERY_RATE, SOLVED, PromptVerdicts
from simulations.harness import figures
from simulations.harness.statistics import Claim, MonteCarloEstimate
from simulations.harness.study import Study, StudyConfig
from simulations.harness.tables import summary

__all__ = ["AuditFindings", "AuditFindingsConfig"]

_KEPT_RUNS = Path(__file__).parents[2] / "recorded_runs"
_BASELINES = ("leave-one-out", "group-mean", "kernel", "adaptive")
_JUDGED = ("forgotten", "improving", "stuck", "solved")
# Of the finding "all right" and its like: a fraction above the first must be found, one below the second must not.
_MANY, _FEW = 0.1, 0.05


@dataclass(frozen=True)
class AuditFindingsConfig(StudyConfig):
    """Size of the study."""

    prompts: int = 96  # Prompts of a simulated run
    steps: int = 120  # Its steps
    batch: int = 32  # Prompts a step
    kept: tuple[str, ...] = ("slow", "fast", "jumping", "epoch-g4", "epoch-g8", "block-g4", "independent-g4")


class AuditFindings(Study):
    """How often each kind of finding appears where it must and where it must not.

    Simulated runs have 96 prompts of constant values between 0.2 and 0.8, epochs in random order and four binary
    rewards a group. In each kind of run one thing is wrong. Kept runs are those of the tiny language model, with
    rewards drawn anew from their exact values. A kind must appear where the truth is clear: more than 10 % of the
    groups are expected to be all right (all wrong), a tenth of the prompts moves, and so on; it must not where the
    truth is below 5 %, or 0. Between the two it may. What is counted is a finding of any severity but info, and for
    verdicts on prompts any finding at all. A verdict is right if the least-squares slope of the true values has its
    sign, or if the true value at the last visit is beyond its threshold.
    """

    name: ClassVar[str] = "audit-findings"
    title: ClassVar[str] = "Are the findings of an audit right?"
    full: ClassVar[StudyConfig] = AuditFindingsConfig(repetitions=20, block=4)
    quick: ClassVar[StudyConfig] = AuditFindingsConfig(repetitions=2, block=1)

    def cells(self):
        return [{"run": run} for run in (*_WRONG, *self.config.kept)]

    def simulate(self, cell, repetitions, rng):
        rows = []
        for repetition in range(repetitions):
            run = self._run(cell["run"], rng)
            with np.errstate(invalid="ignore"):
                rows += [{"repetition": repetition, **row} for row in _judged(run)]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def _run(self, name: str, rng: np.random.Generator) -> _Run:
        config = self.config
        if name in config.kept:
            kept = kvar.read_trace(_KEPT_RUNS / f"{name}.parquet")
            columns = {key: kept.columns[key] for key in ("step", "prompt_id", "rollout", "true_value")}
            reward = (rng.random(len(kept)) < kept.extras["true_value"]).astype(np.float64)
            return _Run(name, kvar.Trace.from_columns({**columns, "reward": reward}))
        values = np.tile(rng.uniform(0.2, 0.8, config.prompts), (config.steps, 1))
        epochs = -(-config.steps * config.batch // config.prompts)
        order = np.concatenate([rng.permutation(config.prompts) for _ in range(epochs)])
        ids = order[: config.steps * config.batch].reshape(config.steps, config.batch)
        return _WRONG[name](_Sketch(values, ids, 4), rng).drawn(name, rng)

    def tables(self, rows):
        asked = rows.filter(pl.col("must").is_not_nan())
        kinds = summary(asked, ["kind", "must"], ["appeared"])
        wide = [
            kinds.filter(must=must).select("kind", pl.col("appeared", "appeared_se", "repetitions").name.prefix(prefix))
            for must, prefix in ((1.0, "must_"), (0.0, "must_not_"))
        ]
        verdicts = rows.filter(pl.col("kind").is_in(_JUDGED))
        false = summary(verdicts, ["kind", "run"], ["false_fraction", "found"])
        return {
            "kinds": wide[0].join(wide[1], "kind", "full", coalesce=True).sort("kind"),
            "verdicts": summary(verdicts, ["kind"], ["false_fraction"]).join(
                verdicts.filter(must=1.0).group_by("kind").agg(
                    sensitivity=(pl.col("found") - pl.col("false")).sum() / pl.col("true").sum()
                ), "kind", "left", maintain_order="left"),
            "verdicts-by-run": false,
            "every": summary(asked, ["run", "kind", "must"], ["appeared"]),
        }  # fmt: skip

    def claims(self, tables):
        claims: list[Claim] = []
        for row in tables["verdicts"].iter_rows(named=True):
            rate = MonteCarloEstimate(row["false_fraction"], row["false_fraction_se"], row["repetitions"])
            claims.append(
                Claim.at_most(f"False discovery rate of the verdict {row['kind']}", rate, FALSE_DISCOVERY_RATE)
            )
        return claims

    def pictures(self, tables):
        figure, (left, right) = figures.panels(2)
        kinds = tables["kinds"]
        for axes, name, title in ((left, "must_", "where it must appear"), (right, "must_not_", "where it must not")):
            places = np.arange(len(kinds))
            axes.barh(places, 100 * kinds[f"{name}appeared"].fill_null(np.nan).to_numpy(), color="C0")
            axes.set(xlabel="appears in % of the runs", title=title, xlim=(0, 100))
            axes.set_yticks(places, kinds["kind"] if axes is left else [""] * len(places))
        return {"kinds": figure}


@dataclass(frozen=True)
class _Run:
    name: str
    trace: kvar.Trace
    as_log: bool = False


@dataclass
class _Sketch:
    """What a run is drawn from: values by step and prompt, ids by step, group size, and what is done afterwards."""

    values: np.ndarray
    ids: np.ndarray
    group: int
    norm_ratio: float = 1.0
    filtered: bool = False
    bonus: bool = False
    copies: bool = False

    def drawn(self, name: str, rng: np.random.Generator) -> _Run:
        """Draw the rewards."""
        step = np.repeat(np.arange(len(self.ids)), self.ids.shape[1] * self.group)
        ids = np.repeat(self.ids.ravel(), self.group)
        value = self.values[step, ids]
        reward = (rng.random(len(value)) < value).astype(np.float64)
        norm = np.where(reward > 0, np.sqrt(self.norm_ratio), 1.0) * rng.uniform(0.5, 1.5, len(value))
        kept = np.ones(len(value), dtype=bool)
        if self.filtered:
            groups = reward.reshape(-1, self.group)
            kept = np.repeat(groups.min(axis=1) < groups.max(axis=1), self.group)
        if self.bonus:
            reward[(step >= len(self.ids) // 2) & (rng.random(len(value)) < 0.1)] = 3.0
        columns = {"step": step, "prompt_id": ids, "reward": reward, "true_value": value, "score_norm": norm}
        columns = {key: column[kept] for key, column in columns.items()}
        return _Run(name, kvar.Trace.from_columns(columns), self.copies)


def _nothing(run: _Sketch, rng) -> _Sketch:
    return run


def _some(run: _Sketch, rng, fraction: float) -> np.ndarray:
    n = run.values.shape[1]
    return rng.permutation(n)[: int(fraction * n)]


def _hopeless(run: _Sketch, rng) -> _Sketch:
    run.values[:, _some(run, rng, 0.4)] = 0.01
    return run


def _easy(run: _Sketch, rng) -> _Sketch:
    run.values[:, _some(run, rng, 0.4)] = 0.99
    return run


def _moving(run: _Sketch, rng, start: float, end: float) -> _Sketch:
    run.values[:, _some(run, rng, 0.3)] = np.linspace(start, end, len(run.values))[:, None]
    return run


def _jumping(run: _Sketch, rng) -> _Sketch:
    half = len(run.values) // 2
    run.values *= 0.7
    run.values[half:] += 0.4
    return run


def _harder(run: _Sketch, rng) -> _Sketch:
    level = run.values[0]
    for step, ids in enumerate(run.ids):
        odds = np.exp(4 * (0.5 - step / len(run.ids)) * (level - 0.5) / 0.3)
        ids[:] = rng.choice(len(level), len(ids), replace=False, p=odds / odds.sum())
    return run


def _waves(run: _Sketch, rng) -> _Sketch:
    phase = rng.uniform(0, 2 * np.pi, run.values.shape[1])
    run.values[:] = 0.5 + 0.4 * np.sin(np.arange(len(run.values))[:, None] / 8 + phase)
    return run


def _once(run: _Sketch, rng) -> _Sketch:
    run.ids = np.arange(run.ids.size).reshape(run.ids.shape)
    run.values = np.tile(rng.uniform(0.2, 0.8, run.ids.size), (len(run.ids), 1))
    return run


def _with(**changes):
    def changed(run: _Sketch, rng) -> _Sketch:
        for name, value in changes.items():
            setattr(run, name, value)
        return run

    return changed


# What is wrong with each kind of simulated run.
_WRONG = {
    "nothing": _nothing,
    "stuck prompts": _hopeless,
    "solved prompts": _easy,
    "improving prompts": lambda run, rng: _moving(run, rng, 0.2, 0.8),
    "forgotten prompts": lambda run, rng: _moving(run, rng, 0.8, 0.2),
    "jump": _jumping,
    "bonus rewards": _with(bonus=True),
    "harder and harder": _harder,
    "waves": _waves,
    "prompts once": _once,
    "groups of 32": _with(group=32),
    "score norms": _with(norm_ratio=0.2),
    "filtered": _with(filtered=True),
    "copied rows": _with(copies=True),
}
# Kinds that appear in one kind of run and in no other; of kept runs, in none.
_OF_ONE = {
    "reward-jump": "jump",
    "reward-range": "bonus rewards",
    "difficulty": "harder and harder",
    "score-norms": "score norms",
    "filtered-groups": "filtered",
    "duplicates": "copied rows",
}
# There the mean of a reward is not the true value.
_OTHER_REWARDS = ("filtered", "bonus rewards")


def _judged(run: _Run) -> Iterator[dict]:
    """A row a kind: whether it must appear (NaN: it may) and whether it did; for verdicts, how many prompts."""
    trace = run.trace
    report = _audited(run)
    alarms = {finding.kind for finding in report.findings if finding.severity != "info"}
    must = {kind: float(run.name == only) for kind, only in _OF_ONE.items()}
    if run.name not in _OTHER_REWARDS:
        must |= _truth(run.name, trace, report)
    nothing = dict.fromkeys(("found", "false", "true", "false_fraction"), np.nan)
    for kind, expected in must.items():
        yield {"kind": kind, "must": expected, "appeared": float(kind in alarms), **nothing}
    if run.name in _OTHER_REWARDS:
        return
    verdicts = report.prompts
    for kind, true in _true_verdicts(trace, verdicts).items():
        found = verdicts.are(kind)
        false = int((found & ~true).sum())
        expected = 1.0 if run.name == f"{kind} prompts" else 0.0 if not true.any() else np.nan
        yield {
            "kind": kind,
            "must": expected,
            "appeared": float(found.any()),
            "found": float(found.sum()),
            "false": float(false),
            "true": float(true.sum()),
            "false_fraction": false / max(int(found.sum()), 1),
        }


def _audited(run: _Run) -> kvar.AuditReport:
    if not run.as_log:
        return kvar.audit(run.trace, _BASELINES, n_jobs=1)
    columns = {name: run.trace.columns[name] for name in ("step", "prompt_id", "reward", "true_value")}
    texts = {"prompt": [f"question {k}" for k in columns.pop("prompt_id")]}
    log = pl.DataFrame({**columns, **texts, "completion": [f"answer {k}" for k in range(len(run.trace))]})
    with tempfile.TemporaryDirectory() as folder:
        pl.concat([log, log.filter(pl.col("step") % 4 == 0)]).sort("step", maintain_order=True).write_parquet(
            Path(folder) / "log.parquet"
        )
        return kvar.audit(Path(folder) / "log.parquet", _BASELINES, n_jobs=1)


def _truth(name: str, trace: kvar.Trace, report: kvar.AuditReport) -> dict[str, float]:
    """Which kinds must appear by the true values: 1, 0, or NaN for those that may."""
    value, size = trace.extras["true_value"], report.facts.group_size
    must = {"all-right": _clear((value**size).mean()), "all-wrong": _clear(((1 - value) ** size).mean())}
    rows = {row.baseline: row.value_mse.mean for row in report.rows}
    noise = (value * (1 - value)).mean()
    must["gradient-noise"] = _clear(rows["leave-one-out"] / (rows["leave-one-out"] + noise))
    saved = rows[report.chosen.baseline] / rows["group-mean"]
    must["value-error"] = 1.0 if saved < 0.9 else 0.0 if saved >= 1 else np.nan
    sizes = report.group_sizes
    if sizes is not None:
        smaller = [row.true_value_mse / rows["group-mean"] for row in sizes.rows[:-1]]
        must["group-size"] = 1.0 if min(smaller) < 0.9 else 0.0 if min(smaller) > 1.1 else np.nan
    still = {"nothing", "stuck prompts", "solved prompts", "groups of 32", "score norms", "copied rows"}
    must["stale-window"] = 1.0 if name == "waves" else 0.0 if name in still else np.nan
    must["return-of-prompts"] = 1.0 if name == "prompts once" else 0.0 if name in still else np.nan
    return must


def _clear(fraction: float) -> float:
    return 1.0 if fraction > _MANY else 0.0 if fraction < _FEW else np.nan


def _true_verdicts(trace: kvar.Trace, verdicts: PromptVerdicts) -> dict[str, np.ndarray]:
    """Which prompts deserve each verdict, by the slope and the last of the true values at the visits it rests on."""
    exact = kvar.Trace.from_columns({**trace.columns, "reward": trace.extras["true_value"]})
    truth = kvar.prompt_values(exact).verdicts
    slope = np.where(np.abs(truth.slope) > 1e-12, truth.slope, 0.0)
    last = truth.last_reward
    judged = ~verdicts.are("not judged")
    true = {"forgotten": slope < 0, "improving": slope > 0, "stuck": last < 1 - SOLVED, "solved": last > SOLVED}
    return {kind: judged & found for kind, found in true.items()}
