"""The command line as a user meets it."""

import json
import os
import re
import subprocess
import sys

import pytest
import typer

import kvar
from kvar.auditing.finding import Severity
from kvar.commands.audit import audit_command, output_folder
from kvar.commands.audit_output import print_audit, print_runs
from tests.kvar.test_audit import simulated


def run(*arguments):
    # Wide enough that no sentence wraps, and no colours.
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-m", "kvar.commands.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_audit(tmp_path, rng):
    path = kvar.write_trace(simulated(rng, n_steps=20, missing=0.1), tmp_path / "run.parquet")
    done = run("audit", path)
    assert done.returncode == 0, done.stderr
    for words in ("kernel", "group-mean", "value MSE", "without a reward are left out"):
        assert words in done.stdout
    assert json.loads((tmp_path / "run-audit" / "audit.json").read_text())["table"]
    assert (tmp_path / "run-audit" / "audit.png").exists()


def test_audit_of_chosen_baselines(tmp_path, rng):
    path = kvar.write_trace(simulated(rng, n_steps=10, truth=False), tmp_path / "run.parquet")
    done = run("audit", path, "--baseline", "kernel", "--baseline", "none", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "out" / "audit.json").read_text())["table"]
    assert {row["baseline"] for row in table} == {"kernel", "none"}


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("runs/Qwen2.5-7B", "runs/Qwen2.5-7B-audit"),
        ("runs/Qwen2.5-7B/", "runs/Qwen2.5-7B-audit"),
        ("log.v2.jsonl.gz", "log.v2-audit"),
        ("dumps/*.jsonl", "dumps-audit"),
        ("dumps/*/steps/[0-9]*.jsonl", "dumps-audit"),
        ("s3://bucket/run.v1/*.jsonl", "run.v1-audit"),
        ("s3://bucket/log.jsonl.gz", "log-audit"),
    ],
)
def test_the_page_lies_beside_the_log(tmp_path, monkeypatch, path, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run[1].jsonl").touch()
    assert output_folder("run[1].jsonl") == tmp_path / "run[1]-audit"
    assert output_folder(path) == tmp_path / folder


def test_a_first_look():
    done = run("audit", "--demo", "--json", "--baseline", "kernel", "--baseline", "group-mean")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["rollouts"] == 25_600
    assert content["chosen"] == "group-mean"
    assert "learns sums" in content["source"]
    assert content["windows"]["best"] == 256


def test_a_log_without_rewards_names_the_flag(tmp_path):
    (tmp_path / "log.csv").write_text("step,prompt,points\n1,a,1\n1,b,0\n")
    done = run("audit", tmp_path / "log.csv")
    assert done.returncode == 2
    assert "no column that looks like a reward among step, prompt, points" in done.stderr
    assert "--columns reward=COLUMN" in done.stderr
    done = run("audit", tmp_path / "log.csv", "--columns", "reward=points", "--baseline", "batch-mean")
    assert done.returncode == 0, done.stderr
    taken = "Columns used: step = step, prompt = prompt. Change this with --columns."
    assert taken in done.stdout
    assert taken in (tmp_path / "log-audit" / "audit.html").read_text()


@pytest.mark.parametrize("arguments", [("audit", "nowhere"), ("audit", __file__), ("audit",)])
def test_errors_are_one_sentence(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("kvar audit: ")
    assert "Traceback" not in done.stderr


def test_help_teaches():
    bare = run()
    assert bare.returncode == 0
    assert bare.stdout == run("--help").stdout
    assert "audit" in bare.stdout
    assert run("--version").stdout == f"kvar {kvar.__version__}\n"
    audit = " ".join(run("audit", "--help").stdout.replace("│", " ").split())
    assert "one-step-ahead" in audit
    assert "--columns" in audit


def test_exit_codes_and_schema(tmp_path, rng):
    path = kvar.write_trace(simulated(rng, n_steps=10, truth=False), tmp_path / "run.parquet")
    report = kvar.audit(kvar.read_trace(path), ["kernel"])
    for severity in (Severity.HIGH, Severity.INFO):
        done = run("audit", path, "--baseline", "kernel", "--json", "--fail-on", severity.value)
        assert done.returncode == int(min(Severity(one).rank for one in report.severities) <= severity.rank)
    content = json.loads(done.stdout)
    # A key that goes or changes its meaning is a new version.
    assert content["schema"] == 1
    assert content.keys() >= {
        *("schema", "chosen", "recommendation", "findings", "warnings", "lines", "rollouts", "unscored", "skipped"),
        *("reading", "source", "facts", "effective_sample_size", "group_sizes", "windows", "table"),
    }
    assert content["table"][0].keys() >= {"baseline", "parameters", "one_step_error", "estimated_value_mse", "p_value"}
    assert run("audit", tmp_path / "nothing", "--fail-on", "high").returncode == 2


def test_a_pipe_gets_no_boxes_and_no_cut_lines(tmp_path, rng):
    path = kvar.write_trace(simulated(rng, n_steps=10), tmp_path / "run.parquet")
    done = run("audit", path, "--baseline", "empirical-bayes", "--baseline", "james-stein")
    assert not set(done.stdout) & set("\x1b│┃━─┏└")
    assert "empirical-bayes" in done.stdout
    assert kvar.audit(path, ["empirical-bayes", "james-stein"]).recommendation in done.stdout.splitlines()


def test_the_output_folder_is_checked_before_the_work(tmp_path, rng, monkeypatch):
    path = kvar.write_trace(simulated(rng, n_steps=10, truth=False), tmp_path / "run.parquet")
    # The page of an earlier audit may be replaced.
    for _ in range(2):
        audit_command([str(path)], tmp_path / "out", baseline=["none"])

    def read(*arguments, **settings):
        raise AssertionError("the log was read")

    monkeypatch.setattr("kvar.commands.audit.read_log", read)
    (tmp_path / "out" / "audit.html").write_text("of somebody else")
    with pytest.raises(typer.Exit):
        audit_command([str(path)], tmp_path / "out")


def test_advice_comes_before_the_table(capsys, rng):
    report = kvar.audit(simulated(rng, n_steps=10), ["kernel", "none"])
    print_audit(report)
    printed = capsys.readouterr().out
    assert printed.index(report.recommendation) < printed.index("one-step error")


def test_no_name_is_cut_on_a_narrow_terminal(capsys, rng, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    names = ["empirical-bayes", "variance-optimal", "leave-one-out", "discounted-beta"]
    print_audit(kvar.audit(simulated(rng, n_steps=10), names))
    lines = capsys.readouterr().out.splitlines()
    for name in names:
        assert any(name in line and "│" in line for line in lines)


def test_the_table_of_runs_fits_a_narrow_terminal(capsys, rng, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    names = ["a-run-with-a-name-of-more-than-forty-letters-seed-1", "b", "c", "d"]
    runs = {name: simulated(rng, n_steps=10) for name in names}
    print_runs(kvar.audit_runs(runs, ["a-long-setting", "a-long-setting", "new", "new"], ["discounted-beta"], n_jobs=1))
    lines = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in capsys.readouterr().out.splitlines()]
    cells = list(zip(*(line.split("│") for line in lines if "│" in line), strict=True))
    assert all(len(line) <= 80 for line in lines)
    assert "".join("".join(cells[0]).split()) == "".join(names)
    assert "".join("".join(cells[1]).split()) == "a-long-setting" * 2 + "new" * 2
    assert "".join("".join(cells[-2]).split()) == "discounted-beta" * 4
