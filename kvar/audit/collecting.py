"""One pass over a trace: all baselines replayed side by side, their scores summed by prompt and by period."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kvar.audit.cells import Cells
from kvar.audit.facts import FactCollector, LogFacts
from kvar.audit.intervals import ClusteredSums, Interval, Mean
from kvar.audit.scores import TRUTH, Score, score_stretch
from kvar.audit.sharing import ahead, shared_work
from kvar.baselines import Baseline
from kvar.replaying import StepOrder, Stretch

__all__ = ["Collected", "collect", "period_length", "sum_up"]

_COUNTS = ("count", "partial", "noise", "noisy", "half_square_1", "pairs_1", "half_square_2", "pairs_2")


def period_length(n_steps: int) -> int:
    """Steps that make up a period of `ClusteredSums`: the cube root of their number.

    Parameters
    ----------
    n_steps : int
        Steps of the trace.

    Returns
    -------
    int
        Blocks grow with the sample, and their number grows faster.
    """
    return max(1, int(n_steps ** (1 / 3)))


@dataclass
class Collected:
    """Sums over a whole trace.

    Attributes
    ----------
    baselines : list of Baseline
        With the whole trace in their history.
    sums : ClusteredSums
        Counts, noise, and for each baseline the columns ``error:k``, ``defined:k`` and, with known truth, ``value:k``
        and ``known:k``.
    facts : LogFacts
        What the log itself says.
    refusals : dict of int to str
        Baselines that could not be replayed to the end, and why.
    comparable : list of bool
        Whether a baseline has a score for every rollout compared; means of the others are over other rollouts.
    """

    baselines: list[Baseline]
    sums: ClusteredSums
    facts: LogFacts
    refusals: dict[int, str]
    comparable: list[bool]

    @property
    def knows_truth(self) -> bool:
        """Whether the trace holds true values."""
        return "value:0" in self.sums.columns

    def error(self, k: int) -> Interval:
        """One-step-ahead squared error of baseline k over the rollouts compared.

        Parameters
        ----------
        k : int
            Which.

        Returns
        -------
        Interval
            Over the rollouts that it has a score for, where it is not comparable.
        """
        return self.sums.interval({f"error:{k}": self._mean(k)})

    def difference(self, k: int, best: int) -> Interval:
        """Error of baseline k less that of another, rollout by rollout.

        Parameters
        ----------
        k, best : int
            Which, and from which.

        Returns
        -------
        Interval
            NaN where the two are not over the same rollouts.
        """
        if not (self.comparable[k] and self.comparable[best]):
            return Interval(np.nan, np.nan, np.nan, np.nan, 0, 0)
        if k == best:
            error = self.error(k)
            return Interval(0.0, 0.0, 0.0, 0.0, error.n_rollouts, error.n_prompts)
        return self.sums.interval({f"error:{k}": Mean("count"), f"error:{best}": Mean("count", -1.0)})

    def value_mse(self, k: int) -> Interval:
        """Squared error of baseline k against the true value, over all rollouts with a reward.

        Parameters
        ----------
        k : int
            Which.

        Returns
        -------
        Interval
            For traces with known truth only.
        """
        return self.sums.interval({f"value:{k}": Mean(f"known:{k}")})

    def estimated_value_mse(self, k: int, best: int) -> Interval:
        """Squared error of baseline k against the true value, without knowing it: its error less the noise.

        Parameters
        ----------
        k : int
            Which.
        best : int
            The baseline with the least error, which bounds the noise where nothing else does.

        Returns
        -------
        Interval
            Where groups show the noise, unbiased. Where only visits do, the limits allow for values that move between
            visits in a straight line (the least noise) and for values that do not move at all (the most). Where prompts
            never come back, the limits alone, from all noise the best baseline's error could be to none.
        """
        error = {f"error:{k}": self._mean(k)}
        if self.facts.noise_source == "groups":
            return self.sums.interval({**error, "noise": Mean("noisy", -1.0)})
        if self.facts.noise_source == "visits":
            # Half squares are noise + D(lag) / 2; D grows like the lag at most, like its square at least.
            middle, most, least = (
                self.sums.interval(
                    {**error, "half_square_1": Mean("pairs_1", -one), "half_square_2": Mean("pairs_2", two)}
                )
                for one, two in ((4 / 3, 1 / 3), (2.0, 1.0), (1.0, 0.0))
            )
            limits = (min(least.low, middle.low), max(most.high, middle.high))
            return Interval(middle.mean, middle.standard_error, *limits, middle.n_rollouts, middle.n_prompts)
        alone, above = self.error(k), self.difference(k, best)
        return Interval(np.nan, np.nan, max(above.low, 0.0), alone.high, alone.n_rollouts, alone.n_prompts)

    def error_by_period(self, k: int, n_parts: int) -> np.ndarray:
        """Mean error of baseline k in successive parts of the run.

        Parameters
        ----------
        k : int
            Which.
        n_parts : int
            In how many parts, at most as many as there are periods.

        Returns
        -------
        ndarray of float64
            NaN in a part without a rollout compared.
        """
        errors, counts = (self.sums.by_period(name) for name in (f"error:{k}", self._mean(k).count))
        edges = np.linspace(0, len(counts), min(n_parts, len(counts)) + 1).astype(int)[:-1]
        with np.errstate(invalid="ignore"):
            return np.add.reduceat(errors, edges) / np.add.reduceat(counts, edges)

    def _mean(self, k: int) -> Mean:
        return Mean("count" if self.comparable[k] else f"defined:{k}")


def collect(
    order: StepOrder,
    baselines: Sequence[Baseline],
    n_jobs: int | None = None,
    advance: Callable[[int], object] = lambda n_rollouts: None,
) -> Collected:
    """Replay baselines over a trace and sum up how they did.

    Parameters
    ----------
    order : StepOrder
        A trace with at least one reward.
    baselines : sequence of Baseline
        Without a past.
    n_jobs : int, optional
        Processes, as in joblib; by default what `joblib.parallel_config` says, or all cores if the trace is long.
    advance : callable
        Told the number of rollouts done each time.

    Returns
    -------
    Collected
        See `sum_up`.
    """
    baselines = list(baselines)
    extras = order.trace.extras
    needed = {TRUTH} & extras.keys()
    needed |= {name for baseline in baselines for name in baseline.columns_used(extras)}
    with shared_work(n_jobs, len(order.trace)) as share:

        def score(stretch: Stretch, noise: np.ndarray) -> list[Score]:
            scores = share(score_stretch, baselines, stretch, noise)
            baselines[:] = [one.baseline for one in scores]
            return scores

        return sum_up(order, len(baselines), sorted(needed), score, advance)


def sum_up(
    order: StepOrder,
    n: int,
    columns: Sequence[str],
    score: Callable[[Stretch, np.ndarray], Sequence[Score]],
    advance: Callable[[int], object] = lambda n_rollouts: None,
) -> Collected:
    """Sum up over a trace what some predictions score.

    Parameters
    ----------
    order : StepOrder
        A trace with at least one reward.
    n : int
        How many predictions there are.
    columns : sequence of str
        Extra columns that scores depend on.
    score : callable
        Takes the stretches of the trace one after the other, each with the variance of a reward of its groups, NaN
        where it is not known, and returns the score of each prediction.
    advance : callable
        Told the number of rollouts done each time.

    Returns
    -------
    Collected
        Means are over the groups that all predictions have a score for, if at least half of all rollouts lie in such
        groups; else over all groups, and those without a score for some of them are not comparable.

    Notes
    -----
    Memory grows with the number of prompts, steps and predictions, not with the number of rollouts.
    """
    n_prompts, n_steps = len(order.prompts), len(order.starts)
    length = period_length(n_steps)
    names = list(_COUNTS)
    for k in range(n):
        names += [f"error:{k}", f"partial:{k}", f"defined:{k}"]
        names += [f"value:{k}", f"known:{k}"] if TRUTH in columns else []
    sums = ClusteredSums(names, n_prompts, -(-n_steps // length))
    facts = FactCollector(n_prompts, n_steps)
    refusals: dict[int, str] = {}
    for stretch, cells, about in ahead(_prepared(order, columns, length, facts)):
        scores = score(stretch, _known_noise(cells, about))
        refusals = {k: one.refusal for k, one in enumerate(scores) if one.refusal} | refusals
        about |= _sums_of(cells, scores, refusals)
        sums.add({name: c for name, c in about.items() if c.any()}, cells.prompt, cells.time // length)
        advance(len(stretch))
    comparable = [True] * n
    if sums.total("count") < sums.total("partial"):
        comparable = [sums.total(f"defined:{k}") == sums.total("partial") for k in range(n)]
        parts = {"count": ("count", "partial")}
        for k in range(n):
            parts |= {f"error:{k}": (f"error:{k}", f"partial:{k}"), f"defined:{k}": ("count", f"defined:{k}")}
        sums.combine(parts)
    return Collected([one.baseline for one in scores], sums, facts.facts(), refusals, comparable)


def _prepared(
    order: StepOrder, columns: Sequence[str], length: int, facts: FactCollector
) -> Iterator[tuple[Stretch, Cells, dict[str, np.ndarray]]]:
    """Each stretch with its groups and with the columns of sums that no baseline is needed for."""
    first_time = 0
    for stretch in order.stretches(columns, length):
        cells = Cells.of(stretch, first_time)
        yield stretch, cells, facts.add(cells)
        first_time = int(cells.time[-1]) + 1


def _known_noise(cells: Cells, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Variance of a reward: of its group, else from the prompt's visit before, which a moving value makes too large."""
    return np.where(columns["pairs_1"] > 0, columns["half_square_1"], cells.variance)


def _sums_of(cells: Cells, scores: Sequence[Score], refusals: Container[int]) -> dict[str, np.ndarray]:
    """The columns of one stretch that depend on baselines."""
    count = cells.count.astype(np.float64)
    whole = np.ones(len(cells), dtype=bool)
    for k, score in enumerate(scores):
        if k not in refusals:
            whole &= ~np.isnan(score.errors)
    columns = {"count": np.where(whole, count, 0.0), "partial": np.where(whole, 0.0, count)}
    for k, score in enumerate(scores):
        defined = ~np.isnan(score.errors)
        columns[f"error:{k}"] = np.where(whole & defined, score.errors, 0.0)
        columns[f"partial:{k}"] = np.where(~whole & defined, score.errors, 0.0)
        columns[f"defined:{k}"] = np.where(~whole & defined, count, 0.0)
        if score.value_errors is not None:
            right = ~np.isnan(score.value_errors)
            columns[f"value:{k}"] = np.where(right, score.value_errors, 0.0)
            columns[f"known:{k}"] = np.where(right, count, 0.0)
    return columns
