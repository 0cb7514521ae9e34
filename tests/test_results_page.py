"""The page of results is what its command writes, and the kept files that it reads are what the code gives."""

import re
from pathlib import Path

import polars as pl
import pytest

import kvar
from paper_figures.readme_picture import curves, draw
from paper_figures.recorded_runs_table import markdown
from paper_figures.results_page import OUT, page

DOCS = Path("docs")


def test_the_page_is_what_its_command_writes():
    assert page() == OUT.read_text(), "run python -m paper_figures.results_page"


@pytest.mark.parametrize("name", ["recorded_runs", "recorded_runs_fresh"])
def test_the_table_of_all_baselines_is_that_of_the_kept_rows(name):
    assert markdown(pl.read_csv(DOCS / f"{name}.csv")) in (DOCS / f"{name}.md").read_text()


def test_the_picture_of_the_readme_has_the_errors_of_the_kept_rows():
    rows = pl.read_csv(DOCS / "recorded_runs.csv").filter(run="block-g4")
    found = curves(kvar.read_trace("recorded_runs/block-g4.parquet"))
    for name, curve in found.items():
        assert curve.mean() == pytest.approx(rows.filter(baseline=name)["value_mse"].item(), rel=1e-9)
    assert [text.get_text() for text in draw(found).axes[0].texts] == list(found)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", OUT.read_text()))))
def test_the_files_that_it_names_are_there(target):
    assert (DOCS / target).exists()
