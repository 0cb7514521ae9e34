"""Every study at its smallest, from cells to page; claims that must hold even so; the command line.

What these small studies print is kept in printed/, so that every supported version of NumPy and every machine can be
held against the same digits. `python -m tests.simulations.test_studies` writes them anew where they are to change.
"""

import dataclasses
import itertools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
import pytest

from simulations.__main__ import _run
from simulations.harness.keyed_results import StaleResultError
from simulations.harness.publishing import kept_tables, write_overview, write_page, write_tables
from simulations.harness.running import run_study
from simulations.studies import STUDIES
from simulations.studies.value_rates import ValueRates

SMALLER = {
    "value-rates": {"repetitions": 200, "block": 100, "lengths": (50, 200), "steps": (100,), "course_steps": 30},
    "gradient-error": {"repetitions": 2, "block": 1, "groups": (1, 2), "visits": 6, "warm_up": 3},
    "convergence": {"repetitions": 2, "block": 2, "steps": 40},
    "bandwidth": {"repetitions": 2, "block": 2, "steps": 12, "schedules": ("epochs",)},
    "allocation": {
        "repetitions": 2, "block": 2, "steps": 6, "groups": (1, 2, 8), "pass_rates": (0.3, 0.6), "nuisances": (0, 100),
    },
    "broken-assumptions": {
        "repetitions": 2, "block": 2, "drifts": (0.1,), "completions": (2, 4), "degrees": (3.0,), "groups": (2,),
    },
    "score-norms": {"repetitions": 2, "block": 2, "ratios": (0.15, 1.0), "visits": 8, "warm_up": 4},
    "prompt-orders": {"repetitions": 2, "block": 2, "visits": 4, "draws": 20},
    "coverage": {"repetitions": 2, "block": 2, "rates": (0.5,), "n": (50, 200)},
    "coverage-doubtful": {"repetitions": 2, "block": 2},
    "audit-findings": {
        "repetitions": 2, "block": 2, "prompts": 20, "steps": 20, "batch": 10,
        "faults": ("nothing", "solved prompts", "filtered", "copied rows"), "kept": ("one-prompt-g4",),
    },
    "run-comparison": {"repetitions": 2, "block": 2, "runs": (1, 2), "steps": 12},
    "race": {"repetitions": 2, "block": 2, "groups": (1, 8), "reach": 1000.0, "learning_rates": (0.07, 0.14)},
}  # fmt: skip


PRINTED = Path(__file__).parent / "printed"


def smaller(name):
    cls = STUDIES[name]
    return cls(dataclasses.replace(cls.quick, **SMALLER[name]))


def printed(page):
    return "".join(line + "\n" for line in page.splitlines() if line.startswith(("|", "- ")))


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_runs_from_cells_to_page(name, tmp_path):
    study = smaller(name)
    rows = run_study(study, 0, tmp_path / "blocks")
    assert "failure" not in rows.columns, rows["failure"].drop_nulls().to_list()
    write_tables(study, rows, 0, tmp_path / "out")
    claims = write_page(study, 0, tmp_path / "out")
    assert all(claim.verdict in ("holds", "misses", "undecided") for claim in claims)
    page = (tmp_path / "out" / f"{name}.md").read_text()
    assert "seed 0" in page
    assert f"{study.config.repetitions} repetitions" in page
    for picture in (tmp_path / "out").glob("*.png"):
        assert picture.name in page
    assert list((tmp_path / "out").glob(f"{name}-*.csv"))
    assert printed(page) == (PRINTED / f"{name}.txt").read_text()
    overview = write_overview(tmp_path / "out", STUDIES).read_text()
    assert all(claim.statement in overview for claim in claims)


@pytest.mark.parametrize("name", STUDIES)
def test_the_kept_page_is_that_of_the_kept_tables(name, tmp_path):
    kept = Path("docs/simulations")
    # The name of one study may begin with that of another.
    others = tuple(other for other in STUDIES if other.startswith(f"{name}-"))
    files = [path for path in kept.glob(f"{name}[-.]*") if not path.name.startswith(others)]
    for path in files:
        if path.suffix in (".csv", ".json"):
            shutil.copy(path, tmp_path)
    write_page(STUDIES[name](STUDIES[name].full), 0, tmp_path)
    assert (tmp_path / f"{name}.md").read_text() == (kept / f"{name}.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in files}


@pytest.mark.parametrize("name", STUDIES)
def test_both_sizes_of_every_study_are_sound(name):
    cls = STUDIES[name]
    for config in (cls.full, cls.quick):
        cells = cls(config).cells()
        assert len({tuple(cell.items()) for cell in cells}) == len(cells) > 0
    assert cls.quick.repetitions <= cls.full.repetitions


def test_bias_and_variance_agree_with_theory_where_it_is_exact(tmp_path):
    # With two rollouts a step the sums are trapezoid rules, so that the asymptotic constants hold to a per cent.
    config = dataclasses.replace(
        ValueRates.quick, repetitions=2000, block=2000, lengths=(50, 100), steps=(200,), course_steps=2
    )
    study = ValueRates(config)
    tables = study.tables(run_study(study, 0, tmp_path))
    windows = tables["windows"].filter(pl.col("window") >= 0.1)
    assert (windows["bias_deviation"].abs() < 4).all()
    assert (windows["variance_deviation"].abs() < 4).all()


def test_a_study_that_failed_everywhere_says_so(tmp_path):
    study = ValueRates(ValueRates.quick)
    rows = pl.DataFrame({"kind": ["rate"], "block": [0], "failure": ["ValueError: no"]})
    with pytest.raises(RuntimeError, match="every block of value-rates failed, the first with ValueError: no"):
        write_tables(study, rows, 0, tmp_path)


def call(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "simulations", *arguments], capture_output=True, text=True, check=False
    )


def test_the_command_line_teaches_and_refuses():
    listed = call("list")
    assert listed.returncode == 0
    assert all(name in listed.stdout for name in STUDIES)
    refused = call("run", "nonsense")
    assert refused.returncode == 2
    assert "unknown study 'nonsense'" in refused.stderr
    assert "value-rates" in refused.stderr


@pytest.mark.parametrize("given", [("--jobs", "0"), ("--seed", "-1")])
def test_impossible_numbers_are_refused_before_anything_runs(given, tmp_path):
    refused = call("run", "race", *given, "--out", str(tmp_path))
    assert refused.returncode == 2
    assert given[0] in refused.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("which", "page"), [((1,), True), ((1, 2), False)])
def test_blocks_that_fail_are_said_and_the_rest_is_told(which, page, tmp_path, capsys):
    class Failing(STUDIES["gradient-error"]):
        """As it is, but for blocks that fail."""

        quick = smaller("gradient-error").config

        def simulate(self, cell, repetitions, rng):
            if cell["group_size"] in which:
                raise MemoryError("no more")
            return super().simulate(cell, repetitions, rng)

    assert not _run([Failing], False, 0, 1, tmp_path / "out", tmp_path / "blocks")
    said = capsys.readouterr().out
    assert "blocks failed, the first with MemoryError: no more" in said
    assert ("no page" in said) is not page
    assert (tmp_path / "out" / "gradient-error.md").exists() is page
    with pytest.raises(StaleResultError):  # what is left of a run is no source of figures
        kept_tables(Failing(Failing.quick), 0, tmp_path / "out")
    # What nothing is known of is claimed no less.
    assert ("G = 1, minus 1: nan, bound at most 0.05: undecided" in " ".join(said.split())) is page


def test_the_race_judges_each_entry_at_its_best_rate():
    # At a rate of 1 the curve rises by 0.1 every 100 rollouts, at 2 by 0.2, and at 3 it never arrives.
    settings = itertools.product((("oracle", 2.0), ("group-mean", 1.0)), (1, 2, 3), range(10), (0, 1))
    rows = [
        {"baseline": name, "learning_rate": rate, "rollouts": 100 * k, "repetition": repetition}
        | {"pass_rate": 0.4, "group_size": 2, "gained": min(0.8, 0.1 * k) if rate == 3 else 0.1 * rate * k * speed}
        for (name, speed), rate, k, repetition in settings
    ]
    tables = STUDIES["race"](STUDIES["race"].quick).tables(pl.DataFrame(rows))
    needed = {row["baseline"]: row for row in tables["needed"].iter_rows(named=True)}
    assert needed["oracle"]["rollouts"] == pytest.approx(225.0)
    assert needed["group-mean"]["rollouts"] == pytest.approx(450.0)
    assert needed["group-mean"]["learning_rate"] == 2
    ratio = tables["ratios"].filter(pl.col("against").str.starts_with("oracle"), baseline="group-mean")
    assert ratio["value"][0] == pytest.approx(2.0)


if __name__ == "__main__":
    for study in map(smaller, STUDIES):
        with tempfile.TemporaryDirectory() as folder:
            write_tables(study, run_study(study, 0, Path(folder)), 0, Path(folder))
            write_page(study, 0, Path(folder))
            page = (Path(folder) / f"{study.name}.md").read_text()
        (PRINTED / f"{study.name}.txt").write_text(printed(page))
