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
from simulations.bandit.faulty_runs import FAULTS, faulty_run
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
    faults: tuple[str, ...] = tuple(FAULTS)  # Simulated runs
    kept: tuple[str, ...] = ("fast", "jumping", "epoch-g4", "block-g4")  # Kept runs


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
        return [{"run": run} for run in (*self.config.faults, *self.config.kept)]

    def simulate(self, cell, repetitions, rng):
        rows = []
        for repetition in range(repetitions):
            trace = self._trace(cell["run"], rng)
            rows += [{"repetition": repetition, **row} for row in _judged(cell["run"], trace)]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def _trace(self, name: str, rng: np.random.Generator) -> kvar.Trace:
        config = self.config
        if name in config.kept:
            kept = kvar.read_trace(_KEPT_RUNS / f"{name}.parquet")
            columns = {key: kept.columns[key] for key in ("step", "prompt_id", "rollout", "true_value")}
            reward = (rng.random(len(kept)) < kept.extras["true_value"]).astype(np.float64)
            return kvar.Trace.from_columns({**columns, "reward": reward})
        return faulty_run(name, config.prompts, config.steps, config.batch, rng)

    def tables(self, rows):
        asked = rows.filter(pl.col("must").is_not_nan())
        names = {1.0: ("sensitivity", "runs_with"), 0.0: ("false_alarms", "runs_without")}
        wide = [
            summary(asked.filter(must=must), ["kind"], ["appeared"]).rename(
                {"appeared": share, "appeared_se": f"{share}_se", "repetitions": runs}
            )
            for must, (share, runs) in names.items()
        ]
        verdicts = rows.filter(pl.col("kind").is_in(_JUDGED))
        true = (
            verdicts.filter(must=1.0)
            .group_by("kind")
            .agg(sensitivity=(pl.col("found") - pl.col("false")).sum() / pl.col("true").sum())
        )
        false = summary(verdicts, ["kind"], ["false_fraction"])
        return {
            "kinds": wide[0].join(wide[1], "kind", "full", coalesce=True).sort("kind"),
            "verdicts": false.with_row_index("place").join(true, "kind", "left").sort("place").drop("place"),
            "verdicts-by-run": summary(verdicts, ["kind", "run"], ["false_fraction", "found"]),
            "every": summary(asked, ["run", "kind", "must"], ["appeared"]),
        }

    def claims(self, tables):
        claims: list[Claim] = []
        for row in tables["verdicts"].iter_rows(named=True):
            rate = MonteCarloEstimate(row["false_fraction"], row["false_fraction_se"], row["repetitions"])
            claims.append(
                Claim.at_most(f"False discovery rate of the verdict {row['kind']}", rate, FALSE_DISCOVERY_RATE)
            )
        return claims

    def remarks(self, tables):
        worst = tables["verdicts-by-run"].sort("false_fraction", descending=True).row(0, named=True)
        rate = f"{worst['false_fraction']:.2g} ± {worst['false_fraction_se']:.1g}"
        return [f"The largest false discovery rate in one run is {rate}: {worst['kind']} in the run “{worst['run']}”."]

    def pictures(self, tables):
        return {}


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


def _judged(run: str, trace: kvar.Trace) -> Iterator[dict]:
    """A row a kind: whether it must appear (NaN: it may) and whether it did; for verdicts, how many prompts."""
    report = _audited(run, trace)
    alarms = {finding.kind for finding in report.findings if finding.severity != "info"}
    must = {kind: float(run == only) for kind, only in _OF_ONE.items()}
    if run not in _OTHER_REWARDS:
        must |= _truth(run, trace, report)
    nothing = dict.fromkeys(("found", "false", "true", "false_fraction"), np.nan)
    for kind, expected in must.items():
        yield {"kind": kind, "must": expected, "appeared": float(kind in alarms), **nothing}
    if run in _OTHER_REWARDS:
        return
    verdicts = report.prompts
    for kind, true in _true_verdicts(trace, verdicts).items():
        found = verdicts.are(kind)
        false = int((found & ~true).sum())
        expected = 1.0 if run == f"{kind} prompts" else 0.0 if not true.any() else np.nan
        yield {
            "kind": kind,
            "must": expected,
            "appeared": float(found.any()),
            "found": float(found.sum()),
            "false": float(false),
            "true": float(true.sum()),
            "false_fraction": false / max(int(found.sum()), 1),
        }


def _audited(run: str, trace: kvar.Trace) -> kvar.AuditReport:
    if run != "copied rows":
        return kvar.audit(trace, _BASELINES, n_jobs=1)
    columns = {name: trace.columns[name] for name in ("step", "prompt_id", "reward", "true_value")}
    texts = {"prompt": [f"question {k}" for k in columns.pop("prompt_id")]}
    log = pl.DataFrame({**columns, **texts, "completion": [f"answer {k}" for k in range(len(trace))]})
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
    must["return-of-prompts"] = 1.0 if "once" in name else 0.0 if name in still else np.nan
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
