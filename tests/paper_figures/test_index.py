"""Every figure and table: what is drawn, that a false claim is not, and what the command line says."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kvar import plotting
from paper_figures import sources
from paper_figures.accuracy_tables import Accuracy, SingleRollout
from paper_figures.audit_calibration_fig import AuditCalibration
from paper_figures.exhibit import FalseClaimError, make
from paper_figures.index import EXHIBITS, exhibit_classes
from paper_figures.selectors_fig import Selectors
from paper_figures.sources import StudyExhibit, own_baselines
from paper_figures.speed_fig import Speed
from paper_figures.stage_tables import GradientByStage, ValueByStage, stage_means
from simulations.harness.keyed_results import StaleResultError
from simulations.harness.running import run_study
from simulations.studies import STUDIES as ALL_STUDIES
from tests.simulations.test_studies import SMALLER

STUDIES = [cls for cls in EXHIBITS.values() if issubclass(cls, StudyExhibit)]
KEPT = ("adaptive", "schedule")


@pytest.mark.parametrize("name", KEPT)
def test_what_is_kept_is_drawn_and_supports_its_caption(name, tmp_path):
    EXHIBITS[name]().tables()  # of these runs, these baselines and this version
    text, written = make(EXHIBITS[name](), tmp_path)
    assert {path.suffix for path in written} == {".pdf", ".png", ".md"}
    assert all(path.stat().st_size > 300 for path in written)
    assert "paper" in text
    assert EXHIBITS[name].caption in (tmp_path / f"{name}.md").read_text()


def test_the_calibration_is_drawn(tmp_path, monkeypatch):
    tables = {path.stem: pl.read_csv(path) for path in Path("docs").glob("audit_calibration*.csv")}
    monkeypatch.setattr(AuditCalibration, "tables", lambda self: tables)
    text, written = make(AuditCalibration(), tmp_path)
    assert f"{tables['audit_calibration']['inside'].sum()} of {len(tables['audit_calibration'])} pairs" in text
    assert len(written) == 3
    tables["audit_calibration"] = tables["audit_calibration"].with_columns(inside=False)
    with pytest.raises(FalseClaimError, match="at least 90%"):
        make(AuditCalibration(), tmp_path)


@pytest.mark.parametrize("cls", STUDIES, ids=lambda cls: cls.name)
def test_every_study_is_drawn(cls, tmp_path, monkeypatch):
    study = ALL_STUDIES[cls.study]
    small = study(dataclasses.replace(study.quick, **SMALLER[cls.study]))
    tables = small.tables(run_study(small, 0, tmp_path / "blocks"))
    monkeypatch.setattr(cls, "tables", lambda self: tables)
    monkeypatch.setattr(cls, "check", lambda self, tables: None)
    monkeypatch.setattr(cls, "sized_study", lambda self: small)
    text, written = make(cls(), tmp_path)
    assert len(written) >= 3
    assert "paper" in text


def test_a_study_that_was_not_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for cls in STUDIES:
        with pytest.raises(StaleResultError, match="there is no"):
            cls(full=True).tables()


def gradient_rows(adaptive=0.4):
    rng = np.random.default_rng(0)
    rows = []
    for step in range(10, 20):
        for repetition in range(20):
            common = rng.normal(10, 1)
            scales = {"group-mean": 1.0, "leave-one-out": 1.2, "batch-mean": 3.0, "kernel": 0.5, "oracle": 0.3}
            for name, scale in {**scales, "adaptive": adaptive, "variance-optimal, sampled": 0.2}.items():
                error = common + scale + 0.01 * rng.normal()
                row = {"rollouts": 4, "step": step, "repetition": repetition, "baseline": name}
                errors = {"value_mse": 0.01 * scale * rng.exponential(), "gradient_mse": error, "choice_mse": 1.0}
                rows.append(row | errors)
    return pl.DataFrame(rows)


def test_means_of_a_stage_have_the_error_of_repetitions():
    found = stage_means(gradient_rows(), "value_mse").row(by_predicate=pl.col("baseline") == "group-mean", named=True)
    assert found["stage"] == 10
    # Ten steps of twenty exponential draws.
    assert found["error"] == pytest.approx(0.01 / np.sqrt(200), rel=0.2)
    assert found["mean"] == pytest.approx(0.01, abs=4 * found["error"])


def test_tables_1_and_2(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_TRAINING", (tmp_path,))
    for cls in (ValueByStage, GradientByStage):
        with pytest.raises(StaleResultError, match="python -m llm_train gradients"):
            make(cls(), tmp_path)
    (tmp_path / "gradients").mkdir()
    gradient_rows().write_parquet(tmp_path / "gradients" / "rows.parquet")
    value, _ = make(ValueByStage(), tmp_path)
    gradient, _ = make(GradientByStage(), tmp_path)
    assert "| paper, MATH, step 10 | paper, MATH, step 90 |" in value
    assert "| 78.8 |" in value
    # Paired: what rollouts have in common, a standard deviation of 1, is not in the error.
    assert "| kernel | -6.2% ± 0.0% |" in gradient  # 0.7 of a mean of 11.3
    assert re.search(r"\| batch-mean \| -19\.\d% ± 0\.\d% \| REINFORCE", gradient)  # 2.5 of a mean of 13
    gradient_rows(adaptive=4.0).write_parquet(tmp_path / "gradients" / "rows.parquet")
    for cls in (ValueByStage, GradientByStage):
        with pytest.raises(FalseClaimError):
            make(cls(), tmp_path)


def compared(fell=0):
    def row(label, final):
        interval = [final, final - 0.02, final + 0.02]
        return {"label": label, "n_seeds": 10, "fell": fell, "start": [0.05, 0.04, 0.06], "final": interval} | {
            "difference": [final - 0.3, final - 0.32, final - 0.28]
        }

    methods = {"GRPO G=8": 0.3, "batch mean G=1": 0.31, "kernel(10) G=1": 0.35, "adaptive G=1": 0.36}
    return [row(label, final) for label, final in methods.items()]


def test_accuracy_by_method(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_TRAINING", (tmp_path,))
    for folder in ("compare-low", "compare-middle"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "table.json").write_text(json.dumps(compared()))
        measured = [(r["label"], seed, n, n / 1000) for r in compared() for seed in range(3) for n in (0, 100, 200)]
        schema = ["method", "seed", "rollouts", "eval_held_out_pass@1"]
        pl.DataFrame(measured, schema=schema, orient="row").write_csv(tmp_path / folder / "curves.csv")
    text, _ = make(Accuracy(), tmp_path)
    assert "| adaptive G=1 | 0.360 (0.340 to 0.380) | +0.060 (+0.040 to +0.080) |" in text
    assert "| GPG G=8 | not run |  | 40.33 | 43.49 |" in text
    text, written = make(SingleRollout(), tmp_path)
    assert "- kernel(10) G=1 against batch mean G=1, low start: +12.9%" in text
    assert (tmp_path / "single-rollout.pdf") in written
    (tmp_path / "compare-low" / "table.json").write_text(json.dumps(compared(fell=1)))
    with pytest.raises(FalseClaimError, match="no run with kernel or adaptive fell"):
        make(SingleRollout(), tmp_path)


def speeds(ours):
    sizes = (1_000, 10_000)
    programs = {"kvar, numba": ours, "kvar, NumPy": 2.0, "statsmodels": 500.0}
    return pl.DataFrame(
        [
            {
                "job": job,
                "n": n,
                "program": p,
                "median_seconds": s * n * 1e-8,
                "ratio_to_kvar": s / ours,
                "largest_error": 1e-15,
            }
            for job in ("fits", "choice of 50")
            for n in sizes
            for p, s in programs.items()
        ]
    )


def test_speed(tmp_path, monkeypatch):
    monkeypatch.setattr(Speed, "path", tmp_path / "speed.csv")
    with pytest.raises(StaleResultError, match="quiet machine"):
        make(Speed(), tmp_path)
    speeds(1.0).write_csv(Speed.path)
    text, _ = make(Speed(), tmp_path)
    assert "statsmodels 500 (n = 10,000)" in text
    speeds(3.0).write_csv(Speed.path)
    with pytest.raises(FalseClaimError, match="kvar with numba is the fastest"):
        make(Speed(), tmp_path)


def test_selectors(tmp_path, monkeypatch):
    monkeypatch.setattr(Selectors, "path", tmp_path / "selectors.csv")
    ratios = {"kvar averaged": 1.1, "statsmodels cv_ls": 1.2, "kvar one-step-ahead": 1.0}
    frame = pl.DataFrame(
        [
            {"curve": c, "noise": "gaussian", "selector": s, "degree": d, "n": 100, "repetitions": 5}
            | {"mse_ratio": r * f, "standard_error": 0.01}
            for s, r in ratios.items()
            for c, f in (("sine", 0.5), ("kink", 2.0))
            for d in (0, 1)
        ]
    )
    frame.write_csv(Selectors.path)
    assert "- kvar averaged: 1.100, 1.100" in make(Selectors(), tmp_path)[0]
    frame.filter(pl.col("selector") != "kvar averaged").write_csv(Selectors.path)
    with pytest.raises(StaleResultError, match="quiet machine"):
        make(Selectors(), tmp_path)


def test_every_baseline_has_looks_of_its_own():
    names = {*own_baselines(), "critic"}
    looks = [tuple(plotting.baseline_style(name).values())[:2] for name in names]
    unknown = tuple(plotting.baseline_style("what is this").values())[:2]
    assert len({*looks, unknown}) == len(looks) + 1
    assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == len(looks)


def call(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "paper_figures", *arguments], capture_output=True, text=True, check=False
    )


def test_the_command_line_lists_and_names_what_it_does_not_know():
    assert call().returncode == 0
    listed = call("list")
    assert listed.returncode == 0
    assert all(name in listed.stdout for name in EXHIBITS)
    refused = call("nonsense")
    assert refused.returncode == 2
    assert "unknown figure or table 'nonsense'" in refused.stderr


@pytest.mark.parametrize(
    ("name", "exhibit"),
    [
        ("figure-3", "sensitivity"),
        ("Table 4", "accuracy"),
        ("table-2", "gradient-by-stage"),
        ("figure-S.1", "schedule"),
    ],
)
def test_exhibits_have_their_names_in_the_paper(name, exhibit):
    assert exhibit_classes(name) == [EXHIBITS[exhibit]]
    with pytest.raises(ValueError, match=f"did you mean '{name.lower().replace(' ', '-')[:6]}"):
        exhibit_classes(f"{name}9")
