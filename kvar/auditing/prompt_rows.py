"""The table of prompts on the page: those that most want a look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.auditing.prompt_verdicts import TAKES, VERDICTS, PromptVerdicts

__all__ = ["PromptRows", "prompt_rows"]

_MOST = 200


@dataclass(frozen=True)
class PromptRows:
    """Cells, each as text and as the number to sort by, which is empty where there is none."""

    summary: str
    note: str
    heads: list[str]
    rows: list[list[tuple[str, str]]]


def prompt_rows(prompts: PromptVerdicts) -> PromptRows:
    """The prompts in the order of `VERDICTS`, and the surest first."""
    rank = np.select([prompts.are(verdict) for verdict in VERDICTS], range(len(VERDICTS)), default=len(VERDICTS))
    with np.errstate(invalid="ignore", divide="ignore"):
        sure = np.nan_to_num(np.abs(prompts.slope / prompts.slope_error))
    shown = np.lexsort((-sure, rank))[:_MOST]
    part = f"The {len(shown)} that most want a look. " if len(shown) < len(prompts.prompts) else ""
    return PromptRows(
        f"{prompts.summary}. {TAKES}.",
        f"{part}prompts.parquet has all prompts. Value and slope are of the last visits, at most 32, ± one standard "
        "error.",
        ["prompt", "verdict", "value now", "slope, 100 steps", "visits", "last reward"],
        [_cells(prompts, k) for k in shown] if not prompts.are("not judged").all() else [],
    )


def _cells(prompts: PromptVerdicts, k: int) -> list[tuple[str, str]]:
    slope, slope_error = 100 * prompts.slope[k], 100 * prompts.slope_error[k]
    verdict = str(prompts.verdict[k])
    return [
        (str(prompts.prompts[k]),) * 2,
        (verdict, str(VERDICTS.index(verdict))),
        (f"{prompts.value[k]:.2f} ± {prompts.error[k]:.2f}", _number(prompts.value[k])),
        (f"{slope:+.2g} ± {slope_error:.1g}" if slope == slope else "-", _number(slope)),
        (str(prompts.visits[k]),) * 2,
        (f"{prompts.last_reward[k]:.3g}", _number(prompts.last_reward[k])),
    ]


def _number(value: float) -> str:
    return "" if np.isnan(value) else repr(float(value))
