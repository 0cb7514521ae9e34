"""Several runs: each audited by itself, and their settings compared on the same prompts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kvar.auditing.comparison import compare_runs
from kvar.auditing.prompt_steps import PromptSteps
from kvar.auditing.report import AuditReport
from kvar.auditing.run import audit
from kvar.auditing.runs_report import RunsReport
from kvar.baselines import BaselineName
from kvar.rollouts.trace import Trace

if TYPE_CHECKING:
    from narwhals.typing import IntoFrame

__all__ = ["audit_runs"]


def audit_runs(
    runs: Mapping[str, Trace | str | os.PathLike | IntoFrame],
    settings: Sequence[str] | None = None,
    baselines: Sequence[BaselineName] | None = None,
    n_jobs: int | None = None,
    progress: bool = False,
    cost_per_rollout: float | None = None,
    **reading,
) -> RunsReport:
    """Audit several runs, and compare their settings on the same prompts.

    Parameters
    ----------
    runs : mapping of str to Trace, path or DataFrame
        Runs by name. The first one's setting is the one that the others are compared with.
    settings : sequence of str, optional
        Name of the setting of each run. Runs of one setting are taken as repetitions that differ by chance only, such
        as their seed. By default runs whose settings files agree have one setting, and without such files each run has
        its own.
    baselines : sequence of str, optional
        As in `kvar.audit`.
    n_jobs : int, optional
        Number of processes, each of which takes some of the runs. By default all cores, or what
        ``joblib.parallel_config`` sets; ``backend="dask"`` or ``"ray"`` spreads the runs over a cluster.
    progress : bool
        Show a progress bar.
    cost_per_rollout : float, optional
        As in `kvar.audit`.
    **reading
        Further arguments of `kvar.readers.read_log`, such as `columns`.

    Returns
    -------
    RunsReport
        A row a run, the comparison, and `save`. Runs that cannot be audited are left out, with the reason.

    Raises
    ------
    ValueError
        If no run can be audited, or the number of settings is not that of the runs.

    Notes
    -----
    Rewards are compared by least squares with an effect for each prompt and each run, over the steps that all runs
    have. With several runs of a setting, intervals and tests allow for chance between runs, and p-values are adjusted
    by Holm's method. With one run each, the interval is over prompts and holds for these runs only: two runs of one
    setting are exchangeable, so a single pair gives no test of whether settings differ.

    Examples
    --------
    >>> import kvar
    >>> columns = {"step": [0, 0, 1, 1], "prompt_id": [1, 2, 1, 2]}
    >>> runs = {f"seed {k}": kvar.Trace.from_columns({**columns, "reward": [0, k, 1, 1]}) for k in (0, 1)}
    >>> report = kvar.audit_runs(runs, baselines=["kernel", "batch-mean"], n_jobs=1)
    >>> round(report.comparison.differences[0].interval.mean, 6)
    0.25
    >>> report.comparison.differences[0].different is None
    True
    """
    # Slow to import, and needed only here.
    import joblib

    from kvar.utils.progress import progress_bar

    names = list(runs)
    if settings is not None and len(settings) != len(names):
        raise ValueError(f"settings must name that of each of the {len(names)} runs, got {len(settings)}")
    n_jobs = joblib.effective_n_jobs(n_jobs or joblib.parallel.get_active_backend()[1] or -1)
    with progress_bar(progress, "auditing runs", len(names)) as (advance, _):
        # In rounds, since not every backend returns results one by one.
        size = min(n_jobs, len(names))
        parallel = joblib.Parallel(size, max_nbytes=None)
        found: list[tuple[AuditReport, PromptSteps] | str] = []
        for k in range(0, len(names), size):
            found += parallel(
                joblib.delayed(_audited)(runs[name], baselines, cost_per_rollout, reading)
                for name in names[k : k + size]
            )
            advance(len(names[k : k + size]))
    failed = {name: one for name, one in zip(names, found, strict=True) if isinstance(one, str)}
    if len(failed) == len(names):
        raise ValueError("no run can be audited. " + " ".join(f"{name}: {reason}" for name, reason in failed.items()))
    kept = [k for k, name in enumerate(names) if name not in failed]
    of_files, differing = _by_file({names[k]: runs[names[k]] for k in kept})
    setting = of_files if settings is None else [settings[k] for k in kept]
    audited = [one for one in found if not isinstance(one, str)]
    compared = (
        compare_runs([cells for _, cells in audited], setting)
        if len(set(setting)) > 1
        else "All runs have one setting: add runs of another one, as new=RUN, to compare."
    )
    return RunsReport(
        reports={names[k]: report for k, (report, _) in zip(kept, audited, strict=True)},
        settings=setting,
        comparison=None if isinstance(compared, str) else compared,
        not_compared=compared if isinstance(compared, str) else "",
        differing=differing,
        failed=failed,
    )


def _audited(
    run: Trace | str | os.PathLike | IntoFrame, baselines, cost_per_rollout, reading: dict
) -> tuple[AuditReport, PromptSteps] | str:
    """The audit of a run and what its comparison needs, or why it cannot be audited."""
    # Reading needs more than NumPy and SciPy.
    from kvar.readers import read_log

    try:
        log = run if isinstance(run, Trace) else read_log(run, numbers_only=True, **reading)
        trace = log if isinstance(log, Trace) else log.trace
        return audit(log, baselines, n_jobs=1, cost_per_rollout=cost_per_rollout), PromptSteps.of(trace)
    except (OSError, ValueError) as error:
        return str(error)


def _by_file(runs: Mapping[str, Trace | str | os.PathLike | IntoFrame]) -> tuple[list[str], dict[str, list]]:
    """The setting of each run by the settings files next to their logs, and the settings in which these differ."""
    from kvar.readers.run_settings import differing_settings, read_settings

    names = list(runs)
    found = [read_settings(Path(run)) if isinstance(run, (str, os.PathLike)) else None for run in runs.values()]
    known = [one for one in found if one is not None]
    # A file that several logs share does not say what each was run with.
    if len(known) < len(names) or len({file for file, _ in known}) < len(names):
        return names, {}
    first = [next(k for k, (_, other) in enumerate(known) if other == mine) for _, mine in known]
    return [names[k] for k in first], differing_settings([content for _, content in known])
