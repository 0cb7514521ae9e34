"""The commands of `make reproduce`, on a run of a few steps."""

import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl

import kvar
from kvar import plotting
from paper_figures.value_error_fig import ValueErrors

ROOT = Path(__file__).parents[2]


def run(*arguments):
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_train_audit_and_draw(tmp_path):
    trace = tmp_path / "trace"
    config = ["--config", "llm_train/configs/tiny.yaml", "--output_dir", tmp_path, "--trace_dir", trace]
    short = {"max_steps": 20, "sft_steps": 100, "largest": 5, "n_prompts": 36, "n_held_out": 0, "logging_steps": 10}
    flags = [part for name, value in short.items() for part in (f"--{name}", value)]
    done = run("llm_train", *config, *flags)
    assert done.returncode == 0, done.stderr
    assert re.search(r"train_pass@1: 0\.\d+ \(before: 0\.\d+\)", done.stdout)
    assert kvar.read_trace(trace).step.max() == 20
    assert json.loads((tmp_path / "config.json").read_text())["training"]["block_reuse"] == 10
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["step"] == 0

    data = tmp_path / "value_error.csv"
    done = run("paper_figures.value_error_data", "--trace", trace, "--out", data)
    assert done.returncode == 0, done.stderr
    tables = {"value_error": pl.read_csv(data)}
    assert tables["value_error"]["step"].to_list() == list(range(1, 21))
    # The run is too short for the caption's claim, so the picture is drawn without the check.
    plotting.save(ValueErrors().draw(tables)[""], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_help_names_the_settings_of_a_first_run():
    done = run("llm_train", "--help")
    assert done.returncode == 0
    for words in ("--baseline ", "--block_reuse", "--trace_dir", "--num_generations", "configs/tiny.yaml"):
        assert words in done.stdout
