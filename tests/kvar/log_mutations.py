"""Good logs damaged in every way that comes to mind, read and audited: ``python -m tests.kvar.log_mutations``.

Each damaged log must be audited or refused with a sentence; every line of a text log must be used, counted as bad or
lie in a file that is listed; and nothing may take long.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import zstandard

import kvar
from kvar.readers import read_log

N_STEPS, N_PROMPTS, GROUP = 5, 6, 3
# Of the processor, so that a busy machine fails nothing.
SECONDS = 10.0


def good_rows(rng) -> list[dict]:
    rows = []
    for step in range(1, N_STEPS + 1):
        for prompt in range(N_PROMPTS):
            for _ in range(GROUP):
                rows.append({"step": step, "prompt": f"what is {prompt}+1?", "reward": float(rng.random() < 0.5)})
    return rows


def with_lists(rows: list[dict]) -> list[dict]:
    """Rows with lists of log-probabilities, some empty."""
    return [{**row, "logprobs": [-0.1 * j for j in range(k % 7)]} for k, row in enumerate(rows)]


def trl(folder: Path, rows: list[dict]) -> None:
    for step in range(1, N_STEPS + 1):
        mine = [row for row in rows if row.get("step") == step]
        columns = {
            "step": [row["step"] for row in mine],
            "prompt": [row.get("prompt") for row in mine],
            "completion": [f"it is {k}" for k in range(len(mine))],
            "right": [row.get("reward") for row in mine],
            "short": [0.5] * len(mine),
            "advantage": [0.0] * len(mine),
        }
        pl.DataFrame(columns, strict=False).write_parquet(folder / f"completions_{step:05d}.parquet")


def verl(folder: Path, rows: list[dict]) -> None:
    for step in range(1, N_STEPS + 1):
        lines = [
            {"input": row.get("prompt"), "output": "x", "gts": None, "score": row.get("reward"), "step": step}
            for row in rows
            if row.get("step") == step
        ]
        (folder / f"{step}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def own(folder: Path, rows: list[dict]) -> None:
    frame = pl.DataFrame(with_lists(rows), strict=False, infer_schema_length=None)
    frame = frame.rename({"prompt": "prompt_id"}, strict=False)
    frame.write_parquet(folder / "trace.parquet")


def csv_gz(folder: Path, rows: list[dict]) -> None:
    text = pl.DataFrame(rows, strict=False, infer_schema_length=None).write_csv()
    (folder / "log.csv.gz").write_bytes(gzip.compress(text.encode()))


def csv(folder: Path, rows: list[dict]) -> None:
    pl.DataFrame(rows, strict=False, infer_schema_length=None).write_csv(folder / "log.csv")


def jsonl(folder: Path, rows: list[dict]) -> None:
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in with_lists(rows)))


def jsonl_zst(folder: Path, rows: list[dict]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "log.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(text.encode()))


def document(folder: Path, rows: list[dict]) -> None:
    (folder / "log.json").write_text(json.dumps(rows, indent=1))


def table(folder: Path, rows: list[dict]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    content = {"columns": names, "data": [[row.get(name) for name in names] for row in rows]}
    (folder / "media.table.json").write_text(json.dumps(content))


def by_prompt(folder: Path, rows: list[dict]) -> None:
    groups: dict[str, dict] = {}
    for row in rows:
        key = repr((row.get("step"), row.get("prompt")))
        group = groups.setdefault(key, {**row, "reward": [], "responses": []})
        group["reward"].append(row.get("reward"))
        group["responses"].append("it is 3")
    text = "".join(json.dumps(group) + "\n" for group in groups.values())
    (folder / "groups.json").write_text(text)


WRITERS = (trl, verl, own, csv, csv_gz, jsonl, jsonl_zst, document, table, by_prompt)
STRANGE = [
    *(None, "", "abc", True, float("nan"), float("inf"), -float("inf"), -3, 10**400, 2**64, 1e308, -1e-300),
    *([1, 2], {"a": None}, "1.5", " 7 ", "\ud800", "<b>&", '"', "a\nb", "\0"),
]


def change_rows(rng, rows: list[dict]) -> list[dict]:
    """Damage that still makes a file of its kind."""
    kind = rng.integers(5)
    if kind == 0:
        name = str(rng.choice(["step", "prompt", "reward"]))
        return [{key: value for key, value in row.items() if key != name} for row in rows]
    if kind == 1:
        name, value = str(rng.choice(["step", "prompt", "reward"])), STRANGE[rng.integers(len(STRANGE))]
        for k in rng.choice(len(rows), rng.integers(1, len(rows)), replace=False):
            rows[k] = {**rows[k], name: value}
        return rows
    if kind == 2:
        return [rows[k] for k in rng.integers(len(rows), size=rng.integers(0, 2 * len(rows)))]
    if kind == 3:
        return [{**row, "step": row["step"] * int(rng.choice([-1, 10**6, 2**40]))} for row in rows]
    return [{**row, "prompt": int(rng.integers(-(2**63), 2**63 - 1))} for row in rows]


def change_bytes(rng, path: Path) -> None:
    """Damage that no writer would do."""
    content = bytearray(path.read_bytes())
    kind = rng.integers(5)
    if kind == 0 and content:
        for k in rng.integers(len(content), size=rng.integers(1, 6)):
            content[k] ^= 1 << rng.integers(8)
    elif kind == 1:
        content = content[: rng.integers(len(content) + 1)]
    elif kind == 2:
        k = rng.integers(len(content) + 1)
        content[k:k] = rng.bytes(rng.integers(1, 40))
    elif kind == 3:
        content = bytearray()
    else:
        (path.parent / "foreign.bin").write_bytes(rng.bytes(500))
        (path.parent / "foreign.csv").write_text("a,b\n1,2\n")
    path.write_bytes(bytes(content))


def text_lines(folder: Path) -> int | None:
    """Lines that hold something, less headers; None where there are other files too."""
    total = 0
    for path in folder.iterdir():
        if path.suffix not in (".jsonl", ".csv"):
            return None
        lines = path.read_bytes().split(b"\n")
        total += sum(bool(line.strip()) for line in lines) - (path.suffix == ".csv")
    return total


def trial(seed: int, folder: Path) -> str:
    """Damage one log and audit it.

    Returns what came of it: "audited", or the first words of the refusal.
    """
    rng = np.random.default_rng(seed)
    rows = good_rows(rng)
    if rng.random() < 0.4:
        rows = change_rows(rng, rows)
    write = WRITERS[rng.integers(len(WRITERS))]
    try:
        write(folder, rows)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError, UnicodeEncodeError, KeyError):
        return "not writable"
    paths = sorted(folder.iterdir())
    if paths and rng.random() < 0.6:
        change_bytes(rng, paths[rng.integers(len(paths))])
    lines = text_lines(folder)
    start = time.process_time()
    try:
        log = read_log(folder, max_bad=1.0)
        notes = log.notes
        assert notes.n_rows == len(log.trace)
        if lines is not None and not notes.refused:
            accounted = notes.n_rows + notes.n_bad + notes.n_joined + notes.n_left_out
            assert accounted == lines, f"{lines - accounted} of {lines} lines vanished"
        assert notes.n_rows or notes.n_bad
        assert bool(notes.n_left_out) <= bool(notes.doubts)
        assert bool(notes.n_bad + len(notes.refused) + len(notes.cut)) == bool(notes.omissions())
        report = kvar.audit(log, ["kernel", "group-mean", "batch-mean"] if seed % 10 else None)
        assert len(report.table) == len(report.rows)
        json.dumps(report.to_dict(), allow_nan=False)
        outcome = "audited"
    except (ValueError, FileNotFoundError) as refusal:
        outcome = " ".join(str(refusal).split()[:4])
    assert time.process_time() - start < SECONDS, "took long"
    return outcome


def main() -> None:
    """Run many trials and count what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outcomes: dict[str, int] = {}
    slowest = 0.0
    for seed in range(options.seed, options.seed + options.number):
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            try:
                outcome = trial(seed, Path(folder))
            except BaseException:
                print(f"seed {seed} failed", flush=True)
                raise
            slowest = max(slowest, time.process_time() - start)
        kind = outcome if outcome in ("audited", "not writable") else "refused"
        outcomes[kind] = outcomes.get(kind, 0) + 1
    print(f"{options.number} damaged logs: {outcomes}; the slowest took {slowest:.1f} s of processor time")


if __name__ == "__main__":
    main()
