"""The likely mistakes of a first day at the command line: each ends at once, naming the bad value and the remedy."""

import shutil

import pytest
from typer.testing import CliRunner

from kvar.commands.audit import demo_path
from kvar.commands.main import _app

# What was typed after `kvar audit`, what the message must name, and the exit code.
MISTAKES = [
    (["nowhere"], ["nowhere"], 2),
    ([], ["PATH", "--demo"], 2),
    (["log.csv", "--columns", "rewrd=score2"], ["rewrd", "'reward'"], 2),
    (["log.csv", "--columns", "reward=scor2"], ["scor2", "'score2'"], 2),
    (["log.csv", "--columns", "reward"], ["'reward'", "NAME=COLUMN"], 2),
    (["log.csv", "--baseline", "kernle"], ["kernle", "'kernel'"], 2),
    (["log.csv", "--baseline", "oracle"], ["oracle", "true_value"], 2),
    (["log.csv", "--format", "trll"], ["trll", "auto, kvar, trl"], 2),
    (["metrics.csv"], ["reward", "--columns"], 2),
    (["empty"], ["empty", ".parquet"], 2),
    (["log.csv", "--out", "log.csv"], ["log.csv", "--out"], 2),
    (["log.csv", "--out", "others"], ["others/audit.html", "--out"], 2),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text("step,prompt,score,score2\n1,a,1,0\n1,b,0,1\n2,a,1,1\n2,b,0,0\n")
    (tmp_path / "metrics.csv").write_text("step,loss\n1,0.5\n2,0.4\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "audit.html").write_text("<p>of the accounts</p>")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "named", "code"),
    MISTAKES,
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_a_mistake_is_told_at_once(here, arguments, named, code):
    done = CliRunner().invoke(_app(), ["audit", *arguments])
    assert done.exit_code == code
    assert all(word in done.stderr for word in named), done.stderr


def test_a_run_folder_is_read_by_its_rollouts_again_and_again(here):
    (here / "run" / "trace").mkdir(parents=True)
    shutil.copy(demo_path(), here / "run" / "trace" / "step-1.parquet")
    (here / "run" / "metrics.jsonl").write_text('{"step": 1, "reward": 0.5}\n')
    for path in ("run", "run/trace", "run"):
        done = CliRunner().invoke(_app(), ["audit", path, "--baseline", "batch-mean"])
        assert done.exit_code == 0, done.stderr
        assert "25,600 rollouts" in done.stdout
        assert "learning rate" in done.stdout
