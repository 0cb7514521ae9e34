"""Same seed, same numbers, whatever runs them; what is done is not done again; failures are rows."""

import dataclasses
import json
import subprocess
import sys
import textwrap
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
from joblib import parallel_config

import kvar
from simulations.harness import running
from simulations.harness.running import run_study, tasks
from simulations.harness.study import Study, StudyConfig
from simulations.studies.gradient_error import GradientError
from tests import clusters

SMALL = dataclasses.replace(GradientError.quick, repetitions=2, block=1, groups=(1, 2), visits=4, warm_up=2)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return run_study(GradientError(SMALL), 7, tmp_path_factory.mktemp("expected"))


def test_two_workers_change_nothing(expected, tmp_path):
    assert run_study(GradientError(SMALL), 7, tmp_path, jobs=2).equals(expected)


def test_threads_change_nothing(expected, tmp_path):
    with parallel_config(backend="threading", n_jobs=2):
        assert run_study(GradientError(SMALL), 7, tmp_path).equals(expected)


@pytest.mark.parametrize("cluster", [clusters.dask, clusters.ray])
@pytest.mark.filterwarnings("ignore")  # of Ray's own making, when it starts and stops
def test_a_cluster_changes_nothing(expected, tmp_path, cluster):
    columns = {"step": np.arange(60) // 6, "prompt_id": np.arange(60) % 3, "reward": np.arange(60) * 7 % 5 % 2}
    runs = {name: kvar.Trace.from_columns(columns) for name in ("one", "two", "three")}
    audits = kvar.audit_runs(runs, ["a", "a", "b"], ["kernel", "adaptive"], n_jobs=1)
    with cluster():
        assert run_study(GradientError(SMALL), 7, tmp_path).equals(expected)
        assert kvar.audit_runs(runs, ["a", "a", "b"], ["kernel", "adaptive"]).to_dict() == audits.to_dict()


def test_another_seed_changes_the_numbers(expected, tmp_path):
    assert not run_study(GradientError(SMALL), 8, tmp_path).equals(expected)


class Counting(Study):
    name = "counting"
    title = "How often was it called?"
    calls: ClassVar[list] = []

    def cells(self):
        return [{"x": 1}, {"x": 2}]

    def simulate(self, cell, repetitions, rng):
        self.calls.append(cell["x"])
        if cell["x"] in self.failing:
            raise ArithmeticError("no such number")
        return {"repetition": np.arange(repetitions), "value": rng.random(repetitions)}

    tables = claims = pictures = None
    failing = ()


Counting.__abstractmethods__ = frozenset()


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(Counting, "calls", [])
    monkeypatch.setattr(Counting, "failing", ())
    return lambda repetitions: Counting(StudyConfig(repetitions, 2))


def test_finished_blocks_are_skipped_and_more_repetitions_add_to_them(counting, tmp_path):
    first = run_study(counting(4), 0, tmp_path)
    assert first["repetition"].to_list() == [0, 1, 2, 3] * 2
    assert len(Counting.calls) == 4
    assert run_study(counting(4), 0, tmp_path).equals(first)
    assert len(Counting.calls) == 4
    more = run_study(counting(6), 0, tmp_path)
    assert len(Counting.calls) == 6
    assert more.filter(pl.col("repetition") < 4).equals(first)
    assert more["value"].n_unique() == 12


def test_a_failure_is_a_row_and_is_tried_again(counting, tmp_path, monkeypatch):
    monkeypatch.setattr(Counting, "failing", (2,))
    rows = run_study(counting(2), 0, tmp_path)
    assert rows["failure"].drop_nulls().to_list() == ["ArithmeticError: no such number"]
    assert rows.filter(x=1)["value"].is_not_null().all()
    monkeypatch.setattr(Counting, "failing", ())
    rows = run_study(counting(2), 0, tmp_path)
    assert "failure" not in rows.columns
    assert Counting.calls == [1, 2, 2]


def test_results_are_keyed_by_config_seed_and_code(counting, tmp_path, monkeypatch):
    run_study(counting(2), 0, tmp_path)
    run_study(counting(2), 1, tmp_path)
    run_study(Counting(StudyConfig(2, 1)), 0, tmp_path)
    monkeypatch.setattr(running, "source_digest", lambda: "another")
    run_study(counting(2), 0, tmp_path)
    folders = list(tmp_path.iterdir())
    assert len(folders) == 4
    keys = [json.loads((folder / "key.json").read_text()) for folder in folders]
    assert {key["source"] for key in keys} >= {"another"}
    assert {key["seed"] for key in keys} == {0, 1}
    assert {key["config"]["block"] for key in keys} == {1, 2}


def test_results_depend_on_all_code_of_the_core_and_of_the_simulations():
    assert [package.__name__ for package in running._SOURCES] == ["kvar", "simulations"]


def test_two_sweeps_on_one_cache_leave_it_whole(tmp_path):
    code = """
        import sys, time
        from tests.simulations.test_running import Counting, StudyConfig, run_study

        print("ready", flush=True)
        sys.stdin.readline()
        for repetitions in range(2, 41, 2):
            found = run_study(Counting(StudyConfig(repetitions, 2)), 0, sys.argv[1])
        print(found["value"].sum())
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    sweeps = [subprocess.Popen(command, **pipes) for _ in range(2)]
    assert [sweep.stdout.readline() for sweep in sweeps] == ["ready\n"] * 2
    for sweep in sweeps:
        sweep.stdin.write("go\n")
        sweep.stdin.flush()
    sums = [float(sweep.communicate()[0]) for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0]
    alone = run_study(Counting(StudyConfig(40, 2)), 0, tmp_path / "alone")
    assert sums == [alone["value"].sum()] * 2
    (folder,) = (path for path in tmp_path.iterdir() if path.name != "alone")
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["key.json", *(task.file_name for task in tasks(Counting(StudyConfig(40, 2))))]
    )


def test_no_two_blocks_share_a_stream(counting):
    study = counting(8)
    draws = {task.generator(study.name, 0).random() for task in tasks(study)}
    assert len(draws) == len(tasks(study)) == 8


def test_repetitions_come_in_whole_blocks():
    with pytest.raises(ValueError, match="5 repetitions in blocks of 2"):
        StudyConfig(5, 2)
    for repetitions in (0, 2.5, True):
        with pytest.raises(ValueError, match=f"repetitions must be a whole number from 1 on, got {repetitions}"):
            StudyConfig(repetitions, 1)
