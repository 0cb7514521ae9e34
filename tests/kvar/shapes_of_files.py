"""Shapes of logs that are no table of rollouts: name, source, writer, outcome, a word that is said, columns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from tests.kvar import generated_logs as logs

_NESTED = "prompt=content[0],step=run.step,reward=traces[0].rewards.correct"


def by_prompt(rows):
    """A row a prompt and step, with lists of responses and rewards."""
    groups: dict = {}
    for row in rows:
        group = groups.setdefault((row["step"], row["number"]), {"step": row["step"], "prompt": row["prompt"]})
        group.setdefault("responses", []).append(row["completion"])
        group.setdefault("rewards", []).append(row["reward"])
    return list(groups.values())


def columns(rows):
    return {name: [row[name] for row in rows] for name in ("step", "prompt", "completion", "reward")}


def each(change, name="log.jsonl"):
    return lambda folder, rows: logs.jsonl(folder, [change(k, row) for k, row in enumerate(rows)], name)


def document(content):
    return lambda folder, rows: (folder / "log.json").write_text(json.dumps(content(logs.only(rows))))


def _swift(folder, rows):
    lines = []
    for step, mine in logs.by_step(rows):
        table = {"step": [str(step)] * len(mine), "prompt": [r["prompt"] for r in mine]}
        table |= {"completion": [r["completion"] for r in mine], "MathAccuracy": [r["reward"] for r in mine]}
        lines.append({**table, "advantages": [r["reward"] - 0.5 for r in mine]})
    logs.jsonl(folder, lines, "completions.jsonl")


def _nemo(folder, rows):
    for step, mine in logs.by_step(rows):
        lines = [
            {"content": [[r["prompt"], r["completion"]]], "rewards": [r["reward"]], "input_lengths": [3], "idx": k}
            for k, r in enumerate(mine)
        ]
        logs.jsonl(folder, lines, f"train_data_step{step}.jsonl")


def _prime(folder, rows):
    for step, mine in logs.by_step(rows):
        lines = [
            {
                "id": r["completion"],
                "task": {"type": "math", "data": {"question": r["prompt"]}},
                "traces": [{"rewards": {"correct": {"score": r["reward"], "weight": 1.0}}}],
            }
            for r in mine
        ]
        logs.jsonl(folder, lines, f"rollouts/step_{step}/train/all/traces.jsonl")


def _open_instruct(k, row):
    tokens = {"prompt_tokens": [7, row["number"]], "response_tokens": list(map(ord, row["completion"]))}
    return {"step": row["step"], "sample_idx": k, "prompt_idx": k // 4, **tokens, "reward": row["reward"]}


def _nested(k, row):
    content = {"run": {"step": row["step"]}, "content": [row["prompt"], row["completion"]]}
    return {**content, "traces": [{"rewards": {"correct": row["reward"]}}]}


def _parquet(folder, rows):
    pl.DataFrame(by_prompt(rows)).write_parquet(folder / "log.parquet")


def _parquet_of_text(folder, rows):
    lines = [{**r, **{n: json.dumps(r[n]) for n in ("responses", "rewards")}} for r in by_prompt(rows)]
    pl.DataFrame(lines).write_parquet(folder / "log.parquet")


def _csv(folder, rows):
    lines = [{**r, "responses": str(r["responses"]), "rewards": str(np.array(r["rewards"]))} for r in by_prompt(rows)]
    pl.DataFrame(lines).write_csv(folder / "log.csv")


def _rewards_alone(folder, rows):
    logs.jsonl(folder, [{n: v for n, v in row.items() if n != "responses"} for row in by_prompt(rows)])


def _many_runs(folder, rows):
    for run in ("grpo", "rloo"):
        for step, mine in logs.by_step(rows):
            logs.jsonl(folder, logs.only(mine), f"{run}/completions/{step}.jsonl")


def _torch(folder: Path, rows):
    (folder / "rollout_data").mkdir()
    (folder / "rollout_data" / "0.pt").write_bytes(b"PK\x03\x04" + bytes(500))


def _evaluation(folder, rows):
    (folder / "metadata.json").write_text('{"env_id": "math"}')
    each(lambda k, r: {"example_id": r["number"], "prompt": r["prompt"], "reward": r["reward"]}, "results.jsonl")(
        folder, rows
    )


SHAPES = [
    ("a row a prompt, lists in Parquet", "open-r1 PR 637", _parquet, "read", "taken apart", None),
    ("a row a prompt, JSON text in Parquet", "any", _parquet_of_text, "read", "taken apart", None),
    ("a row a prompt, lists as Python and NumPy print them, in CSV", "pandas", _csv, "read", "taken apart", None),
    (
        "a row a prompt, lists in JSON Lines",
        "any",
        lambda folder, rows: logs.jsonl(folder, by_prompt(rows)),
        "read",
        "taken apart",
        None,
    ),
    (
        "a row a prompt, lists of rewards alone",
        "any",
        lambda folder, rows: logs.jsonl(
            folder, [{n: v for n, v in r.items() if n != "responses"} for r in by_prompt(rows)]
        ),
        "read",
        "sum(rewards)",
        None,
    ),
    (
        "a reward for each function, and their names",
        "any",
        each(lambda k, r: {**logs.only([r])[0], "reward": [r["reward"], 1.0], "reward_names": ["right", "tidy"]}),
        "refused",
        "function",
        None,
    ),
    ("a line a step, a dict of lists", "ms-swift, grpo_trainer.py", _swift, "read", "taken apart", None),
    ("a JSON array of rows", "pandas `to_json(orient='records')`", document(lambda rows: rows), "read", "", None),
    ("a JSON object of lists", "any", document(columns), "read", "taken apart", None),
    (
        "a table in JSON, `columns` and `data`",
        "wandb, TRL before 1.0",
        document(lambda rows: {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}),
        "read",
        "",
        None,
    ),
    (
        "a table of samples, one a step",
        "OpenRLHF, logging_utils.py",
        document(
            lambda rows: {
                "columns": ["global_step", "text", "reward"],
                "data": [[row["step"], row["prompt"] + row["completion"], row["reward"]] for row in rows[::24]],
            }
        ),
        "refused",
        "one a step",
        None,
    ),
    ("nested records, by paths", "any", each(_nested), "read", "", _NESTED),
    ("episodes with traces", "prime-rl, monitors/file.py", _prime, "read", "", None),
    ("`train_data_stepN.jsonl`", "NeMo-RL, grpo.py", _nemo, "read", "", None),
    (
        "rollouts with tokens, `prompt_idx` in the batch",
        "open-instruct, rl_utils.py",
        each(_open_instruct),
        "read",
        "",
        None,
    ),
    (
        "a reward for each token",
        "SkyRL, generator outputs",
        each(lambda k, r: {**logs.only([r])[0], "reward": [0.0] * (k % 5 + 1) + [r["reward"]]}),
        "refused",
        "token",
        None,
    ),
    (
        "a reward for each token, the last taken",
        "SkyRL, generator outputs",
        each(lambda k, r: {**logs.only([r])[0], "reward": [0.0] * (k % 5 + 1) + [r["reward"]]}),
        "read",
        "",
        "reward=reward[-1]",
    ),
    (
        "a reward for each function",
        "any",
        each(lambda k, r: {**logs.only([r])[0], "reward": [r["reward"], 1.0]}),
        "refused",
        "function",
        None,
    ),
    (
        "a reward by name in an object",
        "slime, types.py",
        each(lambda k, r: {**logs.only([r])[0], "reward": {"correct": r["reward"], "format": 1.0}}),
        "refused",
        "reward.correct",
        None,
    ),
    (
        "conversations that hold the answer",
        "any",
        each(
            lambda k, r: {
                "step": r["step"],
                "reward": r["reward"],
                "messages": [
                    {"role": "user", "content": r["prompt"]},
                    {"role": "assistant", "content": r["completion"]},
                ],
            }
        ),
        "refused",
        "messages[0]",
        None,
    ),
    ("files of PyTorch", "slime, rollout_data_utils.py", _torch, "refused", "PyTorch", None),
    ("an evaluation, no step, beside metadata", "verifiers, vf-eval", _evaluation, "refused", "example_id", None),
    ("a folder with several runs", "any", _many_runs, "refused", "grpo/completions", None),
]
