"""The audit itself: replay the baselines, compare them, study windows and group sizes, advise."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from kvar.auditing.advice import advise
from kvar.auditing.error_sums import ScoreSums
from kvar.auditing.evidence import Evidence, usual_baseline
from kvar.auditing.filtered_groups import reason_filtered
from kvar.auditing.findings import AuditRow
from kvar.auditing.group_size_study import study_group_sizes
from kvar.auditing.mean_errors import MeanErrors
from kvar.auditing.norm_pairs import NORM
from kvar.auditing.prediction_error import TRUTH
from kvar.auditing.prompt_verdicts import PromptVerdicts
from kvar.auditing.replay_errors import score_baselines
from kvar.auditing.report import AuditReport
from kvar.auditing.window_study import effective_sample_size, study_windows
from kvar.baselines import Baseline, baseline_names, make_baseline
from kvar.intervals import Interval, adjusted_p_values
from kvar.rollouts.step_chunks import SortedTrace
from kvar.rollouts.trace import Trace
from kvar.utils.checks import is_number, require
from kvar.utils.progress import progress_bar
from kvar.utils.terminal import visible
from kvar.variance import GradientVariance, gradient_variance

if TYPE_CHECKING:
    from kvar.readers import RolloutLog

__all__ = ["audit"]

_PARTS = 12
# The studies replay a run ten times and more, so of a long run they take only some of the prompts.
_STUDIED_ROLLOUTS = 400_000
_SECONDS = "seconds"


def audit(
    trace: Trace | RolloutLog | str | os.PathLike,
    baselines: str | Baseline | Iterable[str | Baseline] | None = None,
    progress: bool = False,
    n_jobs: int | None = None,
    cost_per_rollout: float | None = None,
    *,
    columns: Mapping[str, str] | str | None = None,
) -> AuditReport:
    """Replay baselines over a recorded run and say which one would have served it best.

    Parameters
    ----------
    trace : Trace, kvar.readers.RolloutLog or path
        A recorded run, or the path of a log, which is read as by `kvar.read_trace`.
    baselines : str, Baseline or iterable of them, optional
        Names, with their default parameters, or registered baselines, with theirs. By default all of them; those that
        need a column which the trace lacks, or rewards in another range, are then skipped and reported.
    progress : bool
        Show a progress bar with the time left.
    n_jobs : int, optional
        Number of processes, as in joblib. By default all cores for 300,000 rollouts or more and one for fewer; inside
        ``joblib.parallel_config(backend="dask")`` or ``"ray"``, what that sets.
    cost_per_rollout : float, optional
        What a rollout costs, in any unit of money; findings then say what they save. A column ``seconds`` of the trace,
        the seconds that each rollout took, says it in hours. Savings of several findings overlap.
    columns : mapping of str to str, or str, optional
        Which columns of the log are ``step``, ``prompt`` and ``reward``, as in `kvar.read_trace`; for a path only.

    Returns
    -------
    AuditReport
        A table, a recommendation, `save`, and a page in a notebook.

    Raises
    ------
    ValueError
        If the trace is empty, no reward in it is scored, a baseline that was asked for is unknown or cannot be
        replayed, or a cost is negative.
    FileNotFoundError
        If there is no log at the path.

    Notes
    -----
    Time: every baseline replays the trace once, see `kvar.replay`. The studies of windows and group sizes replay some
    of the prompts, 400,000 rollouts or fewer, once for all windows and once per size. Processes share baselines and
    sizes. Memory, beyond the trace itself, grows with the number of prompts, steps and baselines.

    Intervals allow rollouts to depend on each other within a prompt and within a period of some steps: two-way
    clustering (Cameron, Gelbach and Miller 2011, JBES 29:238, equation 2.8), with limits from Student's t. P-values of
    the differences to the recommended baseline are adjusted by the method of Holm (1979, Scandinavian Journal of
    Statistics 6:65).

    With score norms in the trace (the column ``score_norm``) baselines are ranked by the gradient: with n the squared
    norm, Z the reward and b a baseline that has seen neither, ``sum n (Z - b)^2 / sum n`` is the part of the gradient's
    second moment that b moves (Greensmith, Bartlett and Baxter 2004, JMLR 5:1471). Rollouts without a norm are left out
    of it. Windows and group sizes are studied by the error of the value.

    Examples
    --------
    On the small run that comes with kvar:

    >>> from importlib import resources
    >>> import kvar
    >>> report = kvar.audit(resources.files("kvar") / "data" / "demo.parquet", ["leave-one-out", "kernel", "adaptive"])
    >>> report.chosen.baseline
    'adaptive'
    >>> [f"{row.baseline}: {row.one_step_error.mean:.4f}" for row in report.rows]
    ['adaptive: 0.1485', 'kernel: 0.1860', 'leave-one-out: 0.1894']
    >>> report.group_sizes.full, report.group_sizes.advised.size
    (4, 1)
    """
    require(
        n_jobs is None or (is_number(n_jobs) and n_jobs % 1 == 0 and n_jobs != 0),
        f"n_jobs must be a number of processes, or negative as in joblib, got {n_jobs!r:.60}",
    )
    require(
        cost_per_rollout is None or (is_number(cost_per_rollout) and cost_per_rollout >= 0),
        f"cost_per_rollout must be a number from 0 on, got {cost_per_rollout!r:.60}",
    )
    require(
        columns is None or isinstance(trace, (str, os.PathLike)),
        f"columns describe a log at a path, got {type(trace).__name__}, which has been read already: leave them out",
    )
    reading, doubts, source, n_duplicates = [], [], "", 0
    if not isinstance(trace, Trace):
        # Reading needs more than NumPy and SciPy.
        from kvar.readers import RolloutLog, read_log

        log = trace if isinstance(trace, RolloutLog) else read_log(trace, columns=columns, numbers_only=True)
        trace, source, n_duplicates = log.trace, visible(log.path), log.notes.n_copies
        doubts = list(map(visible, log.notes.doubts))
        reading = [said for said in map(visible, log.notes.sentences()) if said not in doubts]
    if len(trace) == 0 or np.isnan(trace.reward).all():
        raise ValueError(f"nothing to audit: the trace has {len(trace)} rollouts, none of them with a reward")
    candidates, skipped = _candidates(trace, baselines)
    with progress_bar(progress, "replaying baselines", len(trace)) as (advance, describe):
        order = SortedTrace.of(trace)
        found = score_baselines(order, candidates, n_jobs, advance)
        for k, reason in found.refusals.items():
            if baselines is not None:
                raise ValueError(f"baseline {candidates[k].name!r} cannot be replayed: {reason}")
            skipped[candidates[k].name] = reason
        kept = [k for k in range(len(candidates)) if k not in found.refusals]
        if not kept:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
            raise ValueError(f"nothing to audit: no baseline can be replayed over this trace. {reasons}")
        ranking = found.gradient or found.prediction
        best, of_values = (_best(found, errors, kept) for errors in (ranking, found.prediction))
        chosen, studied = candidates[best], candidates[of_values]
        adjusted = adjusted_p_values([ranking.difference(k, best).p_value for k in kept])
        rows = {k: _row(found, k, best, p_value) for k, p_value in zip(kept, adjusted, strict=True)}
        filtered = reason_filtered(found.facts, list(rows.values()))
        windows = sizes = parts = None
        worth = np.nan
        if filtered is None:
            needed = {*chosen.columns_used(trace.extras), *studied.columns_used(trace.extras)}
            needed |= {TRUTH} & trace.extras.keys()
            sample = order.sample_prompts(_STUDIED_ROLLOUTS, sorted(needed))
            describe("studying windows")
            windows = study_windows(sample)
            describe("studying group sizes")
            sizes = study_group_sizes(sample, studied, found.facts.group_size, n_jobs)
            describe("measuring effective sample sizes")
            worth = effective_sample_size(sample, chosen)
            parts = _gradient_parts(order, found.facts.group_size)
        else:
            unknown = Interval(np.nan, np.nan, np.nan, np.nan, 0, 0)
            rows = {k: dataclasses.replace(row, estimated_value_mse=unknown) for k, row in rows.items()}
    ranked = sorted(rows.values(), key=lambda row: (np.isnan(row.ranked.mean), row.ranked.mean))
    prompts = PromptVerdicts.of(order.prompts, found.recent_visits)
    if filtered is not None:
        prompts = prompts.unjudged()
    evidence = Evidence(
        facts=found.facts,
        rows=ranked,
        chosen=rows[best],
        prompts=prompts,
        gradient_saving=_gradient_saving(found, kept, best),
        gradient_parts=parts,
        sizes=sizes,
        windows=windows,
        filtered=filtered,
        n_duplicates=n_duplicates,
    )
    advice = advise(evidence)
    seconds = float(np.mean(trace.extras.get(_SECONDS, np.nan)))
    cost = np.nan if cost_per_rollout is None else float(cost_per_rollout)
    return AuditReport(
        rows=ranked,
        chosen=rows[best],
        recommendation=advice.recommendation,
        findings=[finding.priced(seconds, cost) for finding in advice.findings],
        warnings=[*doubts, *advice.warnings],
        lines=advice.lines,
        facts=found.facts,
        prompts=prompts,
        group_sizes=sizes,
        windows=windows,
        effective_sample_size=worth,
        skipped=skipped,
        reading=reading,
        source=source,
    )


def _candidates(trace: Trace, baselines) -> tuple[list[Baseline], dict[str, str]]:
    if baselines is not None:
        baselines = [baselines] if isinstance(baselines, (str, Baseline)) else list(baselines)
        if not baselines:
            raise ValueError("nothing to audit: the list of baselines is empty; leave it out for all of them")
        # New ones without a history, whatever the caller's own have seen.
        asked = [(b.name, b.parameters) if isinstance(b, Baseline) else (b, {}) for b in baselines]
        made = [make_baseline(name, **parameters) for name, parameters in asked]
        for baseline in made:
            if reason := baseline.reason_not_applicable(trace.reward, trace.extras):
                raise ValueError(f"baseline {baseline.name!r} {reason} in this trace")
        return made, {}
    available, skipped = [], {}
    for baseline in map(make_baseline, baseline_names()):
        if reason := baseline.reason_not_applicable(trace.reward, trace.extras):
            skipped[baseline.name] = reason
        else:
            available.append(baseline)
    return available, skipped


def _best(found: ScoreSums, errors: MeanErrors, kept: list[int]) -> int:
    """Place of the baseline with the least error among those that can be compared, the oracle left out.

    By the gradient only baselines without the own reward are eligible: the gradient of the others is a shrunken one.
    """
    judged = [k for k in kept if errors.comparable(k)] or kept
    eligible = [k for k in judged if found.baselines[k].name != "oracle"] or judged
    if errors is found.gradient:
        eligible = [k for k in eligible if not _takes_own_reward(found.baselines[k])] or eligible
    means = {k: mean for k in eligible if not np.isnan(mean := errors.mean(k).mean)}
    # Baselines that differ by rounding count as equal, and the first of them is taken.
    return next((k for k, mean in means.items() if mean <= min(means.values()) * (1 + 1e-12)), eligible[0])


def _takes_own_reward(baseline: Baseline) -> bool:
    return type(baseline).own_weight is not Baseline.own_weight and getattr(baseline, "include_own", True)


def _row(found: ScoreSums, k: int, best: int, p_value_adjusted: float) -> AuditRow:
    baseline = found.baselines[k]
    return AuditRow(
        baseline=baseline.name,
        parameters=baseline.parameters,
        one_step_error=found.prediction.mean(k),
        above_best=found.prediction.difference(k, best),
        estimated_value_mse=found.estimated_value_mse(k, best),
        value_mse=found.value_mse(k) if found.knows_truth else None,
        takes_own_reward=_takes_own_reward(baseline),
        by_part=found.prediction.by_part(k, _PARTS),
        p_value_adjusted=float(p_value_adjusted),
        gradient_error=None if found.gradient is None else found.gradient.mean(k),
        gradient_above_best=None if found.gradient is None else found.gradient.difference(k, best),
    )


def _gradient_parts(order: SortedTrace, group_size: int) -> GradientVariance | None:
    """Parts of the gradient's variance under the usual baseline; None where the log does not show them."""
    extras = order.trace.extras
    scores = [name for name in extras if name == NORM or name.startswith("sketch_")]
    if not scores:
        return None
    sample = order.sample_prompts(_STUDIED_ROLLOUTS, sorted({*scores, *({TRUTH} & extras.keys())})).trace
    try:
        return gradient_variance(sample, usual_baseline(group_size))
    except ValueError:  # norms that are missing or damaged, or neither groups of three nor true values
        return None


def _gradient_saving(found: ScoreSums, kept: list[int], best: int) -> Interval | None:
    """Fraction by which the gradient error is below that of leave-one-out, or of the batch mean without groups."""
    errors = found.gradient
    if errors is None:
        return None
    usual = usual_baseline(found.facts.group_size)
    others = [k for k in kept if found.baselines[k].name == usual and errors.comparable(k)]
    return errors.reduction(best, others[0]) if others and errors.comparable(best) else None
