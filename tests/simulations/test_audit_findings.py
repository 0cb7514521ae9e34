"""The table of findings against the truth: each kind is in it, with runs where it must appear and where it must not."""

from pathlib import Path

import polars as pl

from kvar.auditing.kinds import KINDS
from simulations.bandit.faulty_runs import faulty_run
from simulations.studies.audit_findings import _judged

TABLE = Path(__file__).parents[2] / "docs" / "simulations" / "audit-findings-kinds.csv"


def test_every_registered_kind_is_judged(rng):
    trace = faulty_run("nothing", 20, 20, 10, rng)
    assert {row["kind"] for row in _judged("nothing", trace)} == KINDS.keys()


def test_every_registered_kind_has_runs_with_it_and_runs_without():
    table = pl.read_csv(TABLE)
    assert set(table["kind"]) == KINDS.keys()
    for runs in ("runs_with", "runs_without"):
        assert table.filter(pl.col(runs).fill_null(0) == 0)["kind"].to_list() == []
