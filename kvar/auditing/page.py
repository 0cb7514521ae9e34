"""The audit's page: one file that needs no network."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

import numpy as np

from kvar._version import __version__
from kvar.auditing.finding import Finding
from kvar.auditing.findings import AuditFindings, AuditRow, error_saved
from kvar.auditing.log_statistics import LogStatistics
from kvar.auditing.pictures import pictures
from kvar.auditing.prompt_rows import prompt_rows
from kvar.intervals import Interval

__all__ = ["fragment", "page", "score_table", "template", "what_was_read", "whole_page"]


def page(report: AuditFindings, refresh: float | None = None) -> str:
    """Render a whole page, which a browser loads again after so many seconds."""
    return whole_page(fragment(report), f"kvar audit of {report.source}" if report.source else "kvar audit", refresh)


def whole_page(content: str, title: str, refresh: float | None = None) -> str:
    """A document around a fragment; the browser runs no other script than ours."""
    script = template("sort.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template("page.html.j2").render(fragment=content, title=title, script=script, digest=digest, refresh=refresh)


def fragment(report: AuditFindings) -> str:
    """Render the part of the page that a notebook shows."""
    heads, table = score_table(report)
    alarms, facts = ([f for f in report.findings if (f.severity == "info") is calm] for calm in (False, True))
    return template("fragment.html.j2").render(
        report=report,
        source=report.source,
        cards=_cards(report),
        contents=_contents(report, alarms, facts),
        alarms=alarms,
        facts=facts,
        prompts=prompt_rows(report.prompts),
        unseen=_unseen(report),
        pictures=pictures(report),
        heads=[*heads, "p, adjusted"],
        table=[
            {"label": row.label, "best": row is report.chosen, "cells": [*cells, _p_value(row.p_value_adjusted)]}
            for row, cells in table
        ],
        details=what_was_read(report),
        version=__version__,
    )


def template(name: str):
    """A template of this package."""
    return _templates().get_template(name)


@cache
def _templates():
    import jinja2

    loader = jinja2.PackageLoader("kvar.auditing", "templates")
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)


def _contents(report: AuditFindings, alarms: list[Finding], facts: list[Finding]) -> list[tuple[str, str]]:
    """Anchors and titles of the sections that there are."""
    sections = [
        ("findings", "Findings", alarms),
        ("facts", "Good to know", facts),
        ("settings", "Settings", report.lines),
        ("prompts", "Prompts", True),
        ("pictures", "Baselines and pictures", True),
        ("unseen", "What it cannot see", True),
        ("reading", "How to read this", True),
    ]
    return [(name, title) for name, title, there in sections if there]


def _unseen(report: AuditFindings) -> list[str]:
    """What no log of rewards shows, and what this one leaves out."""
    sentences = [
        "Whether the rewards are right: a reward that is exploited everywhere looks like a prompt that is solved.",
        "How the policy does on other prompts. Forgetting shows on the prompts of this log only.",
        "Completions: their text, length and diversity are not looked at.",
        "What another baseline would have made of the training. Baselines are replayed on the rollouts of this policy.",
    ]
    if not report.by_gradient:
        sentences.append("The gradient: the log has no score norms, so that its noise is known by the rewards only.")
    return sentences


def what_was_read(report: AuditFindings) -> list[str]:
    """Sentences on what was audited and what was left out."""
    facts = report.facts
    sentences = [*report.reading, _size(facts)]
    if facts.n_unscored:
        sentences.append(f"{facts.n_unscored:,} rollouts without a reward are left out.")
    if report.by_gradient and (n_unknown := facts.n_rollouts - facts.n_unscored - facts.n_normed):
        sentences.append(f"{n_unknown:,} rollouts without a score norm are left out of the gradient errors.")
    skipped = ", ".join(f"{name} ({reason})" for name, reason in report.skipped.items())
    return sentences + ([f"Baselines left out: {skipped}."] if skipped else [])


def _size(facts: LogStatistics) -> str:
    first, last = facts.reward_first_and_last
    course = f": {first:.3g} in the first tenth of the steps, {last:.3g} in the last" if facts.n_steps > 1 else ""
    return (
        f"{facts.n_rollouts:,} rollouts of {facts.n_prompts:,} prompts in {facts.n_steps:,} steps, mostly in groups of "
        f"{facts.group_size}; rewards from {facts.reward_low:g} to {facts.reward_high:g}, {facts.reward_mean:.3g} on "
        f"average{course}."
    )


def _cards(report: AuditFindings) -> list[tuple[str, str]]:
    facts, cards = report.facts, []
    if not np.isnan(facts.norm_ratio):
        cards.append(
            (f"{facts.norm_ratio:.2g}", "W1 / W0, squared score norm of right answers over that of wrong ones")
        )
    if found := error_saved(report.rows, report.chosen, facts):
        number = f"{'≥ ' if found.at_least else ''}{found.percent} %"
        cards.append((number, f"less value MSE, {report.chosen.label} against {found.usual.label}"))
    sizes = report.group_sizes
    if sizes is not None and sizes.advised is not None and sizes.advised.size < sizes.full:
        fewer = 100 * (1 - sizes.advised.size / sizes.full)
        cards.append(
            (f"{sizes.full} → {sizes.advised.size}", f"rollouts a prompt at no larger value MSE, {fewer:.0f} % fewer")
        )
    if facts.zero_variance_groups > 0:
        cards.append((f"{100 * facts.wasted_rollouts:.0f} %", "of the rollouts are in groups with equal rewards"))
    if not np.isnan(size := report.effective_sample_size):
        cards.append((f"{size:.0f}", f"effective sample size of {report.chosen.label} (median, in rewards)"))
    return cards


def score_table(report: AuditFindings) -> tuple[list[str], list[tuple[AuditRow, list[str]]]]:
    """Headers and, for each baseline, cells of the table of scores, for the page and the terminal."""
    columns = {"gradient error": "gradient_error", "above the best": "gradient_above_best"}
    if not report.by_gradient:
        columns.clear()
    columns |= {"est. value MSE": "estimated_value_mse", "value MSE": "value_mse", "one-step error": "one_step_error"}
    columns.setdefault("above the best", "above_best")
    if not report.knows_truth:
        del columns["value MSE"]
    return list(columns), [(row, [_cell(getattr(row, name)) for name in columns.values()]) for row in report.rows]


def _p_value(p_value: float) -> str:
    return "-" if np.isnan(p_value) else f"{p_value:.2g}" if p_value >= 1e-4 else "< 0.0001"


def _cell(interval: Interval) -> str:
    """Mean and half width; the limits where there is no mean, and a dash where it is not defined."""
    if not np.isnan(interval.mean) and not np.isnan(interval.low):
        return f"{interval.mean:.4f} ± {(interval.high - interval.low) / 2:.4f}"
    if not np.isnan(interval.mean):
        return f"{interval.mean:.4f}"
    return "-" if np.isnan(interval.high) else f"{interval.low:.4f} to {interval.high:.4f}"
