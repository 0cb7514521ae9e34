"""Logs of many layouts, sizes and faults, and whether they are read right: ``python -m tests.kvar.generated_logs``.

Each log is written from rollouts that are known. It is read right, refused, read with a remark, or, what must not be,
read wrongly without a word.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import uuid
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl

from kvar.readers import read_log
from kvar.utils.markdown import markdown_table

OUTCOMES = ("read right", "refused", "remarked", "silently wrong")


def sizes(rng) -> tuple[int, int, int, int]:
    """Numbers of prompts, of prompts at a step, of steps, and of rollouts of a prompt at a step."""
    n_prompts, group = int(rng.integers(6, 25)), int(rng.choice([1, 2, 4, 4, 8]))
    return n_prompts, int(rng.integers(3, n_prompts)), int(rng.integers(10, 40)), group


def rollouts(rng, n_prompts: int, per_step: int, n_steps: int, group: int) -> list[dict]:
    """Rollouts of a run: each step has some of the prompts, and all come back."""
    values = rng.uniform(0.2, 0.8, n_prompts)
    order = np.concatenate([rng.permutation(n_prompts) for _ in range(n_steps)])
    rows = []
    for step in range(n_steps):
        for prompt in dict.fromkeys(order[step * per_step : (step + 1) * per_step].tolist()):
            for k in range(group):
                reward = float(rng.random() < values[prompt])
                text = f"it is {rng.integers(10**9)}"
                rows.append({"step": step + 1, "prompt": question(prompt), "completion": text, "reward": reward})
                rows[-1] |= {"number": prompt, "sample": k}
    return rows


def question(prompt: int) -> str:
    return f"What is {prompt} plus {7 * prompt % 5}? Think it over."


def only(rows: list[dict], *names: str) -> list[dict]:
    return [{n: v for n, v in row.items() if n not in ("number", "sample") or n in names} for row in rows]


# --- faults: rows as they are logged; the truth is in the rows before -------------------------------------------------


def none(rows, rng):
    return rows


def padded(rows, rng):
    """Rows of a step repeated to fill the batch."""
    out = []
    for step in sorted({row["step"] for row in rows}):
        mine = [row for row in rows if row["step"] == step]
        n = int(rng.integers(1, 1 + len(mine) // 2))
        out += mine + copy.deepcopy(mine[:n])
    return out


def padded_and_counted(rows, rng):
    """The same with a number for each row of the log."""
    return [{**row, "index": k} for k, row in enumerate(padded(rows, rng))]


def resumed(rows, rng):
    """The last steps before a resume were sampled again; the later reading counts."""
    last = max(row["step"] for row in rows)
    back, again = sorted(rng.choice(np.arange(2, last), 2, replace=False).tolist())
    lost = [{**row, "reward": float(rng.random() < 0.5), "completion": "lost"} for row in rows]
    head = [row for row in rows if row["step"] < back] + [row for row in lost if back <= row["step"] <= again]
    return head + [row for row in rows if row["step"] >= back]


def restarted(rows, rng):
    """A first run that was given up, in the same file."""
    last = max(row["step"] for row in rows)
    stop = int(rng.integers(2, last + 1))
    lost = [{**row, "reward": float(rng.random() < 0.5), "completion": "lost"} for row in rows if row["step"] <= stop]
    return lost + rows


def epochs(rows, rng):
    length = int(rng.integers(3, 8))
    return [{**row, "epoch": (row["step"] - 1) // length, "step": (row["step"] - 1) % length} for row in rows]


def turns(rows, rng):
    n = int(rng.integers(2, 5))
    return [
        {**row, "iteration": row["step"], "step": turn, "trajectory_id": k, "reward": row["reward"] * (turn == n)}
        for k, row in enumerate(rows)
        for turn in range(1, n + 1)
    ]


def turns_alone(rows, rng):
    """Turns without a name of their rollout."""
    n = int(rng.integers(2, 5))
    return [{**row, "turn": turn, "reward": row["reward"] * (turn == n - 1)} for row in rows for turn in range(n)]


def constant_step(rows, rng):
    return [{**row, "iteration": row["step"], "step": 0} for row in rows]


def counted_step(rows, rng):
    """A step that counts rows, beside the training step."""
    return [{**row, "global_step": row["step"], "step": k} for k, row in enumerate(rows)]


def siblings(rows, rng):
    """Several segments of a rollout, with its reward in each."""
    return [{**row, "rollout_id": k, "index": 3 * k + j} for k, row in enumerate(rows) for j in range(1 + k % 3)]


def outputs(rows, rng):
    """Several outputs of a session, each with its own prompt, as verl names them."""
    out, uids = [], {}
    for row in rows:
        uid = uids.setdefault((row["step"], row["number"]), str(uuid.UUID(bytes=rng.bytes(16))))
        for j in range(2):
            more = f" [summary {row['sample']} of {row['step']}]" if j else ""
            out.append({**row, "prompt": row["prompt"] + more, "uid": f"{uid}_{row['sample']}_{j}"})
    return out


def validation_rows(rows, rng):
    return [{**row, "split": "train"} for row in rows] + [
        {**row, "reward": 1.0, "split": "val"} for row in rows if row["step"] % 5 == 0
    ]


def validation_flags(rows, rng):
    return [
        {**row, "is_eval": flag, "reward": 1.0 if flag else row["reward"]}
        for row in rows
        for flag in ((False, True) if row["step"] % 5 == 0 else (False,))
    ]


def resumed_twice(rows, rng):
    return resumed(resumed(rows, rng), rng)


def ids_of_problems(rows, rng):
    """Ids of samples, and the text in a column of an unusual name."""
    ids = random_ids(rows, rng)
    return [{**{"problem_text" if n == "prompt" else n: v for n, v in row.items()}} for row in ids]


def random_ids(rows, rng):
    ids: dict = {}
    for row in rows:
        ids.setdefault((row["step"], row["number"]), str(uuid.UUID(bytes=rng.bytes(16))))
    return [{**row, "prompt_id": ids[row["step"], row["number"]]} for row in rows]


def positions(rows, rng):
    places: dict = {}
    for row in rows:
        here = places.setdefault(row["step"], {})
        here.setdefault(row["number"], len(here))
    return [{**row, "prompt_id": places[row["step"]][row["number"]]} for row in rows]


def mixed_positions(rows, rng):
    """The same in any order of rows within a step."""
    out = []
    for _, mine in by_step(positions(rows, rng)):
        out += [mine[k] for k in rng.permutation(len(mine))]
    return out


def positions_alone(rows, rng):
    return [{n: v for n, v in row.items() if n != "prompt"} for row in positions(rows, rng)]


def scoped_ids(rows, rng):
    half = 1 + max(row["number"] for row in rows) // 2
    return [
        {**row, "example_id": row["number"] % half, "env_name": "math" if row["number"] < half else "code"}
        for row in rows
    ]


def float_ids(rows, rng):
    return [{**{n: v for n, v in row.items() if n != "prompt"}, "prompt_id": float(row["number"])} for row in rows]


def list_ids(rows, rng):
    return [{**{n: v for n, v in row.items() if n != "prompt"}, "prompt_id": [row["number"], 0]} for row in rows]


def empty_prompts(rows, rng):
    return [{**row, "prompt": ""} for row in rows]


def dates(rows, rng):
    return [{**row, "prompt": f"Today Date: {1 + row['step'] // 4} Jul 2026\n\n{row['prompt']}"} for row in rows]


def padded_tokens(rows, rng):
    width = {step: int(rng.integers(8, 14)) for step in {row["step"] for row in rows}}
    return [{**row, "prompt": [0] * width[row["step"]] + [5, 9, row["number"] + 20]} for row in rows]


def padded_right(rows, rng):
    width = {step: int(rng.integers(8, 14)) for step in {row["step"] for row in rows}}
    return [{**row, "prompt": [1, 9, row["number"] + 20] + [2] * width[row["step"]]} for row in rows]


def then_messages(rows, rng):
    middle = np.median([row["step"] for row in rows])
    return [
        {**row, "prompt": [{"role": "user", "content": row["prompt"]}]} if row["step"] > middle else row for row in rows
    ]


def images(rows, rng):
    content = [{"type": "image"}, {"type": "text", "text": "How many?"}]
    return [{**row, "prompt": [{"role": "user", "content": content}]} for row in rows]


def gold(rows, rng):
    return [{**row, "gold_answer": 10 * row["number"]} for row in rows]


def tokens(rows, rng):
    return [{**row, "response_tokens": int(rng.integers(20, 900))} for row in rows]


def weights(rows, rng, weight=0.5):
    """Two rewards with weights 1 and another, of which the log has the parts and not the weights."""
    out = []
    for row in rows:
        part = float(rng.random() < 0.7)
        out.append({**row, "total": row["reward"], "reward": row["reward"] - weight * part, "format_reward": part})
    return out


def of_samples(rows, rng):
    """A number of samples under a name of steps."""
    return [{**{n: v for n, v in row.items() if n != "step"}, "rollout_id": k} for k, row in enumerate(rows)]


def no_step(rows, rng):
    return [{n: v for n, v in row.items() if n != "step"} for row in rows]


# --- layouts: where the rows go ---------------------------------------------------------------------------------------


def jsonl(folder, rows, name="log.jsonl"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def csv(folder, rows):
    rows = [{n: json.dumps(v) if isinstance(v, (list, dict)) else v for n, v in row.items()} for row in rows]
    pl.DataFrame(rows, infer_schema_length=None).write_csv(folder / "log.csv")


def parquet(folder, rows):
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(folder / "log.parquet")


def by_step(rows):
    for step in sorted({row["step"] for row in rows}):
        yield step, [row for row in rows if row["step"] == step]


def folders_of_steps(folder, rows):
    for step, mine in by_step(rows):
        mine = [{n: v for n, v in row.items() if n != "step"} for row in mine]
        jsonl(folder, mine, f"global_step_{step}/rollouts.jsonl")


def verl(folder, rows):
    names = {"prompt": "input", "completion": "output", "reward": "score"}
    for step, mine in by_step(rows):
        jsonl(folder, [{names.get(n, n): v for n, v in row.items()} for row in mine], f"{step}.jsonl")


def trl(folder, rows, scaled=True):
    for step, mine in by_step(rows):
        total = np.array([row.get("total", row["reward"]) for row in mine])
        prompts = [str(row["prompt"]) for row in mine]
        advantage = np.zeros(len(mine))
        for prompt in set(prompts):
            places = [k for k, other in enumerate(prompts) if other == prompt]
            advantage[places] = total[places] - total[places].mean()
            if scaled and len(places) > 1:
                advantage[places] /= total[places].std(ddof=1) + 1e-4
        frame = [
            {
                **{"accuracy_reward" if n == "reward" else n: v for n, v in row.items()},
                "advantage": float(np.float32(a)),
            }
            for row, a in zip(mine, advantage, strict=True)
        ]
        frame = [{n: v for n, v in row.items() if n != "total"} for row in frame]
        pl.DataFrame(frame, infer_schema_length=None).write_parquet(folder / f"completions_{step:05d}.parquet")


def trl_unscaled(folder, rows):
    trl(folder, rows, scaled=False)


def folders_of_environments(folder, rows):
    """Ids that count within an environment, which has a folder."""
    half = 1 + max(row["number"] for row in rows) // 2
    for step, mine in by_step(rows):
        for name, part in (
            ("math", [r for r in mine if r["number"] < half]),
            ("code", [r for r in mine if r["number"] >= half]),
        ):
            part = [{**row, "example_id": row["number"] % half} for row in part]
            if part:
                jsonl(folder, only(part), f"step_{step}/{name}.jsonl")


def folders_of_epochs(folder, rows):
    for step, mine in by_step(rows):
        mine = [{n: v for n, v in row.items() if n != "step"} for row in only(mine)]
        jsonl(folder, mine, f"epoch_{(step - 1) // 5}/step_{(step - 1) % 5}.jsonl")


def turns_in_files(folder, rows):
    """A row a turn, under the name step, in a file a step."""
    for step, mine in by_step(rows):
        mine = [
            {**row, "step": t, "traj_uid": f"{step}-{k}", "reward": row["reward"] * (t == 2)}
            for k, row in enumerate(only(mine))
            for t in range(3)
        ]
        jsonl(folder, mine, f"step_{step}.jsonl")


def ranks(folder, rows):
    for rank in range(3):
        jsonl(folder, [row for row in rows if row["number"] % 3 == rank], f"rollouts_rank{rank}.jsonl")


def all_and_effective(folder, rows):
    for step, mine in by_step(rows):
        jsonl(folder, only(mine), f"step_{step}/train/all/traces.jsonl")
        groups = {row["number"]: {r["reward"] for r in mine if r["number"] == row["number"]} for row in mine}
        kept = [row for row in mine if len(groups[row["number"]]) > 1]
        jsonl(folder, only(kept or mine[:1]), f"step_{step}/train/effective/traces.jsonl")


def with_validation(folder, rows):
    for step, mine in by_step(rows):
        jsonl(folder, only(mine), f"rollout/{step}.jsonl")
        if step % 5 == 0:
            jsonl(folder, [{**row, "reward": 1.0} for row in only(mine)], f"validation/{step}.jsonl")


def samples_by_step(folder, rows):
    """Files named by the step, with a number of samples inside."""
    for step, mine in by_step(rows):
        jsonl(
            folder, [{**row, "rollout_id": row["step"] * 1000 + k} for k, row in enumerate(only(mine))], f"{step}.jsonl"
        )


def shards(folder, rows):
    half = len(rows) // 2
    for k, mine in enumerate((rows[:half], rows[half:])):
        jsonl(folder, mine, f"train-{k:05d}-of-00002.jsonl")


SINGLE = (jsonl, csv, parquet)
ANY = (*SINGLE, folders_of_steps, verl)
# Which faults come in which layouts.
PAIRS = [
    *((none, layout) for layout in (*ANY, trl, ranks)),
    *((fault, layout) for fault in (padded, dates, validation_rows) for layout in ANY),
    *(
        (fault, layout)
        for fault in (resumed, restarted, epochs, turns, siblings, random_ids, scoped_ids)
        for layout in SINGLE
    ),
    *((fault, layout) for fault in (positions, positions_alone, float_ids, empty_prompts) for layout in SINGLE),
    *((list_ids, layout) for layout in (jsonl, parquet)),
    *((fault, layout) for fault in (padded_tokens, images) for layout in (jsonl, parquet)),
    *((then_messages, layout) for layout in (jsonl, csv)),
    *((fault, trl) for fault in (gold, tokens, images, dates)),
    *((fault, layout) for fault in (weights, tokens) for layout in (trl, trl_unscaled)),
    *((outputs, layout) for layout in (verl, jsonl)),
    *((of_samples, layout) for layout in SINGLE),
    *((no_step, layout) for layout in (*SINGLE, shards)),
    *((fault, layout) for fault in (padded_and_counted, turns_alone, constant_step, counted_step) for layout in SINGLE),
    *(
        (fault, layout)
        for fault in (validation_flags, resumed_twice, ids_of_problems, mixed_positions)
        for layout in SINGLE
    ),
    *((padded_right, layout) for layout in SINGLE),
    *((none, layout) for layout in (folders_of_environments, folders_of_epochs, turns_in_files)),
    *((none, layout) for layout in (all_and_effective, with_validation, samples_by_step)),
]
_NEEDS_NUMBER = {ranks, all_and_effective, with_validation, samples_by_step}
_NEEDS_NUMBER |= {folders_of_environments, folders_of_epochs, turns_in_files}


def summary(step, prompt, reward) -> Counter:
    """What a reading must agree in: the steps and rewards of each prompt, whatever steps and prompts are called."""
    rank = np.unique(step, return_inverse=True)[1]
    of_prompt: dict = {}
    for key, when, what in zip(np.asarray(prompt).tolist(), rank.tolist(), np.round(reward, 6).tolist(), strict=True):
        of_prompt.setdefault(key, []).append((when, what))
    return Counter(tuple(sorted(found)) for found in of_prompt.values())


def trial(seed: int, folder: Path) -> tuple[str, str, str, str]:
    """Write and read one log: its fault, its layout, the outcome, and what was said."""
    rng = np.random.default_rng(seed)
    fault, layout = PAIRS[seed % len(PAIRS)]
    rows = rollouts(rng, *sizes(rng))
    truth = summary(*([row[name] for row in rows] for name in ("step", "number", "reward")))
    logged = fault(copy.deepcopy(rows), rng)
    layout(folder, logged if layout in _NEEDS_NUMBER else only(logged))
    if layout is ranks:
        for path in folder.iterdir():
            jsonl(folder, only([json.loads(line) for line in path.read_text().splitlines()]), path.name)
    try:
        log = read_log(folder)
    except (ValueError, FileNotFoundError) as refusal:
        return fault.__name__, layout.__name__, "refused", str(refusal)
    said = [remark for remark in log.notes.remarks if not remark.startswith("Columns used")] + log.notes.omissions()
    if summary(log.trace.step, log.trace.prompt_id, log.trace.reward) == truth:
        return fault.__name__, layout.__name__, "read right", " ".join(said)
    return fault.__name__, layout.__name__, "remarked" if said else "silently wrong", " ".join(said)


def table(number: int, seed: int = 0) -> tuple[str, list]:
    """Counts of outcomes by fault as Markdown, and all trials."""
    counts: dict[str, Counter] = {}
    trials = []
    for k in range(seed, seed + number):
        with tempfile.TemporaryDirectory() as folder:
            fault, layout, outcome, said = trial(k, Path(folder))
        counts.setdefault(fault, Counter())[outcome] += 1
        trials.append((k, fault, layout, outcome, said))
    rows = [(name.replace("_", " "), *(counts[name][outcome] for outcome in OUTCOMES)) for name in counts]
    rows.append(("all", *(sum(found[outcome] for found in counts.values()) for outcome in OUTCOMES)))
    return markdown_table(["fault", *OUTCOMES], rows), trials


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", default="silently wrong", help="show the logs with this outcome")
    options = parser.parse_args()
    text, trials = table(options.number, options.seed)
    print(text)
    for k, fault, layout, outcome, said in trials:
        if outcome == options.show:
            print(f"seed {k}: {fault} in {layout}: {outcome}. {said[:200]}")


if __name__ == "__main__":
    main()
