"""How small the groups could be: the run replayed with only the first rollouts of every group."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kvar.auditing.groups import Groups
from kvar.auditing.prediction_error import TRUTH, fresh_error
from kvar.auditing.replay_errors import alone
from kvar.baselines import Baseline, BaselineName, make_baseline
from kvar.intervals import LONGEST_PERIOD, ClusteredSums, Interval, Ratio
from kvar.replaying import Replayed, replay_chunk
from kvar.rollouts.step_chunks import StepChunk
from kvar.utils.parallel import Share

__all__ = ["GroupSizeReplay", "GroupSizeRow", "GroupSizeStudy"]

_REFERENCE: BaselineName = "group-mean"
# Columns of sums for each size: excess of the squared error over the noise, rollouts, squared error against the true
# value, and rollouts with one.
_COLUMNS = _EXCESS, _COUNT, _TRUTH, _KNOWN = range(4)
# Fraction of the reference by which the upper limit of the value MSE at the advised size may exceed it.
_TOLERANCE = 0.1


@dataclass(frozen=True)
class GroupSizeRow:
    """Value MSE with groups of one size."""

    size: int  # Rollouts kept of every group
    value_mse: Interval  # Estimated squared error against the true value
    above_reference: Interval  # The same less that of group-mean with whole groups
    true_value_mse: float  # Squared error against the true value where the trace holds it, else NaN


@dataclass(frozen=True)
class GroupSizeStudy:
    """Value MSE of a baseline with groups of several sizes."""

    baseline: str  # The baseline that was replayed with them
    full: int  # Size of the groups in the log
    rows: list[GroupSizeRow]  # By size, `full` last
    reference: Interval  # Estimated value MSE of group-mean with whole groups
    # The smallest size whose value MSE is not above the reference, and with 97.5 % confidence no more than a tenth
    # above it; None if there is none.
    advised: GroupSizeRow | None
    one_in: int  # The study used one in so many prompts


class GroupSizeReplay:
    """Replays a baseline with smaller and smaller groups, over chunks as `ErrorCollector` takes them.

    The clock stays that of the log: with groups of 3 out of 8 a step has as many prompts as before. Every value is
    scored on all rollouts of its group that it has not seen, those left out of the replay among them, so that small
    groups are judged as exactly as large ones.
    """

    def __init__(self, baseline: Baseline, full: int):
        self._full = full
        self._tried = [_Tried(type(baseline)(**baseline.parameters), size) for size in _sizes(full)]
        # The reference comes last: the group mean of whole groups.
        self._tried.append(_Tried(make_baseline(_REFERENCE), full))
        self._sums = ClusteredSums(len(_COLUMNS) * len(self._tried), longest=LONGEST_PERIOD)

    def add(self, chunks: Iterable[StepChunk], share: Share = alone) -> None:
        """Replay chunks with the columns that the baseline uses, and the true values if there are any."""
        for chunk in chunks:
            groups = Groups.of(chunk)
            results = share(_score, self._tried, chunk, groups.variance)
            self._tried[:] = [advanced for advanced, _ in results]
            self._sums.add(np.concatenate([sums for _, sums in results]), groups.prompt, groups.time)

    def study(self, one_in: int = 1) -> GroupSizeStudy | None:
        """Compare the sizes; None where no group shows the noise of its rewards."""
        sums, sizes = self._sums, [tried.size for tried in self._tried[:-1]]
        columns = np.arange(len(_COLUMNS) * len(self._tried)).reshape(-1, len(_COLUMNS))
        if sums.total(columns[0, [_COUNT]]) == 0:
            return None
        rows = [_row(sums, columns[k], size, columns[-1]) for k, size in enumerate(sizes)]
        reference = sums.interval(_excess(columns[-1]))
        advised = [row for row in rows if _is_enough(row, reference)]
        name = self._tried[0].baseline.name
        return GroupSizeStudy(name, self._full, rows, reference, advised[0] if advised else None, one_in)


def _sizes(full: int) -> list[int]:
    return sorted({*(s for k in range(12) for s in (2**k, 3 * 2**k) if s < full), full})


@dataclass(frozen=True)
class _Tried:
    baseline: Baseline
    size: int


def _score(tried: _Tried, chunk: StepChunk, noise: np.ndarray) -> tuple[_Tried, np.ndarray]:
    """The study's four columns summed by group, shape (4, C), after the baseline has seen the chunk."""
    kept = np.arange(len(chunk)) - chunk.spread(chunk.groups) < tried.size
    cut = dataclasses.replace(chunk, reward=np.where(kept, chunk.reward, np.nan))
    replayed = replay_chunk(tried.baseline, cut)
    error = _value_error(chunk, kept, replayed, chunk.spread(noise))
    used = kept & ~np.isnan(chunk.reward) & ~np.isnan(error)
    squares = (replayed.values - chunk.columns.get(TRUTH, np.nan)) ** 2
    known = used & ~np.isnan(squares)
    columns = (np.where(used, error, 0.0), used, np.where(known, squares, 0.0), known)
    return tried, np.array([chunk.sums(column.astype(np.float64)) for column in columns])


def _value_error(chunk: StepChunk, kept: np.ndarray, replayed: Replayed, noise: np.ndarray) -> np.ndarray:
    """Unbiased estimates of the squared errors of values, shape (n,).

    The product of two differences ``(Z - V)(Z' - V)`` has the mean ``(v - V)^2`` when V has seen neither reward: the
    noise drops out. A value with one fresh reward only is scored by its error less the noise of the group. NaN where
    the group has fewer than two rewards.
    """
    values, scored = replayed.values, ~np.isnan(chunk.reward)
    n_own = kept & scored & (replayed.own_weight == 0)
    own = np.where(n_own, chunk.reward - values, 0.0)
    out = scored & ~kept
    rest = np.where(out, chunk.reward, 0.0)
    n_out, total, squares = (chunk.spread(chunk.sums(x)) for x in (out.astype(float), rest, rest**2))
    n = n_own + n_out
    sum_of = own + total - n_out * values
    sum_of_squares = own**2 + squares - 2 * values * total + n_out * values**2
    products = np.divide(sum_of**2 - sum_of_squares, n * (n - 1), out=np.full(values.shape, np.nan), where=n > 1)
    return np.where(n > 1, products, fresh_error(chunk.reward, replayed, noise) - noise)


def _row(sums: ClusteredSums, columns: np.ndarray, size: int, reference: np.ndarray) -> GroupSizeRow:
    truth = sums.interval(Ratio(columns[[_TRUTH]], columns[[_KNOWN]]))
    above = sums.interval(_excess(columns), _excess(reference, -1.0))
    return GroupSizeRow(size, sums.interval(_excess(columns)), above, truth.mean)


def _excess(columns: np.ndarray, coefficient: float = 1.0) -> Ratio:
    return Ratio(columns[[_EXCESS]], columns[[_COUNT]], coefficient)


def _is_enough(row: GroupSizeRow, reference: Interval) -> bool:
    return row.above_reference.mean <= 0 and row.above_reference.high <= _TOLERANCE * reference.mean
