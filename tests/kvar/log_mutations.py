"""Good logs damaged in every way that comes to mind, read and audited: ``python -m tests.kvar.log_mutations``.

Each damaged log must be audited or refused with a sentence; every line of a text log must be used, counted as bad or
lie in a file that is listed; whole lines must be read as they were before the damage, and nothing else than damaged
lines may add rows; files that are no logs change nothing; no name gets into the page as anything but text; and nothing
may take long.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import zstandard

import kvar
from kvar.auditing.page import page
from kvar.readers import read_log
from kvar.rollouts.prompt_ids import prompt_key

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


TYPES = {
    "step": [
        pl.Int8,
        pl.UInt64,
        pl.Float32,
        pl.String,
        pl.Decimal(20, 3),
        *([pl.Int128] if hasattr(pl, "Int128") else []),
    ],
    "reward": [pl.Boolean, pl.Float32, pl.Int8, pl.String, pl.Decimal(20, 3), pl.List(pl.Float64)],
    "prompt": [pl.Categorical, pl.Binary, pl.List(pl.String)],
}


def typed(folder: Path, rows: list[dict]) -> None:
    """Parquet with columns of other types and with gaps."""
    rng = np.random.default_rng(len(rows) + int(sum(row.get("reward") == 1 for row in rows)))
    frame = pl.DataFrame(rows, strict=False, infer_schema_length=None)
    for name, kinds in TYPES.items():
        if name in frame.columns and rng.random() < 0.5:
            frame = frame.with_columns(pl.col(name).cast(kinds[rng.integers(len(kinds))], strict=False))
        if name in frame.columns and rng.random() < 0.2:
            frame = frame.with_columns(pl.when(pl.int_range(pl.len()) % 11 > 0).then(pl.col(name)).alias(name))
    frame.write_parquet(folder / "typed.parquet", row_group_size=int(rng.integers(1, 100)))


WRITERS = (typed, trl, verl, own, csv, csv_gz, jsonl, jsonl_zst, document, table, by_prompt)
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


NAMES = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\x1b]0;PWNED\x07",
    "caf\udce9",
    "[x]*?",
    "\u202e{{7*7}}",
]
ENCODINGS = ["utf-16", "utf-8-sig", "latin-1", "utf-32"]


def change_encoding(rng, path: Path) -> None:
    """Text as another program writes it."""
    content = path.read_bytes()
    if path.suffix in (".jsonl", ".csv"):
        kind = rng.integers(3)
        if kind == 0:
            content = content.decode("utf-8", "replace").encode(ENCODINGS[rng.integers(len(ENCODINGS))], "replace")
        else:
            content = content.replace(b"\n", b"\r\n" if kind == 1 else b"\r")
    path.write_bytes(content)


def add_special_files(rng, folder: Path, paths: list[Path]) -> None:
    """Files that add no rollouts: links, pipes, and what is no log, under names that are none."""
    name = NAMES[rng.integers(len(NAMES))].replace("/", "")
    kind = int(50 * rng.random() / 9)  # the last one costs the most
    if kind == 0:
        os.mkfifo(folder / f"{name}.jsonl")
    elif kind == 1:
        (folder / f"{name}.jsonl").symlink_to(paths[0].name)
    elif kind == 2:
        os.link(paths[0], folder / f"zz{name}{paths[0].suffix}")
    elif kind == 3:
        (folder / f"{name}.csv").symlink_to(["nowhere", f"{name}.csv", "/dev/zero"][rng.integers(3)])
    elif kind == 4:
        (folder / f"{name}.csv").write_text(f"{NAMES[0]},b\n1,2\n")
    else:
        (folder / f"{name}.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(b"\n" * 10_000_000))


def check_misreading(log, folder: Path, whole: dict[Path, bytes]) -> bool:
    """Compare what was read with the lines that the damage has left as they were; False where that cannot be told."""
    if log.notes.n_joined or set(log.notes.used) != set(whole):
        return False
    expected, n_lines = Counter(), 0
    for path, before in whole.items():
        lines, known = _lines(path), set(before.split(b"\n"))
        if path.suffix == ".csv":
            header = before.split(b"\n")[0]
            if lines[0] != header or b'"' in before:
                return False
            lines = lines[1:]
        n_lines += sum(bool(line.strip()) for line in lines)
        for line in lines:
            if line.strip() and line in known:
                expected[_row_of(line, path.suffix == ".csv", header if path.suffix == ".csv" else b"")] += 1
    trace = log.trace
    found = Counter(zip(trace.step.tolist(), trace.prompt_id.tolist(), trace.reward.tolist(), strict=True))
    missing = expected - found
    assert not missing, f"whole lines were not read as they are: {missing}"
    assert len(trace) <= n_lines, "more rows than lines"
    return True


def _row_of(line: bytes, is_csv: bool, header: bytes) -> tuple:
    row = dict(zip(header.decode().split(","), line.decode().split(","), strict=True)) if is_csv else json.loads(line)
    prompt, reward = row.get("prompt", row.get("input")), row.get("reward", row.get("score"))
    return int(row["step"]), prompt_key(prompt), float(reward)


def check_page(report) -> None:
    """No name is more than text in the page."""
    content = page(report)
    content.encode()
    assert "<script>alert" not in content
    assert "<img src=x" not in content
    assert all(c.isprintable() or c in "\n\t" for c in content), "control characters"


def _lines(path: Path) -> list[bytes]:
    """Lines of a text; those of an old Macintosh end in carriage returns."""
    content = path.read_bytes()
    return content.split(b"\n" if b"\n" in content else b"\r")


def text_lines(folder: Path) -> int | None:
    """Lines that hold something, less headers; None where there are other files too."""
    total = 0
    for path in folder.iterdir():
        if path.is_symlink() or not path.is_file() or path.name.startswith("zz"):
            continue
        if path.suffix not in (".jsonl", ".csv"):
            return None
        lines = _lines(path)
        total += sum(bool(line.strip()) for line in lines) - (path.suffix == ".csv")
    return total


def trial(seed: int, folder: Path, audited: bool = True) -> str:
    """Damage one log, read it and audit it.

    Returns what came of it: "audited", or the first words of the refusal.
    """
    rng = np.random.default_rng(seed)
    rows = good_rows(rng)
    good = rng.random() >= 0.4
    if not good:
        rows = change_rows(rng, rows)
    write = WRITERS[rng.integers(len(WRITERS))]
    try:
        write(folder, rows)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError, UnicodeEncodeError, KeyError):
        return "not writable"
    paths = sorted(folder.iterdir())
    plain = good and all(path.suffix in (".jsonl", ".csv") for path in paths)
    whole = {path: path.read_bytes() for path in paths} if plain else {}
    special = bool(paths) and rng.random() < 0.3
    if paths and not special and rng.random() < 0.7:
        change_bytes(rng, paths[rng.integers(len(paths))])
    elif paths and not special:
        change_encoding(rng, paths[rng.integers(len(paths))])
    clean = _read(folder) if special else None
    if special:
        add_special_files(rng, folder, paths)
    lines = text_lines(folder)
    start = time.process_time()
    try:
        log = read_log(folder, max_bad=1.0)
        notes = log.notes
        if clean is not None:
            for name, column in clean.trace.columns.items():
                np.testing.assert_array_equal(log.trace.columns[name], column, "a file that is no log changed the rows")
        compared = bool(whole) and check_misreading(log, folder, whole)
        assert notes.n_rows == len(log.trace)
        if lines is not None and not notes.refused:
            accounted = notes.n_rows + notes.n_bad + notes.n_joined + notes.n_left_out
            assert accounted == lines, f"{lines - accounted} of {lines} lines vanished"
        assert notes.n_rows or notes.n_bad
        assert bool(notes.n_left_out) <= bool(notes.doubts)
        assert bool(notes.n_bad + len(notes.refused) + len(notes.cut)) == bool(notes.omissions())
        outcome = "read, and compared with the whole lines" if compared else "read"
        if not audited:
            return outcome
        report = kvar.audit(log, ["kernel", "group-mean", "batch-mean"] if seed % 10 else None)
        assert len(report.table) == len(report.rows)
        json.dumps(report.to_dict(), allow_nan=False)
        check_page(report)
        outcome = outcome.replace("read", "audited")
    except (ValueError, FileNotFoundError) as refusal:
        outcome = " ".join(str(refusal).split()[:4])
    assert time.process_time() - start < SECONDS, "took long"
    return outcome


def _read(folder: Path):
    try:
        return read_log(folder, max_bad=1.0)
    except (ValueError, FileNotFoundError):
        return None


def main() -> None:
    """Run many trials and count what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--audit-every", type=int, default=50, help="read all logs, and audit one of so many")
    options = parser.parse_args()
    outcomes: dict[str, int] = {}
    slowest = 0.0
    for seed in range(options.seed, options.seed + options.number):
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            try:
                outcome = trial(seed, Path(folder), seed % options.audit_every == 0)
            except BaseException:
                print(f"seed {seed} failed", flush=True)
                raise
            slowest = max(slowest, time.process_time() - start)
        kind = outcome if outcome.startswith(("audited", "read", "not writable")) else "refused"
        outcomes[kind] = outcomes.get(kind, 0) + 1
    print(f"{options.number} damaged logs: {outcomes}; the slowest took {slowest:.1f} s of processor time")


if __name__ == "__main__":
    main()
