"""Shapes of logs that trainers write, and how each is read: ``python -m tests.kvar.shapes_tried`` writes the page.

Each entry of `SHAPES` writes a small synthetic log in the shape of its source. The page says what came of it, in the
words of kvar.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kvar.readers import read_log
from kvar.utils.markdown import markdown_table
from tests.kvar import generated_logs as logs
from tests.kvar import shapes_of_files

PAGE = Path(__file__).parents[2] / "docs" / "site" / "logs.md"
_HEAD = """# Logs that can be read

`kvar audit PATH` and `kvar.read_trace` take a file, a folder or a pattern: Parquet, CSV, JSON Lines and JSON, plain or
compressed, on disk or at an address such as `s3://bucket/run`. In Python, a DataFrame of pandas or polars is read as
the file that it would be written to. `kvar inspect PATH` shows how a log is understood. Which columns are the step,
the prompt and the reward shows in their names and in what they do from row to row; `--columns` chooses others. What
cannot be read right is refused, and what may be read wrongly is said.

The table has the shapes that were tried. Each log is synthetic and small, in the shape of its source. "Read" means that
every rollout has its step, its prompt and its reward, and that none is missing or counts twice. Written by
`python -m tests.kvar.shapes_tried`.

"""


@dataclass(frozen=True)
class Shape:
    """A log of some shape."""

    name: str
    source: str
    write: Callable[[Path, list[dict]], object]  # Writes rollouts as `generated_logs.rollouts` makes them into a folder
    outcome: str = "read"  # "read", "refused", or "remarked": what is read is not the truth, and that is said
    says: str = ""  # A word that a remark or the error must hold
    columns: str | None = None
    group: int = 4


def faulty(fault, layout=logs.jsonl):
    def write(folder, rows):
        layout(folder, logs.only(fault(rows, np.random.default_rng(1))))

    return write


def changed(change, layout=logs.jsonl):
    return lambda folder, rows: layout(folder, [change(row) for row in rows])


def _areal(folder, rows):
    tasks: dict = {}
    for row in rows:
        task = tasks.setdefault((row["step"], row["number"]), len(tasks))
        path = folder / "rollout" / str(row["step"]) / f"{task}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "task_id": task,
            "sample_idx": row["sample"],
            "head_version": row["step"],
            "tail_version": row["step"],
        }
        content |= {name: row[name] for name in ("reward", "prompt", "completion")}
        with path.open("a") as file:
            file.write(json.dumps(content) + "\n")


def _skyrl(folder, rows):
    for step, mine in logs.by_step(rows):
        mine = [{"input_prompt": r["prompt"], "output_response": r["completion"], "score": r["reward"]} for r in mine]
        for name, part in (("openai_gsm8k", mine[::2]), ("aime24", mine[1::2])):
            logs.jsonl(folder, part, f"global_step_{step}_evals/{name}.jsonl")


def _slime(folder, rows, siblings=False):
    for step, mine in logs.by_step(rows):
        samples = []
        for k, row in enumerate(mine):
            for _ in range(1 + siblings * (k % 2)):
                numbers = {
                    "group_index": row["number"],
                    "index": 10**4 * step + len(samples),
                    "rollout_id": 10**4 * step + k,
                }
                samples.append(
                    {**numbers, "prompt": row["prompt"], "response": row["completion"], "reward": row["reward"]}
                )
        logs.jsonl(folder, samples, f"{step}.jsonl")


def _without_step(folder, rows, names):
    for name, mine in zip(names, np.array_split(np.array(rows, dtype=object), len(names)), strict=True):
        logs.jsonl(folder, [{n: row[n] for n in ("prompt", "completion", "reward")} for row in mine], name)


def _random_uid_of_verl(folder, rows):
    rng = np.random.default_rng(2)
    ids: dict = {}
    for row in rows:
        ids.setdefault((row["step"], row["number"]), str(uuid.UUID(bytes=rng.bytes(16))))
    logs.jsonl(folder, [{**r, "prompt_id": ids[r["step"], r["number"]]} for r in logs.only(rows, "number")])


def _two_runs(folder, rows):
    lost = [{**row, "reward": 1.0 - row["reward"], "completion": "other"} for row in rows]
    logs.jsonl(folder, logs.only(lost), "run_a.jsonl")
    logs.jsonl(folder, logs.only(rows), "run_b.jsonl")


def _ids(**more):
    def change(row):
        return {"step": row["step"], "prompt_id": row["number"], "reward": row["reward"], **more}

    return changed(change)


_TRL = "TRL, `log_completions=True`"
SHAPES = [
    Shape("completions", _TRL, faulty(logs.none, logs.trl)),
    Shape(
        "`log_extra` with token counts, groups of two",
        "TRL PR 5233",
        faulty(logs.tokens, logs.trl),
        says="agrees",
        group=2,
    ),
    Shape("`log_extra` with the right answer", "TRL, grpo_trainer.md", faulty(logs.gold, logs.trl), says="agrees"),
    Shape("`reward_weights=[1, 0.5]`", "TRL issue 5352", faulty(logs.weights, logs.trl), says="0.5 format_reward"),
    Shape(
        "the same without scaled advantages", "TRL", faulty(logs.weights, logs.trl_unscaled), says="0.5 format_reward"
    ),
    Shape(
        "`reward_weights=[1, 0.1]`, groups of two",
        "TRL issue 5352",
        faulty(lambda rows, rng: logs.weights(rows, rng, 0.1), logs.trl),
        says="0.1 format_reward",
        group=2,
    ),
    Shape("images left out of the messages", "TRL 1.16", faulty(logs.images, logs.trl), "remarked", "image"),
    Shape("a file a step", "verl, `rollout_data_dir`", faulty(logs.none, logs.verl)),
    Shape("rollouts and validation in one folder", "verl", logs.with_validation, says="validation"),
    Shape(
        "several outputs a session, `uid` {uid}_{session}_{output}",
        "verl V1",
        faulty(logs.outputs, logs.verl),
        says="uid",
    ),
    Shape(
        "a random `prompt_id` at each step, texts in another column",
        "verl",
        _random_uid_of_verl,
        says="never comes back",
    ),
    Shape("a file a task in a folder a version", "AReaL, workflow_executor.py", _areal),
    Shape("evaluations in folders `global_step_N_evals`", "SkyRL, trainer_utils.py", _skyrl),
    Shape("samples with `rollout_id`", "slime, types.py", _slime),
    Shape("siblings of a rollout", "slime", lambda f, rows: _slime(f, rows, siblings=True), says="rollout_id"),
    Shape("`all` and `effective` side by side", "prime-rl PR 2983", logs.all_and_effective, says="counted once"),
    Shape(
        "a prompt that is always empty", "prime-rl, monitors/prime.py", faulty(logs.empty_prompts), "refused", "empty"
    ),
    Shape("appended after a resume", "ms-swift, prime-rl", faulty(logs.resumed), says="go back"),
    Shape("a run that began again in its file", "ms-swift, prime-rl", faulty(logs.restarted), says="go back"),
    Shape("two runs in a folder", "any", _two_runs, says="go back"),
    Shape("a step within an epoch, and the epoch", "loops by hand", faulty(logs.epochs), says="epoch"),
    Shape("a row a turn, `step` counts turns", "rllm, AgentGym", faulty(logs.turns), says="iteration"),
    Shape(
        "a file a rank, no step",
        "prime-rl, token_export.py",
        lambda f, rows: _without_step(f, rows, [f"rollouts_rank{k}.jsonl" for k in range(3)]),
        "refused",
        "step",
    ),
    Shape(
        "shards of a data set, no step",
        "open-r1 PR 637",
        lambda f, rows: _without_step(f, rows, [f"train-{k:05d}-of-00002.jsonl" for k in range(2)]),
        "refused",
        "step",
    ),
    Shape(
        "a model's size in the name, no step",
        "any",
        lambda f, rows: _without_step(f, rows, ["qwen2.5-1.5b.jsonl", "qwen2.5-7b.jsonl"]),
        "refused",
        "step",
    ),
    Shape("a file a rank, with steps", "any", logs.ranks),
    Shape(
        "a batch filled up with rows of its own", "SkyRL, verl `pad_dataproto`", faulty(logs.padded), says="identical"
    ),
    Shape("rows of validation in a column `split`", "any", faulty(logs.validation_rows), says="split"),
    Shape("the date of the day in the system prompt", "Llama's chat template", faulty(logs.dates), says="dates"),
    Shape("tokens padded to the longest of the batch", "any", faulty(logs.padded_tokens), says="padded"),
    Shape("prompts as text, later as messages", "any", faulty(logs.then_messages), says="messages"),
    Shape("messages with a place for an image", "any", faulty(logs.images), "remarked", "image"),
    Shape("ids that are positions in the batch, with texts", "any", faulty(logs.positions), says="positions"),
    Shape("ids that are positions in the batch, alone", "any", faulty(logs.positions_alone), "remarked", "positions"),
    Shape("ids that count within an environment", "verifiers", faulty(logs.scoped_ids), says="env_name"),
    Shape("ids that pandas made floats of", "pandas", faulty(logs.float_ids)),
    Shape("ids that are lists", "any", faulty(logs.list_ids)),
    Shape(
        "ids beside lists of messages",
        "verifiers, TRL",
        _ids(completion=[{"role": "user", "content": "x"}]),
        says="aside",
    ),
    Shape("ids beside lists of tokens", "any", _ids(completion_ids=[1, 2]), says="aside"),
    Shape("ids beside lists of tools", "any", _ids(tools=["a", "b"]), says="aside"),
    *(Shape(*entry) for entry in shapes_of_files.SHAPES),
]


@dataclass(frozen=True)
class Tried:
    """What came of reading a shape."""

    outcome: str
    said: str
    sizes: str = ""


def tried(shape: Shape) -> Tried:
    """Write and read a shape."""
    rows = logs.rollouts(np.random.default_rng(0), 12, 6, 16, shape.group)
    truth = logs.summary(*([row[name] for row in rows] for name in ("step", "number", "reward")))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "log"
        folder.mkdir()
        shape.write(folder, rows)
        try:
            log = read_log(folder, columns=shape.columns)
        except (ValueError, FileNotFoundError) as refusal:
            return Tried("refused", str(refusal).replace(str(folder), "log"))
        trace = log.trace
        right = logs.summary(trace.step, trace.prompt_id, trace.reward) == truth
        said = [remark for remark in log.notes.remarks if not remark.startswith("Columns used")]
        said += log.notes.omissions()
        outcome = "read" if right else "remarked" if said else "wrong"
        n_prompts, n_steps = len(set(trace.prompt_id.tolist())), len(set(trace.step.tolist()))
        return Tried(outcome, " ".join(said), f"{len(trace):,} rollouts, {n_prompts} prompts, {n_steps} steps")


def page() -> str:
    """The page with the table."""
    rows = []
    for shape in SHAPES:
        found = tried(shape)
        words = {"read": "read", "refused": "refused", "remarked": "read as it is"}.get(found.outcome, found.outcome)
        words += f", {found.sizes}" if found.outcome == "remarked" else ""
        said = found.said.replace("|", "/").replace("<", "&lt;")
        rows.append((shape.name, shape.source, words, said if len(said) < 420 else said[:400] + " ..."))
    return _HEAD + markdown_table(["shape", "source", "outcome", "what is said"], rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
