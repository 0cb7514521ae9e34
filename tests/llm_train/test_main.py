"""The commands of `make reproduce`, on a run of a few steps."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import polars as pl
import pytest
from trl import GRPOConfig

import kvar
from kvar import plotting
from llm_train.commands import train
from llm_train.run.settings import make_parser
from llm_train.tasks.run_arguments import RunArguments
from llm_train.trainer.config import KAEConfig
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
    for arguments in ((), ("--help",), ("train", "--help")):
        done = run("llm_train", *arguments)
        assert done.returncode == 0
        for words in ("--baseline ", "--block_reuse", "--trace_dir", "--num_generations", "configs/tiny.yaml"):
            assert words in done.stdout


def test_the_short_help_has_no_flag_that_training_lacks():
    shown = {action.dest for action in train._short_help()._actions}
    every = {action.dest for action in make_parser()._actions}
    assert shown <= every
    own = {field.name for kind in (RunArguments, KAEConfig) for field in fields(kind)}
    assert own - {field.name for field in fields(GRPOConfig)} <= shown


@pytest.mark.parametrize(
    "command",
    [
        *("llm_train --help", "llm_train compare --help", "llm_train gradients --help"),
        *("simulations list", "paper_figures list", "kvar.commands.main --help"),
    ],
)
def test_help_and_lists_load_nothing_heavy(command):
    program = [sys.executable, "-X", "importtime", "-m", *command.split()]
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "kvar.kernels" in loaded
    assert not loaded & {"torch", "transformers", "trl", "matplotlib", "sklearn", "scipy.stats", "statsmodels"}
