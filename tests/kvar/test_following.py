"""Following a log: the page after many updates is that of a fresh audit, however the log is written."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

import kvar
from kvar.auditing import prompt_sample
from kvar.auditing.followed_audit import FollowedAudit
from kvar.auditing.page import page
from kvar.auditing.replay_errors import BaselineReplay
from kvar.readers.lines import whole_lines

NAMES = ["kernel", "group-mean", "batch-mean"]


def rows_of(n_steps, group=4, per_step=8, n_prompts=30, seed=0):
    """Columns of a run, by name."""
    rng = np.random.default_rng(seed)
    prompt = np.array([rng.choice(n_prompts, per_step, replace=False) for _ in range(n_steps)])
    prompt = np.repeat(prompt.ravel(), group)
    step = np.repeat(np.arange(n_steps), per_step * group)
    value = rng.uniform(0.1, 0.6, n_prompts)[prompt] + 0.3 * step / n_steps
    reward = (rng.random(len(step)) < value).astype(float)
    norm = np.where(reward > 0, 1.0, 1.5) * rng.uniform(0.5, 1.5, len(step))
    return {"step": step, "prompt": np.char.add("q", prompt.astype(str)), "reward": reward, "score_norm": norm}


def part(rows, first, last):
    kept = (rows["step"] >= first) & (rows["step"] < last)
    return {name: column[kept].tolist() for name, column in rows.items()}


def lines_of(rows):
    return "".join(json.dumps(dict(zip(rows, row, strict=True))) + "\n" for row in zip(*rows.values(), strict=True))


def numbers(report):
    """All that a report says; numbers to nine places."""
    return json.loads(json.dumps(report.to_dict()), parse_float=lambda number: round(float(number), 9))


def shown(report):
    """The page; the names of clipping paths in pictures hash the last bit of what they clip."""
    return re.sub(r"\bp[0-9a-f]{10}\b", "p", page(report))


def checked(follower, path, names=NAMES, how=numbers):
    """Update, and compare with a fresh audit."""
    report = follower.update()
    assert how(report) == how(kvar.audit(path, names, n_jobs=1))
    return report


@pytest.mark.parametrize("norms", [True, False])
def test_a_followed_log_has_the_page_of_a_fresh_audit(tmp_path, norms, monkeypatch):
    # So few that prompts leave the sample as the log grows.
    monkeypatch.setattr(prompt_sample, "_MOST_ROLLOUTS", 2000)
    rows = rows_of(161)
    if not norms:
        del rows["score_norm"]
    path, follower, before = tmp_path / "log.jsonl", FollowedAudit(tmp_path / "log.jsonl", NAMES, 1), 0
    for end in (2, 40, 97, 100, 161):
        with path.open("a") as log:
            log.write(lines_of(part(rows, before, end)))
        report = checked(follower, path, how=shown if norms and end == 161 else numbers)
        assert report.facts.n_steps == end
        before = end
    assert follower.update() is None


def test_an_update_replays_new_steps_only(tmp_path, monkeypatch):
    rows, seen = rows_of(200), []
    added = BaselineReplay.add

    def counted(self, chunks, *arguments):
        chunks = list(chunks)
        seen.append(sum(map(len, chunks)))
        added(self, chunks, *arguments)

    monkeypatch.setattr(BaselineReplay, "add", counted)
    path, follower = tmp_path / "log.jsonl", FollowedAudit(tmp_path / "log.jsonl", NAMES, 1)
    path.write_text(lines_of(part(rows, 0, 150)))
    follower.update()
    seen.clear()
    with path.open("a") as log:
        log.write(lines_of(part(rows, 150, 170)))
    follower.update()
    # Blocks of 32 steps of 32 rollouts: of 150 steps the first four stay, and the rest counts as new.
    assert seen == [32 * 32, (170 - 160) * 32]


def write_trl(rows, folder):
    for step in np.unique(rows["step"]):
        frame = pl.DataFrame({**rows, "completion": [f"a{k}" for k in range(len(rows["step"]))]})
        frame = frame.filter(pl.col("step") == int(step)).rename({"reward": "accuracy"})
        frame.with_columns(advantage=pl.col("accuracy") - 0.5).write_parquet(folder / f"completions_{step:05d}.parquet")


def write_verl(rows, folder):
    for step in np.unique(rows["step"]):
        kept = {name: np.array(column)[np.array(rows["step"]) == step].tolist() for name, column in rows.items()}
        kept = {"input": kept["prompt"], "output": kept["prompt"], "score": kept["reward"], "step": kept["step"]}
        (folder / f"{step}.jsonl").write_text(lines_of(kept))


def write_kvar(rows, folder):
    for step in np.unique(rows["step"]):
        here = np.array(rows["step"]) == step
        columns = {"prompt_id": np.array(rows["prompt"])[here], "reward": np.array(rows["reward"])[here]}
        kvar.write_trace(
            kvar.Trace.from_columns({"step": np.full(here.sum(), step), **columns}),
            folder / f"step-{step:09d}.parquet",
        )


@pytest.mark.parametrize("write", [write_trl, write_verl, write_kvar])
def test_folders_are_followed_file_by_file(tmp_path, write):
    rows, folder = rows_of(60), tmp_path / "completions"
    folder.mkdir()
    follower = FollowedAudit(folder, NAMES, 1)
    for first, last in ((0, 40), (40, 45), (45, 60)):
        write(part(rows, first, last), folder)
        checked(follower, folder)
        assert follower.read_anew_because == ""
    assert not follower._log.whole


def test_a_line_that_is_being_written_waits(tmp_path):
    rows, path = rows_of(40), tmp_path / "log.jsonl"
    text = lines_of(part(rows, 0, 40))
    cut = text.index("\n", len(text) // 2) + 20
    path.write_text(text[:cut])
    follower = FollowedAudit(path, NAMES, 1)
    first = follower.update()
    assert not any("left out" in sentence for sentence in first.reading)
    assert follower.update() is None
    path.write_text(text[: cut + 5])
    assert follower.update() is None
    path.write_text(text)
    checked(follower, path)


def test_what_cannot_be_followed_is_read_anew(tmp_path):
    rows, path = rows_of(80), tmp_path / "log.jsonl"
    follower = FollowedAudit(path, NAMES, 1)
    path.write_text(lines_of(part(rows, 0, 60)))
    follower.update()
    # Shorter, as after a resume from a checkpoint.
    path.write_text(lines_of(part(rows, 0, 45)))
    checked(follower, path)
    assert "written anew" in follower.read_anew_because
    # Steps go back, and the later reading counts.
    with path.open("a") as log:
        log.write(lines_of(part(rows_of(80, seed=1), 30, 60)))
    checked(follower, path)
    assert "steps go back" in follower.read_anew_because
    # A table that is written as a whole.
    table, of_table = tmp_path / "log.csv", FollowedAudit(tmp_path / "log.csv", NAMES, 1)
    for last in (40, 50):
        pl.DataFrame(part(rows, 0, last)).write_csv(table)
        checked(of_table, table)
    assert "log.csv was written anew" in of_table.read_anew_because


def test_new_rewards_may_rule_a_baseline_out(tmp_path):
    rows, path = rows_of(12), tmp_path / "log.jsonl"
    rows["reward"][-1] = 2.0
    follower = FollowedAudit(path, None, 1)
    path.write_text(lines_of(part(rows, 0, 10)))
    assert "kalman" not in follower.update().skipped
    path.write_text(lines_of(part(rows, 0, 12)))
    assert "kalman" in checked(follower, path, None).skipped


def test_whole_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"a" * 100 + b"\n" + b"b" * 200_000)
    assert whole_lines(path, 200_101) == 101
    assert whole_lines(path, 101) == 101
    assert whole_lines(path, 100) == 0


def test_the_command_ends_with_a_page_that_stays(tmp_path):
    rows, path = rows_of(40), tmp_path / "log.jsonl"
    path.write_text(lines_of(part(rows, 0, 20)))
    command = [sys.executable, "-m", "kvar.commands.main", "audit", path, "--follow", "--every", "0.2"]
    command += ["--baseline", "kernel", "--baseline", "group-mean"]
    html = tmp_path / "log-audit" / "audit.html"

    def wait_for(words):
        for _ in range(600):
            if html.exists() and words in (text := html.read_text()):
                return text
            time.sleep(0.1)
        raise AssertionError(f"the page never said {words!r}")

    environment = {**os.environ, "NO_COLOR": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as job:
        assert '<meta http-equiv="refresh" content="0.2">' in wait_for("in 20 steps")
        with path.open("a") as log:
            log.write(lines_of(part(rows, 20, 40)))
        wait_for("in 40 steps")
        job.send_signal(signal.SIGINT)
        out, errors = job.communicate(timeout=60)
    assert job.returncode == 0, errors
    assert "1,280 rollouts" in out
    assert 'http-equiv="refresh"' not in html.read_text()
    assert "20 steps, 640 rollouts" in errors
