"""One row a prompt: its value now, its slope, and a verdict that allows for the number of prompts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from kvar.auditing.recent_visits import MOST_VISITS, RecentVisits
from kvar.intervals import adjusted_p_values, rate_limits

__all__ = ["FALSE_DISCOVERY_RATE", "SOLVED", "TAKES", "VERDICTS", "PromptVerdicts"]

FALSE_DISCOVERY_RATE = 0.05
# As a fraction of the range of the rewards: a prompt is solved above it, and stuck as far from the other end.
SOLVED = 0.9
VERDICTS = ("forgotten", "stuck", "improving", "solved", "open", "not judged")
# With less than this no verdict is looked for.
_FEW_VISITS, _FEW_REWARDS = 4, 8
TAKES = f"A verdict takes {_FEW_VISITS} visits and {_FEW_REWARDS} rewards"


@dataclass(frozen=True)
class PromptVerdicts:
    """Value, slope and verdict of each of P prompts, from its last visits, at most 32 of them.

    The value is a local mean under the triangular kernel over visits: the last one has the full weight, the 32nd before
    it none. Its error is that of rewards at the two ends of their range, exact for rewards of two values and an upper
    bound for others. The slope is that of the least-squares line through the rewards, and its error that of rewards
    which do not depend on the step.
    """

    prompts: np.ndarray  # shape (P,): Ids
    value: np.ndarray  # shape (P,): Value now
    error: np.ndarray  # shape (P,): Its standard error
    low: np.ndarray  # low, high: shape (P,): Its 95 % limits
    high: np.ndarray
    slope: np.ndarray  # slope, slope_error: shape (P,): Change of the value per step, and its standard error
    slope_error: np.ndarray
    visits: np.ndarray  # shape (P,): Steps at which the prompt has rewards
    rewards: np.ndarray  # shape (P,): Rewards that the verdict rests on
    last_reward: np.ndarray  # shape (P,): Mean reward of the last visit
    verdict: np.ndarray  # shape (P,): One of `VERDICTS`

    @classmethod
    def of(cls, prompts: np.ndarray, visits: RecentVisits) -> PromptVerdicts:
        """Judge prompts, given by the ids of their numbers, by their last visits; they come in the order of ids."""
        low, width = visits.low, visits.high - visits.low
        count, total, step = visits.count, visits.total, visits.step
        number = count.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            weight = 1 - visits.age / MOST_VISITS
            mass = (weight * count).sum(axis=1)
            size = mass**2 / (weight**2 * count).sum(axis=1)
            value = (weight * total).sum(axis=1) / mass
            rate = np.clip((value - low) / width, 0.0, 1.0)
            # Half a reward at either end keeps the variance away from zero.
            typical = (rate * size + 0.5) / (size + 1)
            variance = width**2 * typical * (1 - typical)
            lower, upper = rate_limits(rate, size)
            mean = total.sum(axis=1) / number
            away = np.where(count > 0, step - ((count * step).sum(axis=1) / number)[:, None], 0.0)
            spread = (count * away**2).sum(axis=1)
            slope = np.where(spread > 0, (away * total).sum(axis=1) / spread, np.nan)
            scatter = (
                visits.squares + np.where(count > 0, total - count * mean[:, None], 0.0) ** 2 / count.clip(1)
            ).sum(axis=1)
            slope_error = np.sqrt(np.where(scatter > 0, scatter / (number - 1), variance) / spread)
        enough = (visits.n_visits >= _FEW_VISITS) & (number >= _FEW_REWARDS) & (width > 0)
        columns = (
            prompts,
            value,
            np.sqrt(variance / size),
            low + width * lower,
            low + width * upper,
            slope,
            np.where(spread > 0, slope_error, np.nan),
            visits.n_visits,
            number.astype(np.int64),
            visits.last_reward,
            _verdicts(rate, size, slope / slope_error, enough),
        )
        order = np.argsort(prompts, kind="stable")
        return cls(*(column[order] for column in columns))

    def __repr__(self) -> str:
        """How many prompts have each verdict."""
        return f"PromptVerdicts({self.summary}; .table has a row a prompt)"

    @property
    def summary(self) -> str:
        """How many prompts have each verdict, in words."""
        counts = {verdict: int(self.are(verdict).sum()) for verdict in VERDICTS}
        said = ", ".join(f"{number:,} {verdict}" for verdict, number in counts.items() if number)
        return f"{len(self.prompts):,} prompts: {said}"

    def unjudged(self) -> PromptVerdicts:
        """The same without verdicts, as for a log that is a selection by its rewards."""
        return dataclasses.replace(self, verdict=np.full(len(self.prompts), "not judged"))

    def are(self, verdict: str) -> np.ndarray:
        """Which prompts have a verdict, shape (P,)."""
        return self.verdict == verdict

    @property
    def table(self):
        """One row a prompt as a polars DataFrame."""
        import polars

        shown = {name: column for name, column in vars(self).items() if name not in ("prompts", "rewards")}
        return polars.DataFrame({"prompt": self.prompts, **shown})


def _verdicts(rate: np.ndarray, size: np.ndarray, z: np.ndarray, enough: np.ndarray) -> np.ndarray:
    """Verdicts at `FALSE_DISCOVERY_RATE`, by the method of Benjamini and Hochberg over the prompts.

    All are one-sided tests, a family for each verdict. Solved and stuck are binomial tests of the value against
    `SOLVED`, with the effective sample size; improving and forgotten are normal tests of the slope. A prompt that moves
    is not called solved or stuck.
    """
    # Slow to import, and needed only here.
    from scipy.special import betainc, ndtr

    p_solved, p_stuck = (betainc(size * part, size * (1 - part) + 1, SOLVED) for part in (rate, 1 - rate))
    forgotten, improving, solved, stuck = (
        adjusted_p_values(np.where(enough, p, np.nan), "fdr_bh") <= FALSE_DISCOVERY_RATE
        for p in (ndtr(z), ndtr(-z), p_solved, p_stuck)
    )
    return np.select(
        [~enough, forgotten, improving, solved, stuck],
        ["not judged", "forgotten", "improving", "solved", "stuck"],
        default="open",
    )
