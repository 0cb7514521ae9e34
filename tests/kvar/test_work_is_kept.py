"""Whatever becomes of the terminal or the disk, what was computed is kept; and no name writes to the terminal."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from kvar.commands.main import _app
from kvar.utils.terminal import visible
from tests.kvar.test_readers import ROWS

ESCAPES = "\x1b]0;PWNED\x07\x1b[2J\x9b31m\r\u202e"


def log(folder, name="log.jsonl", column="x"):
    path = folder / name
    path.write_text("".join(json.dumps({**row, f"score {column}": 0.5}) + "\n" for row in ROWS))
    return path


def audit(*arguments):
    return CliRunner().invoke(_app(), ["audit", *map(str, arguments), "--baseline", "kernel", "--baseline", "none"])


def test_a_closed_pipe_and_a_poor_encoding_lose_nothing(tmp_path):
    path = log(tmp_path, "caf\udce9.jsonl")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "100"}
    command = [sys.executable, "-m", "kvar.commands.main", "audit", str(path), "--baseline", "kernel"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.close()
        said = child.stderr.read().decode()
    assert "Traceback" not in said
    assert "BrokenPipe" not in said
    folder = tmp_path / "caf\udce9-audit"
    page = (folder / "audit.html").read_text(encoding="utf-8")
    assert "caf\\udce9.jsonl" in page
    assert sorted(os.listdir(folder)) == ["audit.csv", "audit.html", "audit.json", "audit.png", "prompts.parquet"]
    done = subprocess.run([*command, "--out", str(tmp_path / "o")], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"caf\\udce9.jsonl" in done.stdout
    assert b"?" in done.stdout  # for the sign of plus and minus


def test_a_full_disk_loses_the_files_only(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device", "audit.html")

    monkeypatch.setattr("kvar.auditing.report.AuditReport.save", full)
    done = audit(log(tmp_path), "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "value MSE" in done.stdout
    assert "No space left on device" in done.stderr
    assert "Page" not in done.stdout


@pytest.mark.parametrize("damaged", [False, True])
def test_control_characters_are_shown_escaped(tmp_path, damaged):
    path = log(tmp_path, f"log{ESCAPES}.jsonl", ESCAPES)
    if damaged:
        path.write_text(json.dumps({f"y{ESCAPES}": 1, "z": 2}) + "\n")
    done = audit(path, "--out", tmp_path / "out")
    assert done.exit_code == 2 * damaged, done.output
    # Line ends and the signs of the table are the only ones that do not print.
    assert all(c.isprintable() or c == "\n" for c in done.output), [c for c in done.output if not c.isprintable()]
    assert "\\x1b]0;PWNED" in done.output.replace("\n", "")
    if not damaged:
        page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
        assert "\x1b" not in page
        assert "\u202e" not in page


def test_visible_keeps_what_prints():
    assert visible("é ü 数学 😀 ± a_b.jsonl") == "é ü 数学 😀 ± a_b.jsonl"
    assert visible("a\x00\x1b\udcff\n") == "a\\x00\\x1b\\udcff\\n"
