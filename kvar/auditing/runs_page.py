"""The page of several runs: a row a run, and their settings compared."""

from __future__ import annotations

import numpy as np

from kvar._version import __version__
from kvar.auditing.comparison import Comparison
from kvar.auditing.page import template, whole_page
from kvar.auditing.pictures import drawing_style, svg
from kvar.auditing.runs_findings import RunsFindings
from kvar.plotting import new_figure

__all__ = ["figure_cells", "runs_fragment", "runs_page"]

# Of Okabe and Ito (2008), in an order that keeps neighbours apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_LINES = ("-", "--", "-.", ":")


def runs_page(report: RunsFindings) -> str:
    """Render a whole page."""
    return whole_page(runs_fragment(report), f"kvar audit of {len(report.reports)} runs")


def runs_fragment(report: RunsFindings, links: bool = True) -> str:
    """Render the part of the page that a notebook shows; links lead to the audits that `RunsReport.save` writes."""
    comparison = report.comparison
    drawing = None
    if comparison is not None:
        with drawing_style():
            drawing = svg(
                _curves(comparison, _reward_range(report)),
                "Mean reward of each setting over the steps that all runs have",
            )
    heads, rows = figure_cells(report)
    return template("runs.html.j2").render(
        report=report,
        comparison=comparison,
        drawing=drawing,
        heads=heads,
        rows=rows,
        places=report.places if links else {},
        version=__version__,
    )


def figure_cells(report: RunsFindings) -> tuple[list[str], list[list[str]]]:
    """Headers and cells of the table of runs, for the page and the terminal."""
    several = len(set(report.settings)) < len(report.settings)
    rows = []
    for record in report.records:
        wasted = record["wasted_rollouts"]
        cells = {
            "run": record["run"],
            **({"setting": record["setting"]} if several else {}),
            "rollouts": f"{record['n_rollouts']:,}",
            "prompts": f"{record['n_prompts']:,}",
            "steps": f"{record['n_steps']:,}",
            "group": f"{record['group_size']}",
            "reward": f"{record['reward_first']:.3g} to {record['reward_last']:.3g}",
            "wasted": "-" if np.isnan(wasted) else f"{100 * wasted:.0f} %",
            "use": record["baseline"],
            "of": f"{record['group_size_advised'] or '-'}",
        }
        rows.append(cells)
    return list(rows[0]), [list(cells.values()) for cells in rows]


def _reward_range(report: RunsFindings) -> tuple[float, float]:
    facts = [one.facts for one in report.reports.values()]
    return min(one.reward_low for one in facts), max(one.reward_high for one in facts)


def _curves(comparison: Comparison, reward_range: tuple[float, float]):
    figure, (axes,) = new_figure(4.8, 3.0)
    for k, name in enumerate(comparison.settings):
        colour, line = _COLOURS[k % len(_COLOURS)], _LINES[k // len(_COLOURS) % len(_LINES)]
        mine = comparison.curves[np.array(comparison.setting_of) == k]
        # Two runs have wide limits, but no mean reward is beyond the rewards.
        band = np.clip(comparison.bands[k], *reward_range)
        axes.fill_between(comparison.places, *band, color=colour, alpha=0.2, linewidth=0)
        axes.plot(comparison.places, mine.mean(axis=0), line, color=colour, linewidth=1.8, label=name)
        if len(mine) > 1:
            axes.plot(comparison.places, mine.T, line, color=colour, linewidth=0.6, alpha=0.6)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    axes.set_xlabel("step")
    axes.set_ylabel("mean reward")
    return figure
