"""What objects show of themselves: summaries at a prompt, pages and pictures in a notebook."""

import numpy as np
import pytest

import kvar
from kvar.auditing.finding import Finding
from kvar.commands.audit import demo_path
from kvar.utils.summaries import text_lines, text_table


def test_a_table_is_aligned_and_says_where_its_rest_is():
    assert text_table(["name", "n"], [["kernel", "1"], ["x", "10"], ["y", "2"]], most=2, rest=".table") == [
        "name     n",
        "kernel   1",
        "x       10",
        "... 1 more: .table",
    ]


def test_long_sentences_are_folded_behind_their_mark():
    (folded,) = text_lines(["word " * 40], "- ")
    first, *others = folded.splitlines()
    assert first.startswith("- word")
    assert others
    assert all(line.startswith("  word") for line in others)


@pytest.fixture(scope="module")
def trace():
    return kvar.read_trace(demo_path())


@pytest.fixture(scope="module")
def report(trace):
    return kvar.audit(trace, ["kernel", "adaptive", "leave-one-out", "none", "batch-mean", "group-mean", "oracle"])


def test_a_report_shows_its_recommendation_findings_and_best_baselines(report):
    text = repr(report)
    assert str(report) == text
    assert len(text) < 4000
    unfolded = " ".join(text.split())
    assert report.recommendation in unfolded
    for finding in report.findings:
        assert isinstance(finding, Finding)
        assert (finding.says in unfolded) is (finding.severity != "info")
    assert report.rows[0].label in text
    assert text.count("±") >= 6
    assert ".table.to_pandas()" in text
    assert "<div" in report._repr_html_()


def test_several_runs_show_their_comparison(trace):
    report = kvar.audit_runs({"one": trace, "two": trace}, baselines=["kernel"], n_jobs=1)
    assert len(repr(report)) < 2000
    assert all(verdict in " ".join(repr(report).split()) for verdict in report.verdicts)


@pytest.mark.parametrize("method", ["averaged", "lepski", "loo-cv"])
def test_a_selection_shows_its_choice_and_draws_its_scores(rng, method):
    x = np.linspace(0, 1, 80)
    chosen = kvar.select_bandwidth(x, np.sin(6 * x) + 0.3 * rng.normal(size=80), method)
    assert len(repr(chosen)) < 600
    assert f"{chosen.bandwidth:.4g}" in repr(chosen)
    page = chosen._repr_html_()
    assert "<svg" in page
    assert f"{chosen.bandwidth:.4g}" in page


def test_the_parts_of_a_report_are_short_too(trace, report):
    values = kvar.prompt_values(trace)
    for part in (report.facts, report.prompts, report.windows, report.group_sizes, report.rows[0], values):
        assert len(repr(part)) < 2500
    assert "256 prompts" in repr(values)
    assert "<table" in values._repr_html_()
