"""The audit itself, of a log that may grow: replay the baselines, study windows and group sizes, compare, advise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from kvar.auditing.advice import advise
from kvar.auditing.choice import best_baseline, gradient_saving, row_of
from kvar.auditing.evidence import Evidence, usual_baseline
from kvar.auditing.filtered_groups import reason_filtered
from kvar.auditing.group_size_study import GroupSizeReplay, GroupSizeStudy
from kvar.auditing.norm_pairs import NORM
from kvar.auditing.prompt_numbers import PromptNumbers
from kvar.auditing.prompt_sample import PromptSample, joined
from kvar.auditing.prompt_verdicts import PromptVerdicts
from kvar.auditing.replay_errors import BaselineReplay
from kvar.auditing.report import AuditReport
from kvar.auditing.window_study import WindowReplay
from kvar.baselines import Baseline, baseline_names, make_baseline
from kvar.intervals import LONGEST_PERIOD, Interval, adjusted_p_values
from kvar.rollouts.step_chunks import SortedTrace, StepChunk
from kvar.rollouts.trace import Trace
from kvar.utils.parallel import Share, shared_work
from kvar.utils.progress import progress_bar
from kvar.utils.terminal import visible
from kvar.variance import GradientVariance, gradient_variance

if TYPE_CHECKING:
    from kvar.readers import RolloutLog

__all__ = ["Reading", "RunningAudit"]

_SECONDS = "seconds"

Study = TypeVar("Study", WindowReplay, GroupSizeReplay)


@dataclass(frozen=True)
class Reading:
    """How a log was read."""

    sentences: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)  # What a reader should check; not among the sentences
    source: str = ""
    n_copies: int = 0

    @classmethod
    def of(cls, log: RolloutLog) -> Reading:
        """Take the notes of a log."""
        doubts = list(map(visible, log.notes.doubts))
        sentences = [said for said in map(visible, log.notes.sentences()) if said not in doubts]
        return cls(sentences, doubts, visible(log.path), log.notes.n_copies)


class RunningAudit:
    """Everything that was summed up to some step, to which later steps are added.

    What is kept of a log of n steps are its first whole blocks of `LONGEST_PERIOD` steps, which later steps do not
    change. The rest, with a last step that may not be complete, goes into a copy for each report and then counts as
    new. So a report costs what the new rows cost, and is that of an audit from the first step on, but for rounding.
    """

    def __init__(self, trace: Trace, baselines, n_jobs: int | None = None, cost_per_rollout: float | None = None):
        self._asked = baselines is not None
        self._candidates, self._skipped = _candidates(trace, baselines)
        self._n_jobs, self._cost_per_rollout = n_jobs, np.nan if cost_per_rollout is None else float(cost_per_rollout)
        self._extras = set(trace.extras)
        self._scores = [name for name in trace.extras if name == NORM or name.startswith("sketch_")]
        self._replay = BaselineReplay(self._candidates, trace.extras)
        self._columns = sorted({*self._replay.columns, *self._scores, *({_SECONDS} & trace.extras.keys())})
        self._numbers = PromptNumbers()
        self._sample = PromptSample(self._numbers)
        # Each with the number of chunks of the sample that it has seen.
        self._studies: dict[object, tuple[WindowReplay | GroupSizeReplay, int]] = {}
        # Steps and rollouts that are summed, and steps that were reported on.
        self._n_steps = self._n_rollouts = self._n_seen = 0
        self._seconds = 0.0
        self._fingerprint = 0
        self.last_step = -np.inf  # Rows up to this step are summed

    def fits(self, trace: Trace) -> bool:
        """Whether the rows of a trace can be added: they have the columns, and the candidates take their rewards."""
        return self._extras == trace.extras.keys() and not any(
            baseline.reason_not_applicable(trace.reward, trace.extras) for baseline in self._candidates
        )

    def knows(self, trace: Trace) -> bool:
        """Whether the rows of a whole trace up to `last_step` are those that are summed, and none is gone after it."""
        if self._extras != trace.extras.keys():
            return False
        distinct, code = np.unique(trace.prompt_id, return_inverse=True)
        numbers, known = self._numbers.of(distinct)[code], trace.step <= self.last_step
        if len(self._numbers) > len(distinct) or len(np.unique(trace.step)) < self._n_seen:
            return False
        found = self._numbers.fingerprint(trace.step[known], numbers[known], trace.reward[known])
        return known.sum() == self._n_rollouts and found == self._fingerprint

    def report(
        self, trace: Trace, reading: Reading | None = None, progress: bool = False, more_to_come: bool = False
    ) -> AuditReport:
        """The audit of what is summed and of all rows after `last_step`, which are added as far as they are whole."""
        n_rollouts = self._n_rollouts + len(trace)
        if self._n_rollouts == 0 and np.isnan(trace.reward).all():
            raise ValueError(f"nothing to audit: the trace has {n_rollouts} rollouts, none of them with a reward")
        order = SortedTrace.of(trace)
        n_new = len(order.starts)
        # The last step may not be complete.
        n_whole = max(n_new - 1, 0) // LONGEST_PERIOD * LONGEST_PERIOD if more_to_come else n_new
        numbers, before = self._numbers.of(order.prompts), self._n_steps
        self._n_seen = before + n_new
        self._replay.grow(len(self._numbers), self._n_seen)
        if self._sample.thin(n_rollouts):
            self._studies.clear()

        def chunks(first: int, last: int) -> Iterator[StepChunk]:
            for chunk in order.chunks(self._columns, LONGEST_PERIOD, first, last):
                yield dataclasses.replace(chunk, code=numbers[chunk.code], time=chunk.time + before)

        with (
            progress_bar(progress, "replaying baselines", len(trace)) as (advance, describe),
            shared_work(self._n_jobs, len(trace)) as share,
        ):
            self._replay.add(map(self._keep, chunks(0, n_whole)), share, advance)
            rest = list(chunks(n_whole, n_new))
            # What is summed stays as it is, for the next report.
            replay = deepcopy(self._replay) if more_to_come else self._replay
            replay.add(rest, share, advance)
            return self._compare(replay, rest, reading or Reading(), _Work(share, describe))

    def _keep(self, chunk: StepChunk) -> StepChunk:
        """Note a chunk that is summed for good."""
        self._sample.add(chunk)
        self._n_steps, self._n_rollouts = int(chunk.time[-1]) + 1, self._n_rollouts + len(chunk)
        self._seconds += _seconds([chunk])
        self._fingerprint += self._numbers.fingerprint(chunk.step, chunk.code, chunk.reward)
        self._fingerprint %= 2**64
        self.last_step = float(chunk.step[-1])
        return chunk

    def _compare(self, replay: BaselineReplay, rest: list[StepChunk], reading: Reading, work: _Work) -> AuditReport:
        """Compare the baselines, study the sample, and advise."""
        found, skipped = replay.found(), dict(self._skipped)
        for k, reason in found.refusals.items():
            if self._asked:
                raise ValueError(f"baseline {self._candidates[k].name!r} cannot be replayed: {reason}")
            skipped[self._candidates[k].name] = reason
        kept = [k for k in range(len(self._candidates)) if k not in found.refusals]
        if not kept:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
            raise ValueError(f"nothing to audit: no baseline can be replayed over this trace. {reasons}")
        ranking = found.gradient or found.prediction
        best, of_values = (best_baseline(found, errors, kept) for errors in (ranking, found.prediction))
        adjusted = adjusted_p_values([ranking.difference(k, best).p_value for k in kept])
        rows = {k: row_of(found, k, best, p_value) for k, p_value in zip(kept, adjusted, strict=True)}
        filtered = reason_filtered(found.facts, list(rows.values()))
        windows = sizes = parts = None
        worth, prompts = np.nan, PromptVerdicts.of(self._numbers.ids, found.recent_visits)
        if filtered is None:
            open_part = self._sample.part(rest)
            if not np.isnan(found.facts.gap):  # else all windows are empty, and none is best
                work.describe("studying windows")
                windows = self._study("windows", WindowReplay, open_part, work.share).study()
            work.describe("studying group sizes")
            if (full := found.facts.group_size) > 1:
                sizes = self._study_sizes(self._candidates[of_values], full, open_part, work.share)
            worth = replay.effective_sample_size(best)
            parts = self._gradient_parts(open_part, full)
        else:
            unknown = Interval(np.nan, np.nan, np.nan, np.nan, 0, 0)
            rows = {k: dataclasses.replace(row, estimated_value_mse=unknown) for k, row in rows.items()}
            prompts = prompts.unjudged()
        ranked = sorted(rows.values(), key=lambda row: (np.isnan(row.ranked.mean), row.ranked.mean))
        evidence = Evidence(
            facts=found.facts,
            rows=ranked,
            chosen=rows[best],
            prompts=prompts,
            gradient_saving=gradient_saving(found, kept, best),
            gradient_parts=parts,
            sizes=sizes,
            windows=windows,
            filtered=filtered,
            n_duplicates=reading.n_copies,
        )
        advice = advise(evidence)
        seconds = (self._seconds + _seconds(rest)) / found.facts.n_rollouts
        return AuditReport(
            rows=ranked,
            chosen=rows[best],
            recommendation=advice.recommendation,
            findings=[finding.priced(seconds, self._cost_per_rollout) for finding in advice.findings],
            warnings=[*reading.doubts, *advice.warnings],
            lines=advice.lines,
            facts=found.facts,
            prompts=prompts,
            group_sizes=sizes,
            windows=windows,
            effective_sample_size=worth,
            skipped=skipped,
            reading=reading.sentences,
            source=reading.source,
        )

    def _study(self, name: object, make: Callable[[], Study], rest: list[StepChunk], share: Share) -> Study:
        """A study of the whole sample, and of the rest of the log in a copy."""
        study, n_seen = cast("tuple[Study, int]", self._studies.get(name) or (make(), 0))
        study.add(self._sample.chunks[n_seen:], share)
        self._studies[name] = (study, len(self._sample.chunks))
        if rest:
            study = deepcopy(study)
            study.add(rest, share)
        return study

    def _study_sizes(self, baseline: Baseline, full: int, rest: list[StepChunk], share: Share) -> GroupSizeStudy | None:
        def make() -> GroupSizeReplay:
            return GroupSizeReplay(baseline, full)

        return self._study((baseline.name, full), make, rest, share).study(self._sample.one_in)

    def _gradient_parts(self, rest: list[StepChunk], group_size: int) -> GradientVariance | None:
        """Parts of the gradient's variance under the usual baseline; None where the log does not show them."""
        if not self._scores:
            return None
        try:
            return gradient_variance(joined([*self._sample.chunks, *rest]), usual_baseline(group_size))
        except ValueError:  # norms that are missing or damaged, or neither groups of three nor true values
            return None


@dataclass(frozen=True)
class _Work:
    """How work is shared between processes, and what is told of it."""

    share: Share
    describe: Callable[[str], object]


def _seconds(chunks: Iterable[StepChunk]) -> float:
    """Seconds that the rollouts of some chunks took; NaN where they are not recorded."""
    return sum(float(chunk.columns[_SECONDS].sum()) if _SECONDS in chunk.columns else np.nan for chunk in chunks)


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
