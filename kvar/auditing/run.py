"""The audit of a log that is complete."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from kvar.auditing.report import AuditReport
from kvar.auditing.running_audit import Reading, RunningAudit
from kvar.baselines import Baseline, BaselineName
from kvar.rollouts.trace import Trace
from kvar.utils.checks import is_number, require

if TYPE_CHECKING:
    from narwhals.typing import IntoFrame

    from kvar.readers import RolloutLog

__all__ = ["audit"]


def audit(
    trace: Trace | RolloutLog | str | os.PathLike | IntoFrame,
    baselines: BaselineName | Baseline | Iterable[BaselineName | Baseline] | None = None,
    progress: bool = False,
    n_jobs: int | None = None,
    cost_per_rollout: float | None = None,
    *,
    columns: Mapping[str, str] | str | None = None,
) -> AuditReport:
    """Replay baselines over a recorded run and say which one would have served it best.

    Parameters
    ----------
    trace : Trace, kvar.readers.RolloutLog, path or DataFrame
        A recorded run, or a log, which is read as by `kvar.read_trace`.
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
        Which columns of the log are ``step``, ``prompt`` and ``reward``, as in `kvar.read_trace`.

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
    # Reading needs more than NumPy and SciPy.
    from kvar.readers import RolloutLog, read_log

    require(
        columns is None or not isinstance(trace, (Trace, RolloutLog)),
        f"columns describe a log that is still to be read, got a {type(trace).__name__}: leave them out",
    )
    reading = Reading()
    if not isinstance(trace, Trace):
        log = trace if isinstance(trace, RolloutLog) else read_log(trace, columns=columns, numbers_only=True)
        trace, reading = log.trace, Reading.of(log)
    return RunningAudit(trace, baselines, n_jobs, cost_per_rollout).report(trace, reading, progress)
