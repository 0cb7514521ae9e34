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
_BASELINES = ("leave-one-out", "group-mean", "batch-mean", "kernel", "adaptive")
_JUDGED = ("forgotten", "improving", "stuck", "solved")
# Of the finding "all right" and its like: a fraction above the first must be found, one below the second must not.
_MANY, _FEW = 0.1, 0.05
# Kinds that count though they are only info.
_FACTS = ("trend", "norms-missing")
# Recorded runs in which prompts come in epochs, in blocks, by chance, or hardly ever again. Those of one prompt are
# left out: they have no error over prompts.
_RECORDED = (
    *("epoch-g1", "epoch-g2", "epoch-g4", "epoch-g8", "fast", "slow", "jumping", "missing", "partial-epoch"),
    *("block-g1", "block-g2", "block-g4", "block-g8", "fast-block", "long-block-g1", "long-block-g8", "partial-block"),
    *("independent-g1", "independent-g4", "many-prompts-g1", "many-prompts-g4"),
)


@dataclass(frozen=True)
class AuditFindingsConfig(StudyConfig):
    """Size of the study."""

    prompts: int = 96  # Prompts of a simulated run
    steps: int = 120  # Its steps
    batch: int = 32  # Prompts a step
    faults: tuple[str, ...] = tuple(FAULTS)  # Simulated runs
    kept: tuple[str, ...] = _RECORDED  # Recorded runs, once in each block


class AuditFindings(Study):
    """How often each kind of finding appears where it must and where it must not.

    Simulated runs have 96 prompts of constant values between 0.2 and 0.8, epochs in random order and four binary
    rewards a group. In each kind of run one thing is wrong. Recorded runs are those of the tiny language model, with
    binary rewards drawn anew from their exact values, once in each block. A kind must appear where the truth is clear:
    more than 10 % of the groups are expected to be all right (all wrong), a tenth of the prompts moves, and so on; it
    must not where the truth is below 5 %, or 0. Between the two it may. What is counted is a finding of any severity
    but info; of a trend, missing norms and verdicts on prompts any finding. A verdict is right if the least-squares
    slope of the true values has its sign, or if the true value at the last visit is beyond its threshold. Of score
    norms only runs that have them are judged.
    """

    name: ClassVar[str] = "audit-findings"
    title: ClassVar[str] = "Are the findings of an audit right?"
    full: ClassVar[StudyConfig] = AuditFindingsConfig(repetitions=10, block=5)
    quick: ClassVar[StudyConfig] = AuditFindingsConfig(repetitions=2, block=1)

    def cells(self):
        return [{"run": run} for run in (*self.config.faults, *self.config.kept)]

    def simulate(self, cell, repetitions, rng):
        rows = []
        for repetition in range(1 if cell["run"] in self.config.kept else repetitions):
            trace = self._trace(cell["run"], rng)
            rows += [{"repetition": repetition, **row} for row in _judged(cell["run"], trace)]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def _trace(self, name: str, rng: np.random.Generator) -> kvar.Trace:
        config = self.config
        if name in config.kept:
            kept = kvar.read_trace(_KEPT_RUNS / f"{name}.parquet")
            columns = {key: kept.columns[key] for key in ("step", "prompt_id", "rollout", "true_value")}
            reward = (rng.random(len(kept)) < kept.extras["true_value"]).astype(np.float64)
            return kvar.Trace.from_columns({**columns, "reward": np.where(np.isnan(kept.reward), np.nan, reward)})
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
    alarms = {finding.kind for finding in report.findings if finding.severity != "info" or finding.kind in _FACTS}
    must = {kind: float(run == only) for kind, only in _OF_ONE.items()}
    if run not in _OTHER_REWARDS:
        must |= _of_baselines(run, trace, report) | _of_course(run, trace)
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
    columns = {name: trace.columns[name] for name in ("step", "prompt_id", "reward", "true_value", "score_norm")}
    texts = {"prompt": [f"question {k}" for k in columns.pop("prompt_id")]}
    log = pl.DataFrame({**columns, **texts, "completion": [f"answer {k}" for k in range(len(trace))]})
    with tempfile.TemporaryDirectory() as folder:
        pl.concat([log, log.filter(pl.col("step") % 4 == 0)]).sort("step", maintain_order=True).write_parquet(
            Path(folder) / "log.parquet"
        )
        return kvar.audit(Path(folder) / "log.parquet", _BASELINES, n_jobs=1)


def _of_baselines(run: str, trace: kvar.Trace, report: kvar.AuditReport) -> dict[str, float]:
    """Which kinds on baselines and group sizes must appear by the true values: 1, 0, or NaN for those that may."""
    value, grouped, normed = trace.extras["true_value"], report.facts.group_size > 1, "score_norm" in trace.extras
    error = {row.baseline: row.value_mse.mean for row in report.rows if not np.isnan(row.value_mse.mean)}
    usual = error["leave-one-out" if grouped else "batch-mean"]
    advantages = usual + (value * (1 - value)).mean()
    chosen, own = error[report.chosen.baseline], {row.baseline for row in report.rows if row.takes_own_reward}
    must = {"gradient-noise": _clear(usual / advantages)}
    must["value-error"] = _better(chosen / error["group-mean" if grouped else "batch-mean"], 0.9, 1.0)
    must["norms-missing"] = float(not normed)
    best, best_own = (min(error[name] for name in names) for names in (error.keys() - own, error.keys() & own))
    # The gradient ranks only baselines without the own reward.
    must["own-reward"] = 0.0 if normed else _better(best_own / best, 0.9, 1.1)
    if not normed:
        must |= dict.fromkeys(("score-norms", "gradient-saving"), np.nan)
    else:
        # The value error says what the gradient saves only where norm and reward are unrelated.
        must["gradient-saving"] = np.nan if run == "score norms" else _clear((usual - chosen) / advantages)
    sizes = report.group_sizes
    if sizes is not None:
        smaller = [row.true_value_mse / error["group-mean"] for row in sizes.rows[:-1]]
        must["group-size"] = _better(min(smaller), 0.9, 1.1)
    return must


def _of_course(run: str, trace: kvar.Trace) -> dict[str, float]:
    """Which kinds on groups and on the course of a run must appear, likewise."""
    rows = pl.DataFrame({name: trace.columns[name] for name in ("step", "prompt_id", "true_value", "reward")})
    by = ["prompt_id", "step"]
    groups = rows.filter(pl.col("reward").is_not_nan()).group_by(by).agg(pl.col("true_value").first(), size=pl.len())
    value, size = (groups.filter(pl.col("size") > 1)[name].to_numpy() for name in ("true_value", "size"))
    must = {}
    if len(size):
        must = {"all-right": _clear((value**size).mean()), "all-wrong": _clear(((1 - value) ** size).mean())}
    returns = groups.sort(by).select(pl.col("true_value", "step").diff().over("prompt_id")).drop_nulls()
    change = np.nan
    if len(returns):
        steps = float(rows["step"].max() - rows["step"].min())
        change = abs(returns["true_value"].sum() / returns["step"].sum() * steps)
    must["trend"] = 1.0 if change > _MANY else 0.0 if change < 1e-9 else np.nan
    still = {"nothing", "stuck prompts", "solved prompts", "groups of 32", "score norms", "copied rows"}
    must["stale-window"] = 1.0 if run == "waves" else 0.0 if run in still else np.nan
    must["return-of-prompts"] = 1.0 if not len(returns) else 0.0 if run in still else np.nan
    # Whether the four blocks of prompts of such a run are equally difficult is not known.
    if run.startswith("long-block"):
        must["difficulty"] = np.nan
    return must


def _clear(fraction: float) -> float:
    return 1.0 if fraction > _MANY else 0.0 if fraction < _FEW else np.nan


def _better(ratio: float, clearly: float, not_above: float) -> float:
    """Whether an error is below another one by their ratio: 1, 0, or NaN if it is not clear."""
    return 1.0 if ratio < clearly else 0.0 if ratio >= not_above else np.nan


def _true_verdicts(trace: kvar.Trace, verdicts: PromptVerdicts) -> dict[str, np.ndarray]:
    """Which prompts deserve each verdict, by the slope and the last of the true values at the visits it rests on."""
    exact = kvar.Trace.from_columns({**trace.columns, "reward": trace.extras["true_value"]})
    truth = kvar.prompt_values(exact).verdicts
    slope = np.where(np.abs(truth.slope) > 1e-12, truth.slope, 0.0)
    last = truth.last_reward
    judged = ~verdicts.are("not judged")
    true = {"forgotten": slope < 0, "improving": slope > 0, "stuck": last < 1 - SOLVED, "solved": last > SOLVED}
    return {kind: judged & found for kind, found in true.items()}
