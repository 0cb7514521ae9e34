"""``kvar inspect`` says what a log is, what was taken for what, and what is in it; folders of runs are run by run."""

import json

import pytest
from typer.testing import CliRunner

import kvar
from kvar.commands.main import _app
from kvar.readers import read_log
from kvar.readers.inspection import inspect_log
from kvar.readers.runs import ManyRunsError
from tests.kvar.test_readers import ROWS, csv, jsonl, parquet, same


def run(*arguments):
    return CliRunner().invoke(_app(), ["inspect", *map(str, arguments)], env={"COLUMNS": "200"})


def test_counts_against_a_slow_loop(tmp_path, rng):
    rows = [
        {"step": int(s), "prompt": f"q{p}", "reward": None if rng.random() < 0.1 else float(rng.random() < 0.5)}
        for s in (1, 2, 3, 7, 8, 12)
        for p in rng.choice(6, 3, replace=False)
        for _ in range(rng.integers(1, 4))
    ]
    counts = inspect_log(jsonl(tmp_path / "log.jsonl", rows)).counts
    groups: dict = {}
    for row in rows:
        groups.setdefault((row["step"], row["prompt"]), []).append(row["reward"])
    sizes = [len(group) for group in groups.values()]
    visits: dict = {}
    for step, prompt in groups:
        visits.setdefault(prompt, []).append(step)
    known = [row["reward"] for row in rows if row["reward"] is not None]
    assert counts == {
        "rollouts": len(rows),
        "left out": 0,
        "steps": 6,
        "first step": 1,
        "last step": 12,
        "gaps": ["3 to 7", "8 to 12"],
        "prompts": len(visits),
        "groups": len(groups),
        "group sizes": {size: sizes.count(size) for size in sorted(set(sizes))},
        "prompts that come back": sum(len(steps) > 1 for steps in visits.values()),
        "visits of a prompt": round(len(groups) / len(visits), 2),
        "logged steps between visits": counts["logged steps between visits"],
        "rewards": [min(known), sum(known) / len(known), max(known)],
        "different rewards": len(set(known)),
        "without a reward": len(rows) - len(known),
    }


def test_what_was_taken_for_what_and_why(tmp_path):
    rows = [{"question": r["prompt"], "global_step": r["step"], "score": r["reward"], "acc": 1.0} for r in ROWS]
    found = inspect_log(csv(tmp_path / "log.csv", rows), columns="reward=0.5*score+acc")
    assert found.layout == "table"
    assert {name: choice["is"] for name, choice in found.choices.items()} == {
        "step": "global_step",
        "prompt": "question",
        "reward": "0.5*score + acc",
    }
    assert "--columns" in found.choices["reward"]["why"]
    assert "name" in found.choices["step"]["why"]
    assert [(group.kind, group.names) for group in found.files] == [("CSV", ["log.csv"])]
    assert found.files[0].columns == {"question": "other", "global_step": "number", "score": "number", "acc": "number"}
    guessed = inspect_log(tmp_path / "log.csv")
    assert guessed.choices["not the reward"]["is"] == "acc"


@pytest.mark.parametrize("write", [jsonl, parquet])
@pytest.mark.parametrize("name", ["prompt", "prompt_id"])
def test_prompts_are_hashed_unless_asked_for(tmp_path, write, name):
    rows = [
        {"step": r["step"], name: f"SECRET {r['prompt']}", "reward": r["reward"], "completion": "SECRET"} for r in ROWS
    ]
    path = write(tmp_path / "log", rows)
    for done in (run(path), run(path, "--json")):
        assert done.exit_code == 0, done.output
        assert "SECRET" not in done.output
    if name == "prompt":
        assert "SECRET" in run(path, "--show-prompts").output


def test_five_rows_from_first_to_last(tmp_path):
    content = json.loads(run(jsonl(tmp_path / "log.jsonl"), "--json").output)
    assert [row["step"] for row in content["rows"]] == [0, 0, 1, 2, 2]
    assert content["error"] == ""
    assert content["counts"]["rollouts"] == 24
    assert content["files"][0]["number"] == 1


def test_a_log_that_cannot_be_read_is_described_as_far_as_it_goes(tmp_path):
    path = jsonl(tmp_path / "log.jsonl", [{"prompt": "q", "reward": 1.0}] * 4)
    done = run(path)
    assert done.exit_code == 1
    assert "JSON Lines" in done.output
    assert "step" in done.output
    found = inspect_log(path)
    assert "--columns" in found.error
    assert found.counts == {}
    assert run(tmp_path / "nix").exit_code == 2


def test_every_remark_is_shown(tmp_path):
    rows = [*ROWS, {"step": 1, "prompt": "q", "reward": "much"}]
    path = jsonl(tmp_path / "log.jsonl", rows)
    remarks = read_log(path).notes.sentences()
    assert inspect_log(path).remarks == remarks
    assert any("much" in remark for remark in remarks)


def runs(folder, names, inside="completions"):
    for name in names:
        for step in range(3):
            place = folder / name / inside.format(step=step)
            place.mkdir(parents=True)
            jsonl(place / f"{step}.jsonl", [row for row in ROWS if row["step"] == step])


@pytest.mark.parametrize("inside", ["step_{step}", "rollouts/step_{step}/train/all", "run_files/global_step_{step}"])
def test_a_folder_of_runs_is_no_run(tmp_path, inside):
    runs(tmp_path, ["grpo-lr1e-6", "sweep/rloo"], inside)
    with pytest.raises(ManyRunsError, match="grpo-lr1e-6") as error:
        kvar.read_trace(tmp_path)
    assert len(error.value.runs) == 2
    for name in error.value.runs:
        same(kvar.read_trace(tmp_path / name))
    # A pattern takes them for one run, and these are copies.
    assert len(read_log(str(tmp_path / "**" / "*.jsonl")).trace) == 24
    content = json.loads(run(tmp_path, "--json").output)
    assert [one["counts"]["rollouts"] for one in content] == [24, 24]


@pytest.mark.parametrize(
    "folders",
    [
        ["step_0", "step_1", "step_2"],
        ["rank_0", "rank_1", "rank_2"],
        ["0", "1", "2"],
        ["run/step_0/math", "run/step_1/math", "run/step_2/code"],
        ["train", "run", "run/more"],
    ],
)
def test_folders_inside_a_run_are_no_runs(tmp_path, folders):
    for step, name in enumerate(folders):
        (tmp_path / name).mkdir(parents=True)
        jsonl(tmp_path / name / f"part_{step}.jsonl", [row for row in ROWS if row["step"] == step])
    assert len(read_log(tmp_path).trace) == 24
