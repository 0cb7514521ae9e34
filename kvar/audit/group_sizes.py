"""How far the groups could be cut: the run replayed with the first rollouts of every group only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kvar.audit.collecting import period_length
from kvar.audit.intervals import ClusteredSums, Interval, Mean
from kvar.audit.scores import TRUTH, fresh_error
from kvar.baselines import Baseline, make_baseline
from kvar.baselines.group import group_variances
from kvar.batch import Batch
from kvar.replaying import Replayed, StepOrder
from kvar.traces import Trace

__all__ = ["GroupSizeRow", "GroupSizeStudy", "study_group_sizes"]

_REFERENCE = "group-mean"
# How much worse than the reference the value error at the advised size may be, by the upper limit of its interval.
_TOLERANCE = 0.1


@dataclass(frozen=True)
class GroupSizeRow:
    """The value error with groups of one size.

    Attributes
    ----------
    size : int
        Rollouts kept of every group.
    value_mse : Interval
        Estimated squared error of the value against the true one.
    above_reference : Interval
        The same less that of the group mean with whole groups.
    true_value_mse : float
        The same against the true values where the trace holds them, else NaN.
    """

    size: int
    value_mse: Interval
    above_reference: Interval
    true_value_mse: float


@dataclass(frozen=True)
class GroupSizeStudy:
    """What smaller groups would have cost.

    Attributes
    ----------
    baseline : str
        The baseline that was replayed with them.
    full : int
        Size of the groups in the log.
    rows : list of GroupSizeRow
        By size, `full` last.
    reference : Interval
        Estimated value MSE of the group mean with whole groups.
    advised : GroupSizeRow or None
        The smallest size whose value error is not above the reference, and with 97.5 % confidence no more than a tenth
        above it; None if none is.
    one_in : int
        One in how many prompts this was tried on.
    """

    baseline: str
    full: int
    rows: list[GroupSizeRow]
    reference: Interval
    advised: GroupSizeRow | None
    one_in: int


def study_group_sizes(trace: Trace, baseline: Baseline, full: int, one_in: int = 1) -> GroupSizeStudy | None:
    """Replay a baseline with smaller and smaller groups.

    The clock stays that of the log: with groups of 3 out of 8 a step has as many prompts as before. Every value is
    scored on all rollouts of its group that it has not seen, those left out of the replay among them, so that small
    groups are judged as exactly as large ones.

    Parameters
    ----------
    trace : Trace
        A recorded run.
    baseline : Baseline
        Its name and parameters are taken, not its history.
    full : int
        Size of the groups in the log.
    one_in : int
        Passed on to the result.

    Returns
    -------
    GroupSizeStudy or None
        None without groups to cut.
    """
    if full < 2:
        return None
    sizes = _sizes(full)
    # The reference is whole groups and the group mean, and stands last.
    tried = [(make_baseline(baseline.name, **baseline.parameters), size) for size in sizes]
    tried.append((make_baseline(_REFERENCE), full))
    order = StepOrder.of(trace)
    length = period_length(len(order.starts))
    known = TRUTH in trace.extras
    names = [f"{name}:{k}" for k in range(len(tried)) for name in ("excess", "count", "truth")]
    sums = ClusteredSums(names, len(order.prompts), -(-len(order.starts) // length))
    needed = sorted({*baseline.columns_used(trace.extras), *((TRUTH,) if known else ())})
    first_time = 0
    for stretch in order.stretches(needed, length):
        parts, prompts, periods = [], [], []
        for _, batch in stretch.batches():
            parts.append(_score_step(batch, tried))
            prompts.append(np.array(batch.prompt_ids))
            periods.append(np.full(len(batch.prompt_ids), first_time // length))
            first_time += 1
        columns = dict(zip(names, np.concatenate(parts, axis=1), strict=True))
        sums.add(columns, np.concatenate(prompts), np.concatenate(periods))
    if sums.total("count:0") == 0:
        return None
    last = len(tried) - 1
    rows = [_row(sums, k, size, last, known) for k, (_, size) in enumerate(tried[:-1])]
    reference = sums.interval({f"excess:{last}": Mean(f"count:{last}")})
    advised = [row for row in rows if _is_enough(row, reference)]
    return GroupSizeStudy(baseline.name, full, rows, reference, advised[0] if advised else None, one_in)


def _sizes(full: int) -> list[int]:
    return sorted({*(s for k in range(12) for s in (2**k, 3 * 2**k) if s < full), full})


def _score_step(batch: Batch, tried: Sequence[tuple[Baseline, int]]) -> np.ndarray:
    """Sums of each group for each size, in the order of the study's columns."""
    noise, grouped, columns = group_variances(batch), batch.counts > 1, []
    truth = batch.columns.get(TRUTH)
    for baseline, size in tried:
        kept = batch.rewards.copy()
        kept[:, size:] = np.nan
        cut = dataclasses.replace(batch, rewards=kept)
        values, weight = baseline.values(cut), baseline.own_weight(cut)
        baseline.remember(cut)
        error = _value_error(batch, cut, Replayed(values, weight), noise, size)
        used = cut.scored & grouped & ~np.isnan(error)
        columns += [np.where(used, error, 0.0).sum(axis=1), used.sum(axis=1)]
        known = np.zeros(kept.shape) if truth is None else (values - truth) ** 2
        columns.append(np.where(used, known, 0.0).sum(axis=1))
    return np.array(columns, dtype=np.float64)


def _value_error(batch: Batch, cut: Batch, replayed: Replayed, noise: np.ndarray, size: int) -> np.ndarray:
    """Unbiased estimates of the squared errors of values, shape (P, N).

    The product of two differences ``(Z - V)(Z' - V)`` has the mean ``(v - V)^2`` when V has seen neither reward: the
    noise drops out. A value with one fresh reward only is scored by its error less the noise of the group.
    """
    values = replayed.values
    own = np.where(replayed.own_weight == 0, cut.filled - values, 0.0)
    n_own = cut.scored & (replayed.own_weight == 0)
    rest, out = batch.filled[:, size:], batch.scored[:, size:]
    n_out, total, squares = (x.sum(axis=1, keepdims=True) for x in (out, rest, rest**2))
    n = n_own + n_out
    sum_of = n_own * own + total - n_out * values
    sum_of_squares = n_own * own**2 + squares - 2 * values * total + n_out * values**2
    products = np.divide(sum_of**2 - sum_of_squares, n * (n - 1), out=np.full(values.shape, np.nan), where=n > 1)
    with np.errstate(invalid="ignore"):
        return np.where(n > 1, products, fresh_error(cut.rewards, replayed, noise) - noise)


def _row(sums: ClusteredSums, k: int, size: int, reference: int, known: bool) -> GroupSizeRow:
    error = {f"excess:{k}": Mean(f"count:{k}")}
    above = error | {f"excess:{reference}": Mean(f"count:{reference}", -1.0)}
    count = sums.total(f"count:{k}")
    truth = sums.total(f"truth:{k}") / count if known and count else np.nan
    return GroupSizeRow(size, sums.interval(error), sums.interval(above), truth)


def _is_enough(row: GroupSizeRow, reference: Interval) -> bool:
    return row.above_reference.mean <= 0 and row.above_reference.high <= _TOLERANCE * reference.mean
