"""Logs that are no table with a row a rollout: lists in cells, documents, nested records, and what trainers write."""

import json

import numpy as np
import polars as pl
import pytest

import kvar
from kvar.readers import read_log
from kvar.readers.cell_paths import parse_path
from kvar.readers.json_file import JsonFile
from kvar.readers.reading_notes import ReadingNotes
from kvar.score_norms import score_norm_from_logprobs
from tests.kvar.test_readers import ROWS, jsonl, parquet, same

# The same rollouts with a row a prompt and with a row a step.
BY_PROMPT = [
    {
        "step": first["step"],
        "prompt": first["prompt"],
        "responses": ["a", "b"],
        "rewards": [first["reward"], second["reward"]],
    }
    for first, second in zip(ROWS[::2], ROWS[1::2], strict=True)
]
BY_STEP = [
    {name: [row[name] for row in ROWS if row["step"] == step] for name in ("step", "prompt", "reward")}
    for step in range(3)
]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


def document(path, value, **options):
    path.write_text(json.dumps(value, **options))
    return path


def as_json(rows):
    return [{n: json.dumps(v) if isinstance(v, list) else v for n, v in row.items()} for row in rows]


def without(rows, name):
    return [{n: v for n, v in row.items() if n != name} for row in rows]


def as_samples(rows):
    return [
        {"step": row["step"], "prompt": row["prompt"], "samples": [{"text": "x", "reward": v} for v in row["rewards"]]}
        for row in rows
    ]


def as_printed(rows):
    return [{n: str(np.array(v)) if n == "rewards" else str(v) for n, v in row.items()} for row in rows]


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: jsonl(folder / "log.jsonl", BY_PROMPT),
        lambda folder: parquet(folder / "log.parquet", BY_PROMPT),
        lambda folder: parquet(folder / "log.parquet", as_json(BY_PROMPT)),
        lambda folder: parquet(folder / "log.parquet", [{**r, "rewards": str(r["rewards"])} for r in BY_PROMPT]),
        lambda folder: pl.DataFrame(as_json(BY_PROMPT)).write_csv(folder / "log.csv"),
        lambda folder: pl.DataFrame(as_printed(BY_PROMPT)).write_csv(folder / "log.csv"),
        lambda folder: document(folder / "log.json", BY_PROMPT),
        lambda folder: jsonl(folder / "log.jsonl", BY_STEP),
        lambda folder: document(folder / "log.json", COLUMNS, indent=1),
        lambda folder: jsonl(
            folder / "log.jsonl", [{k: v for k, v in r.items() if k != "responses"} for r in BY_PROMPT]
        ),
        lambda folder: jsonl(folder / "log.jsonl", as_samples(BY_PROMPT)),
    ],
)
def test_rows_of_lists_are_taken_apart(tmp_path, write):
    write(tmp_path)
    log = read_log(tmp_path)
    same(log.trace)
    assert log.notes.omissions() == []


@pytest.mark.parametrize(
    "value",
    [
        ROWS,
        {"columns": list(ROWS[0]), "data": [list(row.values()) for row in ROWS]},
        {"columns": list(ROWS[0]), "index": [*range(24)], "data": [list(row.values()) for row in ROWS]},
        {name: {str(k): cell for k, cell in enumerate(column)} for name, column in COLUMNS.items()},
        {str(k): row for k, row in enumerate(ROWS)},
        {"config": {"lr": 1e-6, "name": "run"}, "rollouts": ROWS},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_documents(tmp_path, value, indent):
    same(read_log(document(tmp_path / "log.json", value, indent=indent)).trace)


def test_a_document_that_breaks_off_is_read_up_to_there(tmp_path):
    path = document(tmp_path / "log.json", ROWS)
    path.write_text(path.read_text()[:-30])
    log = read_log(path)
    assert log.trace.reward.tolist() == [row["reward"] for row in ROWS[:-1]]
    assert log.notes.cut == [path]


def test_objects_over_several_lines(tmp_path):
    (tmp_path / "log.json").write_text("\n".join(json.dumps(row, indent=2) for row in ROWS))
    same(read_log(tmp_path / "log.json").trace)


def test_long_documents_are_read_in_linear_time(tmp_path, monkeypatch):
    parsed = []
    decode = json.JSONDecoder.raw_decode

    def counted(self, text, start=0):
        parsed.append(len(text) - start)
        return decode(self, text, start)

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", counted)
    value = {"columns": ["step", "prompt", "reward"], "data": [[0, "q" * 1000, 1.0]] * 10_000}
    path = document(tmp_path / "log.json", value)
    rows = list(JsonFile(path)._rows(ReadingNotes()))
    assert len(rows) == 10_000
    # Twice: for the columns and for the rows.
    assert sum(parsed) < 6 * path.stat().st_size


NESTED = [
    {
        "run": {"step": row["step"]},
        "content": [row["prompt"], "an answer"],
        "traces": [{"rewards": {"correct": {"score": row["reward"], "weight": 1.0}, "format": 1.0}}],
    }
    for row in ROWS
]


@pytest.mark.parametrize("write", [jsonl, parquet])
@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        ("traces[0].rewards.correct", lambda reward: reward),
        ("traces[-1].rewards.correct.score", lambda reward: reward),
        ("sum(traces[0].rewards)", lambda reward: reward + 1.0),
        ("0.5*traces[0].rewards.correct+traces[0].rewards.format", lambda reward: 0.5 * reward + 1.0),
    ],
)
def test_paths_into_records(tmp_path, write, reward, expected):
    write(tmp_path / "log", NESTED)
    trace = kvar.read_trace(tmp_path / "log", columns=f"prompt=content[0],step=run.step,reward={reward}")
    same(trace, [{**row, "reward": expected(row["reward"])} for row in ROWS])


def test_paths_to_each_element_are_taken_apart(tmp_path):
    rows = [
        {"step": r["step"], "prompt": r["prompt"], "out": [{"r": {"all": v}} for v in r["rewards"]]} for r in BY_PROMPT
    ]
    same(read_log(jsonl(tmp_path / "log.jsonl", rows), columns="reward=out[].r.all").trace)


def test_a_path_that_leads_nowhere_is_named(tmp_path):
    path = jsonl(tmp_path / "log.jsonl", NESTED)
    with pytest.raises(ValueError, match="nix"):
        read_log(path, columns="prompt=content[0],step=run.step,reward=nix.correct")
    with pytest.raises(ValueError, match=r"24 of 24 rows.*traces\[3\]"):
        read_log(path, columns="prompt=content[0],step=run.step,reward=traces[3].rewards.correct")
    with pytest.raises(ValueError, match="correct, format"):
        read_log(path, columns="prompt=content[0],step=run.step,reward=traces[0].rewards")


@pytest.mark.parametrize(
    ("text", "head", "steps"),
    [
        ("a.b[0].c", "a.b", (0, "c")),
        ("a.c[0]", "a", ("c", 0)),
        ("a.b.c", "a.b", ("c",)),
        ("a[][1]", "a", (None, 1)),
        ("sum(a.b)", "a.b", ()),
        ("a", None, None),
        ("ab.c", None, None),
        ("a.b c[x]", None, None),
    ],
)
def test_the_parts_of_a_path(text, head, steps):
    path = parse_path(text, ["a", "a.b", "sum"])
    assert (path.head, path.steps) == (head, steps) if head else path is None


@pytest.mark.parametrize(
    "change",
    [
        lambda k, row: {**row, "tokens": ["a", "b", "c"], "reward": [0.0, 0.0, row["reward"]]},
        lambda k, row: {**row, "turns": ["a", str(k)], "reward": [0.5, row["reward"]]},
        lambda k, row: {**row, "scorers": ["right", "tidy"], "reward": [row["reward"], 1.0]},
        # A prompt has one row at a step.
        lambda k, row: {**row, "step": k, "reward": [0.0, 0.0, row["reward"]]},
        lambda k, row: {**row, "step": k, "turn_texts": ["a", str(k)], "reward": [0.5, row["reward"]]},
        lambda k, row: {**row, "step": k, "scorers": ["right", "tidy"], "reward": [row["reward"], 1.0]},
    ],
)
def test_lists_of_parts_of_a_rollout_are_not_taken_apart(tmp_path, change):
    path = jsonl(tmp_path / "log.jsonl", [change(k, row) for k, row in enumerate(ROWS)])
    with pytest.raises(ValueError, match=r"reward\[-1\]"):
        read_log(path)


def test_lists_that_nothing_is_said_about_are_taken_apart_with_a_doubt(tmp_path):
    log = read_log(jsonl(tmp_path / "log.jsonl", without(BY_PROMPT, "responses")))
    same(log.trace)
    assert "sum(rewards)" in " ".join(log.notes.doubts)
    assert not read_log(jsonl(tmp_path / "log.jsonl", BY_PROMPT)).notes.doubts


def test_lists_that_are_not_of_rollouts_are_asked_about(tmp_path):
    by_token = [{**row, "completion": "x", "reward": [0.0] * (k % 5 + 2)} for k, row in enumerate(ROWS)]
    path = jsonl(tmp_path / "token.jsonl", by_token)
    with pytest.raises(ValueError, match=r"2 to 6 numbers.*token.*reward\[-1\].*sum\(reward\)"):
        read_log(path)
    by_function = [{**row, "reward": [row["reward"], 1.0, 0.5]} for row in ROWS]
    path = jsonl(tmp_path / "function.jsonl", by_function)
    with pytest.raises(ValueError, match=r"3 numbers.*function.*reward\[0\]\+reward\[1\]"):
        read_log(path)
    same(read_log(path, columns="reward=reward[0]").trace)
    total = read_log(path, columns="reward=sum(reward)").trace.reward
    np.testing.assert_array_equal(total, [row["reward"] + 1.5 for row in ROWS])
    objects = [{**row, "reward": {"right": row["reward"], "tidy": 1.0}} for row in ROWS]
    path = jsonl(tmp_path / "object.jsonl", objects)
    with pytest.raises(ValueError, match="right, tidy"):
        read_log(path)
    same(read_log(path, columns="reward=reward.right").trace)


def test_rewards_of_rollouts_that_are_lists_or_objects(tmp_path):
    by_function = [{**row, "rewards": [[reward, 1.0] for reward in row["rewards"]]} for row in BY_PROMPT]
    path = jsonl(tmp_path / "functions.jsonl", by_function)
    with pytest.raises(ValueError, match=r"reward=rewards\[\]\[0\]\+rewards\[\]\[1\]"):
        read_log(path)
    same(read_log(path, columns="reward=rewards[][0]").trace)
    total = read_log(path, columns="reward=sum(rewards[])").trace.reward
    np.testing.assert_array_equal(total, [row["reward"] + 1.0 for row in ROWS])
    named = [{**row, "rewards": [{"right": reward, "tidy": 1.0} for reward in row["rewards"]]} for row in BY_PROMPT]
    path = parquet(tmp_path / "named.parquet", named)
    with pytest.raises(ValueError, match=r"reward=rewards\[\]\.right"):
        read_log(path)
    same(read_log(path, columns="reward=rewards[].right").trace)
    columns = [{**row, "rewards": {"right": row["rewards"], "tidy": [1.0, 1.0]}} for row in BY_PROMPT]
    path = jsonl(tmp_path / "columns.jsonl", columns)
    with pytest.raises(ValueError, match=r"reward=rewards\.right"):
        read_log(path)
    same(read_log(path, columns="reward=rewards.right").trace)


@pytest.mark.parametrize("write", [jsonl, parquet])
def test_what_lies_inside_of_cells_is_proposed(tmp_path, write):
    rows = [
        {"prompt": r["prompt"], "out": [{"info": {"reward": v, "step": 0}} for v in r["rewards"]]} for r in BY_PROMPT
    ]
    with pytest.raises(ValueError, match=r"step=out\[\]\.info\.step,reward=out\[\]\.info\.reward") as error:
        read_log(write(tmp_path / "log", rows))
    columns = str(error.value).rpartition("--columns '")[2].rstrip("'")
    assert len(read_log(tmp_path / "log", columns=columns).trace) == 24


def test_a_column_called_reward_comes_before_the_columns_of_a_trainer(tmp_path):
    rows = [{**row, "completion": "c", "advantages": 0.5, "length": 7} for row in ROWS]
    log = read_log(jsonl(tmp_path / "log.jsonl", rows))
    assert log.layout == "table"
    same(log.trace)


def test_lists_of_different_lengths_are_counted(tmp_path):
    path = jsonl(tmp_path / "log.jsonl", BY_STEP * 20 + [{**BY_STEP[0], "step": [0]}])
    log = read_log(path)
    assert len(log.trace) == 480
    assert log.notes.bad_rows == {"lists of different lengths": 1}


def test_conversations_are_no_lists_of_rollouts(tmp_path):
    answer = [{"role": "assistant", "content": "4"}]
    rows = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}], "completion": answer} for row in ROWS]
    trace = read_log(jsonl(tmp_path / "log.jsonl", rows)).trace
    assert len(trace) == 24
    assert len(np.unique(trace.prompt_id)) == 4


def test_prompts_with_their_answers_are_refused(tmp_path):
    rows = [
        {"step": row["step"], "reward": row["reward"], "messages": [
            {"role": "system", "content": "think"},
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": str(k)},
        ]}
        for k, row in enumerate(ROWS)
    ]  # fmt: skip
    path = jsonl(tmp_path / "log.jsonl", rows)
    with pytest.raises(ValueError, match=r"answer.*prompt=messages\[1\]"):
        read_log(path)
    same(read_log(path, columns="prompt=messages[1].content").trace)


@pytest.mark.parametrize("extra", [[{"role": "user"}], [1, 2], ["a", "b"], {"a": 1}])
def test_columns_that_are_not_needed_stop_nothing(tmp_path, extra):
    rows = [{"step": r["step"], "prompt_id": 7, "reward": r["reward"], "extra": extra, "note": "n"} for r in ROWS]
    for write, name in ((jsonl, "log.jsonl"), (parquet, "log.parquet")):
        log = read_log(write(tmp_path / name, rows))
        assert log.layout == "kvar"
        assert list(log.trace.extras) == ["note"]
        assert "extra" in " ".join(log.notes.remarks)


def test_log_probabilities_in_a_csv(tmp_path, rng):
    lists = [(-rng.exponential(size=5)).tolist() for _ in ROWS]
    rows = [{**row, "logprobs": str(values)} for row, values in zip(ROWS, lists, strict=True)]
    pl.DataFrame(rows).write_csv(tmp_path / "log.csv")
    trace = read_log(tmp_path / "log.csv").trace
    norms = [float(score_norm_from_logprobs(np.array(values))) for values in lists]
    np.testing.assert_allclose(trace.extras["score_norm"], norms, rtol=1e-12)


def test_the_error_of_a_folder_is_that_of_its_log(tmp_path):
    document(tmp_path / "metadata.json", {"env_id": "math", "time": 3.0})
    jsonl(tmp_path / "aggregated.jsonl", [{"avg": 0.5}])
    rows = [{"example_id": 3, "prompt": "q", "reward": 1.0, "completion": "a"}] * 4
    jsonl(tmp_path / "results.jsonl", rows)
    with pytest.raises(ValueError, match="step among example_id"):
        read_log(tmp_path)


@pytest.mark.parametrize("name", ["0.pt", "run/rollout_data/0.pt"])
def test_files_of_torch_are_named(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"PK\x03\x04" + bytes(300))
    with pytest.raises(ValueError, match=r"PyTorch.*JSON Lines"):
        read_log(tmp_path)


# What trainers write, by their public sources: name of the layout, file of a step, row of a rollout.
TRAINERS = {
    "areal": ("rollout/{step}/{k}.jsonl", lambda row, k: {
        "task_id": 1000 + k, "sample_idx": 0, "seqlen": 9, "prompt_len": 4, "head_version": 0,
        "tail_version": row["step"], "reward": row["reward"], "prompt": row["prompt"], "completion": "c",
    }),
    "slime": ("{step}.jsonl", lambda row, k: {
        "group_index": k // 2, "index": k, "rollout_id": k, "prompt": row["prompt"], "response": "r",
        "label": "1", "reward": row["reward"], "status": "completed", "metadata": {},
    }),
    "nemo-rl": ("train_data_step{step}.jsonl", lambda row, k: {
        "content": [[row["prompt"], f"answer {k}"]], "rewards": [row["reward"]], "input_lengths": [3],
        "token_ids": [[1, 2, 3]], "token_loss_mask": [[0, 0, 1]], "advantages": [[0.0, 0.0, 1.0]],
        "generation_logprobs": [[0.0, 0.0, -1.0]], "idx": k,
    }),
    "prime-rl": ("rollouts/step_{step}/train/all/traces.jsonl", lambda row, k: {
        "id": f"{k}", "task": {"type": "math", "data": {"question": row["prompt"]}}, "ok": True,
        "traces": [{"id": "t", "rewards": {"right": {"score": row["reward"], "weight": 1.0}}, "nodes": [{"x": k}]}],
    }),
    "open-instruct": ("run_rollouts_{step:06d}.jsonl", lambda row, k: {
        "step": row["step"], "sample_idx": k, "prompt_idx": k // 2, "prompt_tokens": [1, ord(row["prompt"][0])],
        "response_tokens": [4, 5, 6], "reward": row["reward"], "advantage": 0.0, "finish_reason": "stop",
        "dataset": "math", "ground_truth": [1], "request_info": None, "logprobs": [-0.5, -0.25, -1.0],
    }),
    "verl": ("{step}.jsonl", lambda row, k: {
        "input": row["prompt"], "output": "o", "gts": "1", "score": row["reward"], "step": row["step"], "acc": True,
    }),
    "ms-swift": ("completions.jsonl", lambda row, k: {
        "gen_step": row["step"], "prompt": row["prompt"], "completion": "c", "MathAccuracy": row["reward"],
        "advantages": row["reward"] - 0.5,
    }),
    "trl": ("completions/completions_{step:05d}.jsonl", lambda row, k: {
        "step": row["step"], "prompt": row["prompt"], "completion": "c", "right": row["reward"], "advantage": 0.0,
    }),
}  # fmt: skip


@pytest.mark.parametrize("layout", TRAINERS)
def test_layouts_of_trainers(tmp_path, layout):
    name, make = TRAINERS[layout]
    for step in range(3):
        rows = [(k, row) for k, row in enumerate(ROWS) if row["step"] == step]
        # AReaL writes a file for each prompt.
        for group in [rows[k : k + 2] for k in range(0, 8, 2)] if layout == "areal" else [rows]:
            path = tmp_path / name.format(step=step, k=group[0][0])
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.writelines(json.dumps(make(row, k)) + "\n" for k, row in group)
    log = read_log(tmp_path)
    assert log.layout == layout
    assert log.trace.step.tolist() == [row["step"] for row in ROWS]
    assert log.trace.reward.tolist() == [row["reward"] for row in ROWS]
    assert log.trace.rollout.tolist() == [0, 1] * 12
    assert len(np.unique(log.trace.prompt_id)) == 4


def test_a_table_of_lists_of_ms_swift(tmp_path):
    rows = [
        {
            "step": [str(step) for step in row["step"]],
            "prompt": row["prompt"],
            "completion": ["c"] * 8,
            "Right": row["reward"],
            "Tidy": [1.0] * 8,
            "advantages": [reward - 0.5 for reward in row["reward"]],
        }
        for row in BY_STEP
    ]
    log = read_log(jsonl(tmp_path / "completions.jsonl", rows))
    assert log.layout == "ms-swift"
    np.testing.assert_array_equal(log.trace.extras["Right"], [row["reward"] for row in ROWS])
    same(read_log(tmp_path, columns="reward=Right").trace)


def test_rewards_by_token_of_skyrl(tmp_path):
    folder = tmp_path / "global_step_5_evals"
    folder.mkdir()
    row = {"input_prompt": "q", "output_response": "a", "env_class": "e", "stop_reason": "stop"}
    rows = [{**row, "score": [0.0] * (k + 1) + [1.0]} for k in range(5)]
    jsonl(folder / "aime_x.jsonl", rows)
    with pytest.raises(ValueError, match=r"token.*score\[-1\]"):
        read_log(folder, columns="step=score[0]")
    log = read_log(folder, columns="reward=score[-1],step=score[0]")
    assert log.layout == "skyrl"
    assert log.trace.reward.tolist() == [1.0] * 5


def test_the_table_of_openrlhf_is_refused(tmp_path):
    table = {"columns": ["global_step", "text", "reward"], "data": [[k, f"q? answer {k}", 1.0] for k in range(5)]}
    path = document(tmp_path / "media.table.json", table)
    with pytest.raises(ValueError, match=r"one a step.*prompt=text"):
        read_log(path)
    assert len(read_log(path, columns="prompt=text").trace) == 5


def test_a_system_message_of_nemo_rl_is_no_prompt(tmp_path):
    for step in range(3):
        rows = [
            {"content": [["think", row["prompt"], f"answer {k}"]], "rewards": [row["reward"]], "input_lengths": [3]}
            for k, row in enumerate(ROWS)
            if row["step"] == step
        ]
        jsonl(tmp_path / f"train_data_step{step}.jsonl", rows)
    with pytest.raises(ValueError, match=r"prompt=content\[0\]\[1\]"):
        read_log(tmp_path)
    same(read_log(tmp_path, columns="prompt=content[0][1]").trace)
    assert len(np.unique(read_log(tmp_path, columns="prompt=content[0][0]").trace.prompt_id)) == 1


def test_rewards_of_functions_are_proposed(tmp_path):
    rows = [{"step": r["step"], "prompt": r["prompt"], "right_reward": r["reward"], "format_reward": 1.0} for r in ROWS]
    with pytest.raises(ValueError, match=r"reward=right_reward\+format_reward"):
        read_log(jsonl(tmp_path / "log.jsonl", rows))
