"""Logs of every kind give the same trace; what cannot be used is counted, named and never fatal."""

import gzip
import json
import tracemalloc

import numpy as np
import polars as pl
import pytest
import zstandard

import kvar
from kvar.readers import csv_file, json_lines_file, lines, read_log
from kvar.readers.columns import parse_columns
from kvar.readers.trl_reward_weights import read_rewards
from kvar.rollouts.prompt_ids import prompt_key
from tests.kvar import log_mutations
from tests.kvar.test_audit import simulated

ROWS = [
    {"step": step, "prompt": f"{p}+1=", "reward": float((step + p + g) % 2)}
    for step in range(3)
    for p in range(4)
    for g in range(2)
]


def compressed(path, text):
    path.parent.mkdir(exist_ok=True)
    data = text.encode()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.ZstdCompressor().compress(data)
    path.write_bytes(data)
    return path


def jsonl(path, rows=ROWS):
    return compressed(path, "".join(json.dumps(row) + "\n" for row in rows))


def csv(path, rows=ROWS, separator=","):
    return compressed(path, pl.DataFrame(rows).write_csv(separator=separator))


def parquet(path, rows=ROWS):
    pl.DataFrame(rows).write_parquet(path)
    return path


def same(trace, rows=ROWS):
    assert trace.step.tolist() == [row["step"] for row in rows]
    assert trace.reward.tolist() == [row["reward"] for row in rows]
    assert trace.prompt_id.tolist() == [prompt_key(row["prompt"]) for row in rows]
    assert trace.rollout.tolist() == [0, 1] * (len(rows) // 2)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        *[(f"log.jsonl{end}", jsonl) for end in ("", ".gz", ".zst")],
        *[(f"log.csv{end}", csv) for end in ("", ".gz", ".zst")],
        ("log.tsv", lambda path: csv(path, separator="\t")),
        ("log.parquet", parquet),
        ("log.txt", jsonl),
    ],
)
def test_one_log_in_every_form(tmp_path, name, write):
    log = read_log(write(tmp_path / name))
    same(log.trace)
    assert log.layout == "table"
    assert log.notes.omissions() == []
    assert log.trace.step.dtype == np.int64


def test_names_of_columns(tmp_path):
    rows = [{"q": r["prompt"], "when": r["step"], "good": r["reward"], "tidy": 1.0 - r["reward"]} for r in ROWS]
    path = parquet(tmp_path / "log.parquet", rows)
    with pytest.raises(
        ValueError,
        match=r"a step or a prompt or a reward among q, when, good, tidy; name it with --columns step=COLUMN",
    ):
        read_log(path)
    same(read_log(path, columns="prompt=q,step=when,reward=good").trace)
    trace = kvar.read_trace(path, columns={"prompt": "q", "step": "when", "reward": "good+0.5*tidy", "truth": "tidy"})
    np.testing.assert_allclose(trace.reward, [r["reward"] + 0.5 * (1 - r["reward"]) for r in ROWS])
    assert {"good", "tidy", "truth"} <= set(trace.extras)
    with pytest.raises(ValueError, match="the log has no column 'nix'; it has q, when, good, tidy"):
        read_log(path, columns="prompt=nix")
    with pytest.raises(ValueError, match="takes NAME=COLUMN"):
        parse_columns("prompt")


def test_good_files_beside_bad_ones(tmp_path):
    for step in range(3):
        parquet(tmp_path / f"log-{step}.parquet", [row for row in ROWS if row["step"] == step])
    whole = (tmp_path / "log-0.parquet").read_bytes()
    (tmp_path / "log-7.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "log-8.parquet").write_bytes(b"")
    (tmp_path / "model.bin").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "other.csv").write_text("name,age\nx,1\n")
    (tmp_path / ".hidden.parquet").write_bytes(b"PAR1")
    log = read_log(tmp_path)
    same(log.trace)
    assert {path.name for path in log.notes.refused} == {"log-7.parquet", "log-8.parquet", "model.bin", "other.csv"}
    said = " ".join(log.notes.omissions())
    for words in ("log-8.parquet is left out: it is empty", "model.bin is left out: it is binary", "name, age"):
        assert words in said
    with pytest.warns(UserWarning, match="log-7.parquet is left out: it is not a readable Parquet file"):
        same(kvar.read_trace(tmp_path))


@pytest.mark.parametrize("name", ["log.jsonl.gz", "log.jsonl.zst", "log.csv.gz", "log.csv.zst"])
def test_a_file_that_breaks_off_is_read_up_to_there(tmp_path, name, rng):
    # What is compressed well is lost in large pieces.
    rows = [{**row, "noise": rng.random()} for row in ROWS * 400]
    path = (csv if "csv" in name else jsonl)(tmp_path / name, rows)
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    log = read_log(path)
    assert 0.4 * len(rows) < len(log.trace) < 0.9 * len(rows)
    assert log.trace.reward.tolist() == [row["reward"] for row in rows[: len(log.trace)]]
    assert log.notes.cut == [path]
    assert f"{name} is cut off" in " ".join(log.notes.omissions())


@pytest.mark.parametrize("name", ["log.csv.gz", "log.jsonl.zst", "log.csv"])
def test_a_file_may_break_off_anywhere(tmp_path, name):
    path = (csv if "csv" in name else jsonl)(tmp_path / name)
    whole, lengths = path.read_bytes(), []
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            lengths.append(len(read_log(path, max_bad=1.0).trace))
        except ValueError as refusal:
            assert name in str(refusal) or "no column" in str(refusal)  # noqa: PT017  (either is right)
    assert lengths == sorted(lengths)


def test_bad_lines_are_counted_by_reason(tmp_path):
    good = [json.dumps(row) for row in ROWS]
    bad = [
        "{not json",
        "[1]",
        '{"step": 1, "prompt": "a"}',
        '{"step": 1, "prompt": "a", "reward": "x"}',
        '{"step": "later", "prompt": "a", "reward": 1}',
        '{"step": 1, "prompt": null, "reward": 1}',
        '{"step": 1, "prompt": "a", "reward": 1e999}',
    ]
    path = tmp_path / "log.jsonl"
    path.write_bytes(
        "\n".join([*good, *bad, '{"step": 1, "prompt": "a", "reward": null}', "", "\udcff"]).encode(
            "utf-8", "surrogateescape"
        )
    )
    log = read_log(path, max_bad=0.5)
    reasons = (
        *("not JSON", "not a JSON object", "no reward", "step is not a number"),
        "reward is not a number: convert it, or choose another column with --columns",
        *("no prompt", "reward is infinite", "not UTF-8"),
    )
    assert log.notes.bad_rows == dict.fromkeys(reasons, 1)
    assert log.notes.examples["not JSON"] == [f"log.jsonl:{len(ROWS) + 1}"]
    # A reward that is empty is a rollout without a score, not a bad row.
    assert len(log.trace) == len(ROWS) + 1
    assert np.isnan(log.trace.reward[-1])
    with pytest.raises(
        ValueError,
        match=r"8 of 33 rows of .*log.jsonl cannot be used, more than the fraction 0.05 \(max_bad, --max-bad\)",
    ):
        read_log(path)


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.parquet"])
def test_rewards_in_words_of_truth(tmp_path, name):
    rows = [{**row, "reward": str(row["reward"] == 1), "tidy": " FALSE"} for row in ROWS]
    log = read_log({"csv": csv, "jsonl": jsonl, "parquet": parquet}[name.partition(".")[2]](tmp_path / name, rows))
    same(log.trace)
    assert log.notes.omissions() == []
    # A step is no yes or no.
    with pytest.raises(ValueError, match="tidy is not a number"):
        read_log(tmp_path / name, columns="step=tidy")


def test_booleans_of_a_csv_are_numbers_as_they_are_elsewhere(tmp_path):
    rows = [{**row, "tidy": row["reward"] == 0} for row in ROWS]
    extras = [read_log(write(tmp_path / f"log.{write.__name__}", rows)).trace.extras for write in (csv, jsonl, parquet)]
    for found in extras:
        assert found["tidy"].tolist() == [1.0 - row["reward"] for row in ROWS]


def test_rewards_that_are_no_numbers_are_shown_under_one_reason(tmp_path):
    wrong = ["good", [1, 0], "bad", [[1, 0]], {"a": 1}, "x" * 1000, []]
    right = [[1.0], "TRUE", " false ", "1e0"]
    rows = [{"step": 1, "prompt": "a", "reward": reward} for reward in wrong + right]
    path = jsonl(tmp_path / "log.jsonl", rows)
    jsonl(tmp_path / "second.jsonl", rows)
    log = read_log(tmp_path, max_bad=1.0)
    assert log.trace.reward.tolist() == [1.0, 1.0, 0.0, 1.0] * 2
    words, lists = "reward is not a number: convert it", "reward is a list: write one row per rollout"
    assert log.notes.bad_rows == {lists: 6, f"{words}, or choose another column with --columns": 8}
    said = " ".join(log.notes.omissions())
    assert f"6 rows left out: {lists} (first log.jsonl:2, log.jsonl:4, log.jsonl:7)." in said
    assert "(first log.jsonl:1: 'good', log.jsonl:3: 'bad', log.jsonl:5: {'a': 1})." in said
    # However long the cell, a few words of it are shown.
    rows[0]["reward"] = "x" * 1000
    assert len(" ".join(read_log(jsonl(path, rows), max_bad=1.0).notes.rejections())) < 400


def test_columns_chosen_by_name_are_reported(tmp_path):
    extra = {"format": 0.5, "format_score": 1, "length": 7.0, "note": "score"}
    rows = [{"iteration": r["step"], "question": r["prompt"], "accuracy": r["reward"], **extra} for r in ROWS]
    path = jsonl(tmp_path / "log.jsonl", rows)

    def remark(columns=None):
        return " ".join(read_log(path, columns=columns).notes.remarks)

    assert "step = iteration, prompt = question, reward = accuracy." in remark()
    assert "format, format_score. " in remark()
    assert "step = iteration. " in remark("reward=format,prompt=question")
    assert "reward: format_score. " in remark("style=format")
    assert remark("reward=format,prompt=question,step=iteration") == ""
    jsonl(path, [{**row, **{f"score_{k}": 1 for k in range(20)}} for row in ROWS])
    assert "score_6, score_7 and 12 more." in remark()


def test_several_files_have_one_remark_on_their_columns(tmp_path):
    for k, (name, other) in enumerate([("step", "acc"), ("iteration", "correct"), ("step", "acc")]):
        rows = [{name: k, "prompt": row["prompt"], "reward": row["reward"], other: 1} for row in ROWS]
        jsonl(tmp_path / f"{k}.jsonl", rows)
    (remark,) = read_log(tmp_path).notes.remarks
    assert "step = step or iteration, prompt = prompt, reward = reward." in remark
    assert "acc, correct." in remark


def test_columns_that_a_layout_fixes_are_no_guess(tmp_path):
    verl = [{"input": row["prompt"], "output": "x", "score": row["reward"], "acc": 1.0} for row in ROWS]
    own = [{"step": row["step"], "prompt_id": row["prompt"], "reward": row["reward"], "acc": 1.0} for row in ROWS]
    for name, rows in {"verl": [{**row, "step": 3} for row in verl], "kvar": own, "12": verl}.items():
        log = read_log(jsonl(tmp_path / f"{name}.jsonl", rows))
        assert log.layout in (name, "verl")
        assert log.notes.remarks == []
    stamped = jsonl(tmp_path / "stamped.jsonl", [{**row, "version": 3} for row in verl])
    assert "step = version." in read_log(stamped).notes.remarks[0]
    for k in range(2):
        jsonl(tmp_path / "many" / f"{k}.jsonl", [{"prompt": "a", "reward": 1.0}])
    assert "step = the number in the file's name, prompt = prompt" in read_log(tmp_path / "many").notes.remarks[0]


def test_quotes_in_csv(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text('step,prompt,reward\n1,"a\nb",1\n1,c,0\n2,"a\nb",0\n2,"stray,1\n2,c,1\n2,c,1\n')
    log = read_log(path, max_bad=0.5)
    assert log.trace.prompt_id.tolist() == [prompt_key(p) for p in ("a\nb", "c", "a\nb", "c", "c")]
    assert log.notes.n_joined == 2
    assert sum(log.notes.bad_rows.values()) == 1
    assert log.notes.examples == {reason: ["log.csv:7"] for reason in log.notes.bad_rows}


def test_prompts_leave_a_hash_only(tmp_path):
    talk = [{"role": "user", "content": "<script>alert(1)</script>"}]
    rows = [{"step": 1, "prompt": talk, "completion": talk, "r": float(k % 2), "advantage": 0.0} for k in range(4)]
    parquet(tmp_path / "completions_00001.parquet", rows)
    trace = kvar.read_trace(tmp_path)
    assert set(trace.prompt_id.tolist()) == {prompt_key(talk)}
    assert all(column.dtype.kind == "f" for column in trace.extras.values())
    assert kvar.read_trace(tmp_path, keep_text=True).extras["prompt"][0] == str(talk)


def test_a_batch_that_trl_logs_again_counts_once(tmp_path):
    for step in range(1, 7):
        rows = [
            {"step": step, "prompt": f"p{k // 2}", "completion": f"{(step - 1) // 2}-{k}", "r": k % 3, "advantage": 0.0}
            for k in range(8)
        ]
        parquet(tmp_path / f"completions_{step:05d}.parquet", rows)
    log = read_log(tmp_path)
    assert log.layout == "trl"
    assert log.trace.step.tolist() == np.repeat([1, 3, 5], 8).tolist()
    assert "3 batches that were logged again" in " ".join(log.notes.remarks)


def test_weights_of_rewards_from_advantages(rng):
    group = np.repeat(np.arange(40), 4)
    rewards = rng.random((160, 3))
    names, step = ["a", "b", "length"], np.repeat(np.arange(4), 40)

    def advantages(weights, divided):
        total = rewards @ weights
        centred = total - (np.bincount(group, total) / 4)[group]
        deviation = np.sqrt(np.bincount(group, centred**2) / 3)[group]
        return np.float32(centred / (deviation + 1e-4) if divided else centred)

    for divided in (False, True):
        found = read_rewards(rewards, advantages(np.ones(3), divided), group, step, names)
        assert found.weights.tolist() == [1, 1, 1]
        assert "agrees with the advantages" in found.remark
        # A number that was only logged beside the rewards has no weight.
        found = read_rewards(rewards, advantages(np.array([0.5, 2.0, 0.0]), divided), group, step, names)
        np.testing.assert_allclose(found.weights, [0.25, 1, 0], atol=1e-3)
        assert found.sure
        assert "0.25 a + 1 b" in found.remark
    found = read_rewards(rewards, rng.normal(size=160), group, step, names)
    # A length is no reward by its name.
    assert found.weights.tolist() == [1, 1, 0]
    assert not found.sure
    assert "--columns reward=a+b" in found.remark


def test_own_traces_keep_their_text_and_foreign_ones_lose_it(tmp_path, rng):
    trace = simulated(rng, n_prompts=3, n_steps=4)
    path = kvar.write_trace(trace, tmp_path / "t.parquet")
    log = read_log(path)
    assert log.layout == "kvar"
    assert log.trace.extras.keys() == trace.extras.keys()


def test_patterns_and_folders_below(tmp_path):
    deep = tmp_path / "run" / "completions"
    deep.mkdir(parents=True)
    for step in (2, 10, 1):
        parquet(deep / f"{step}.parquet", [{**row, "step": step} for row in ROWS if row["step"] == 1])
    by_folder, by_pattern = kvar.read_trace(tmp_path), kvar.read_trace(str(deep / "*.parquet"))
    assert by_folder.step.tolist() == by_pattern.step.tolist()
    with pytest.raises(FileNotFoundError, match="nix"):
        kvar.read_trace(tmp_path / "nix")
    with pytest.raises(FileNotFoundError, match=r"nix.* \.parquet"):
        kvar.read_trace(str(tmp_path / "*.nix"))


@pytest.mark.parametrize("write", [jsonl, csv])
def test_a_long_file_comes_in_pieces(tmp_path, write, monkeypatch):
    path = write(tmp_path / f"log.{write.__name__}")
    for module in (json_lines_file, csv_file):
        monkeypatch.setattr(module, "PIECE", 5)
    monkeypatch.setattr(lines, "_AT_ONCE", 200)
    same(read_log(path).trace)


def test_files_may_have_columns_of_their_own(tmp_path):
    first, second = ({"prompt_id": [7, 7], "reward": [0.0, 1.0]} for _ in range(2))
    writer = kvar.TraceWriter(tmp_path)
    writer.write(1, {**first, "length": [3.0, 4.0], "note": ["a", "b"]})
    writer.write(2, {**second, "temperature": [0.5, 0.6], "source": ["c", "d"]})
    trace = kvar.read_trace(tmp_path)
    np.testing.assert_array_equal(trace.extras["length"], [3, 4, np.nan, np.nan])
    np.testing.assert_array_equal(trace.extras["temperature"], [np.nan, np.nan, 0.5, 0.6])
    assert trace.extras["note"].tolist() == ["a", "b", None, None]
    assert trace.extras["source"].tolist() == [None, None, "c", "d"]
    writer.write(3, {**first, "length": ["long", "short"]})
    with pytest.raises(ValueError, match="column 'length' holds numbers in some files and text in others"):
        kvar.read_trace(tmp_path)


def test_a_column_of_rollouts_with_gaps_is_left_out(tmp_path):
    rows = [{**row, "rollout": None if k == 3 else k % 2} for k, row in enumerate(ROWS)]
    log = read_log(jsonl(tmp_path / "log.jsonl", rows))
    same(log.trace)
    assert "The column rollout has gaps and is left out" in " ".join(log.notes.sentences())


def test_the_number_in_a_name_is_the_step_where_no_column_is(tmp_path):
    for step in (3, 12):
        jsonl(tmp_path / f"{step}.jsonl", [{"input": "q", "output": "a", "score": 1.0}] * 2)
    assert kvar.read_trace(tmp_path).step.tolist() == [3, 3, 12, 12]


@pytest.mark.parametrize("block", range(4))
def test_damaged_logs_are_audited_or_refused(tmp_path, block):
    outcomes = set()
    for seed in range(block * 30, block * 30 + 30):
        folder = tmp_path / str(seed)
        folder.mkdir()
        outcomes.add(log_mutations.trial(seed, folder, audited=seed % 3 == 0))
    assert any(outcome.startswith("audited") for outcome in outcomes)
    assert len(outcomes) > 1


@pytest.mark.parametrize("write", [jsonl, csv])
def test_a_rollout_may_be_longer_than_any_first_look(tmp_path, write):
    rows = [{"completion": "x" * 200_000, **row, "true_value": 0.5} for row in ROWS]
    trace = kvar.read_trace(write(tmp_path / "log", rows))
    same(trace)
    assert trace.extras["true_value"].tolist() == [0.5] * len(ROWS)


def test_an_error_does_not_print_a_page_of_text(tmp_path):
    (tmp_path / "log.csv").write_text(f"{'x' * 1000},{','.join(f'c{k}' for k in range(1000))}\n")
    with pytest.raises(ValueError, match="and 961 more") as error:
        kvar.read_trace(tmp_path / "log.csv")
    assert len(str(error.value)) < 600


def test_a_line_of_a_csv_that_is_not_utf_8_counts_once(tmp_path):
    (tmp_path / "log.csv").write_bytes(b"step,prompt,reward\n0,a,1\n0,\xff,1\n0,b,0\n0,c\n")
    log = read_log(tmp_path / "log.csv", max_bad=1.0)
    assert (log.notes.n_rows, log.notes.n_bad, log.notes.n_joined) == (2, 2, 0)
    not_utf, too_few = log.notes.omissions()
    assert "not UTF-8 (first log.csv:3)" in not_utf
    assert "number of fields is not 3 (first log.csv:5: 2)" in too_few


# --- score norms --------------------------------------------------------------------------------------------------


def with_lists(column, rng, n_tokens=3):
    """Rows with lists of log-probabilities, and their norms by hand."""
    chances = rng.uniform(0.1, 1.0, size=(len(ROWS), n_tokens))
    rows = [row | {column: np.log(p).tolist()} for row, p in zip(ROWS, chances, strict=True)]
    return rows, np.sqrt(((1 - chances) ** 2).sum(axis=1))


@pytest.mark.parametrize("column", ["logprobs", "rollout_log_probs", "generation_logprobs", "old_log_probs"])
@pytest.mark.parametrize(("name", "write"), [("log.jsonl", jsonl), ("log.parquet", parquet)])
def test_lists_of_log_probabilities_become_norms(tmp_path, name, write, column, rng):
    rows, norms = with_lists(column, rng)
    # A token without a number is left out; no list, an empty one and numbers above 0 give no norm.
    rows[0][column][1] = None
    norms[0] = np.hypot(*(1 - np.exp([rows[0][column][0], rows[0][column][2]])))
    rows[3][column], rows[4][column], rows[5][column] = None, [], [0.5, 2.0, 1.0]
    norms[3:6] = np.nan
    write(tmp_path / name, rows)
    log = read_log(tmp_path / name)
    same(log.trace)
    assert list(log.trace.extras) == ["score_norm"]
    np.testing.assert_allclose(log.trace.extras["score_norm"], norms, rtol=1e-12)
    (remark,) = [remark for remark in log.notes.remarks if column in remark]
    assert "3 rows" in remark
    assert not log.notes.bad_rows


def test_a_column_of_norms_comes_before_lists_of_log_probabilities(tmp_path, rng):
    rows, _ = with_lists("logprobs", rng)
    rows = [row | {"score_norm": 1.0 + k} for k, row in enumerate(rows)]
    log = read_log(parquet(tmp_path / "log.parquet", rows))
    np.testing.assert_array_equal(log.trace.extras["score_norm"], 1.0 + np.arange(len(rows)))
    assert not any("score_norm" in remark for remark in log.notes.remarks)


def test_the_column_of_log_probabilities_may_be_named(tmp_path, rng):
    rows, norms = with_lists("mine", rng)
    path = jsonl(tmp_path / "log.jsonl", rows)
    assert not read_log(path).trace.extras
    trace = read_log(path, columns="logprobs=mine").trace
    assert list(trace.extras) == ["score_norm"]
    np.testing.assert_allclose(trace.extras["score_norm"], norms, rtol=1e-12)


def test_lists_that_are_not_asked_for_stay_lists_or_are_left_out(tmp_path):
    rows = [row | {"prompt": [1, 2, int(row["prompt"][0])], "token_ids": [1, 2]} for row in ROWS]
    for write, name in ((jsonl, "log.jsonl"), (parquet, "log.parquet")):
        trace = read_log(write(tmp_path / name, rows)).trace
        assert len(np.unique(trace.prompt_id)) == 4
        assert not trace.extras


def test_norms_of_a_trl_log_are_no_reward(tmp_path, rng):
    rows = [{**row, "completion": "4", "advantage": 0.0, "correct": row["reward"]} for row in ROWS]
    rows = [{k: v for k, v in row.items() if k != "reward"} | {"score_norm": 2.0} for row in rows]
    trace = read_log(parquet(tmp_path / "completions_00001.parquet", rows), "trl").trace
    assert trace.reward.tolist() == [row["reward"] for row in ROWS]
    assert (trace.extras["score_norm"] == 2.0).all()


@pytest.mark.parametrize(("name", "write"), [("log.jsonl", jsonl), ("log.parquet", parquet)])
def test_lists_are_not_kept_in_memory(tmp_path, name, write, rng):
    n, n_tokens = 3000, 400
    lists = np.log(rng.uniform(0.1, 1.0, size=(n, n_tokens))).tolist()
    rows = [ROWS[k % len(ROWS)] | {"logprobs": lists[k]} for k in range(n)]
    path = write(tmp_path / name, rows)
    del lists, rows
    tracemalloc.start()
    try:
        trace = read_log(path).trace
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.isfinite(trace.extras["score_norm"]).all()
    # As objects of Python the lists take more than 32 bytes a token.
    assert peak < 0.25 * 32 * n * n_tokens
