"""What it costs to bring the audit of a growing log up to date, by the length of the log.

A JSON Lines log of binary rewards grows by 32 steps at a time, of 16 prompts with 4 rollouts each. The processor time
of an update is that of reading, replaying and summing, and of the page; the median of five is taken. Beside it stands a
whole audit of the same log, and whether its page is the same. A log that grows step by step:

    python -m tests.benchmarks.follow_audit --steps 1100 --new 1 --updates 1000
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

import kvar
from kvar.auditing.followed_audit import FollowedAudit
from tests.kvar.test_following import shown

GROUP, PER_STEP, PROMPTS = 4, 16, 1000


def lines(rng: np.random.Generator, first: int, last: int) -> str:
    """Lines of the log from one step up to another."""
    value = np.linspace(0.1, 0.9, PROMPTS)
    rows = []
    for step in range(first, last):
        for prompt in rng.choice(PROMPTS, PER_STEP, replace=False).tolist():
            rewards = (rng.random(GROUP) < value[prompt]).astype(float).tolist()
            rows += [json.dumps({"step": step, "prompt": f"q{prompt}", "reward": reward}) for reward in rewards]
    return "\n".join(rows) + "\n"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[1000, 3000, 10000])
    parser.add_argument("--new", type=int, default=32, help="steps between two updates")
    parser.add_argument("--updates", type=int, default=5, help="updates up to each number of steps")
    parser.add_argument("--baseline", nargs="+", help="by default all")
    options = parser.parse_args()
    rng, done = np.random.default_rng(0), 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        follower = FollowedAudit(path, options.baseline, n_jobs=1)
        print("steps  update, s  of these the page  in units of the first  whole audit, s  same page", flush=True)
        unit = None
        for steps in options.steps:
            spent = []
            for last in range(steps - options.new * options.updates, steps + 1, options.new):
                with path.open("a") as log:
                    log.write(lines(rng, done, last))
                done = last
                start = time.process_time()
                report = follower.update()
                middle = time.process_time()
                seen = shown(report)
                spent.append((time.process_time() - start, time.process_time() - middle))
            # The first one reads all that was written in between.
            update, of_page = np.median(spent[1:], axis=0)
            unit = unit or update
            start = time.process_time()
            same = "yes" if shown(kvar.audit(path, options.baseline, n_jobs=1)) == seen else "no"
            whole = time.process_time() - start
            cells = f"{steps:5}  {update:9.2f}  {of_page:17.2f}  {update / unit:21.2f}  {whole:14.1f}  {same:>9}"
            print(cells, flush=True)


if __name__ == "__main__":
    main()
