"""Time and memory that a baseline adds to a training step of the tiny policy, against TRL's GRPO at equal settings.

There are two measures of time. Direct: the fraction of a step that is spent in our part, which resolves one percent.
End to end: all trainers run in turn, and their median step times are compared; on a shared machine these have a few
percent of noise, which is printed. Memory is the peak of a process of its own, minus its memory before the first step.

    python tests/benchmarks/training_step.py [docs/training_step.csv]
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

SETTINGS = {
    "num_generations": 4,
    "per_device_train_batch_size": 64,
    "max_completion_length": 5,
    "learning_rate": 1e-5,
    "temperature": 1.0,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "activation_checkpointing": False,
    "dataloader_pin_memory": False,
    "disable_tqdm": True,
    "scale_rewards": "none",
}
NAMES = ("GRPO", "kernel", "kernel, recorded", "adaptive", "critic")


def one(name: str, steps: int) -> dict:
    """Step times, our part of them and the memory of one run in this process."""
    import torch
    from transformers.utils import logging
    from trl import GRPOConfig, GRPOTrainer

    from llm_train import KAEConfig, KAETrainer
    from llm_train.policy.tiny import answer_reward, make_policy, make_tokenizer, sums

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    tokenizer = make_tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        shared = {**SETTINGS, "output_dir": folder, "max_steps": steps}
        make, config = GRPOTrainer, None
        if name == "GRPO":
            config = GRPOConfig(**shared)
        else:
            trace = str(Path(folder, "trace")) if name.endswith("recorded") else None
            make, config = KAETrainer, KAEConfig(**shared, baseline=name.partition(",")[0], trace_dir=trace)
        trainer = make(
            model=make_policy(tokenizer, 0),
            reward_funcs=answer_reward(tokenizer),
            args=config,
            train_dataset=sums(480, 99, seed=1),
            processing_class=tokenizer,
        )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        trainer.train()
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    entries = [e for e in trainer.state.log_history if "step_time" in e][steps // 10 :]
    return {
        "step": statistics.median(e["step_time"] for e in entries),
        "ours": statistics.median(e.get("time/baseline", 0.0) for e in entries),
        "memory": (after - before) / 1024,
    }


def main() -> None:
    """Print the measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, help="a table of all runs")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.steps)))
        return
    found: dict[str, list[dict]] = {name: [] for name in NAMES}
    for round_number in range(options.rounds):
        for name in sorted(NAMES, reverse=bool(round_number % 2)):
            command = [sys.executable, __file__, "--one", name, "--steps", str(options.steps)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    if options.out:
        with options.out.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("trainer", "round", "steps", "step_ms", "ours_ms", "memory_mib"))
            for name, runs in found.items():
                for k, run in enumerate(runs):
                    numbers = (f"{number:.3f}" for number in (1e3 * run["step"], 1e3 * run["ours"], run["memory"]))
                    writer.writerow((name, k, options.steps, *numbers))
    reference = statistics.median(run["step"] for run in found["GRPO"])
    print(f"{options.rounds} rounds of {options.steps} steps of 64 rollouts; medians, ± standard deviation over rounds")
    print(f"{'':18}{'step, ms':>16}{'of GRPO':>9}{'ours, ms':>10}{'share':>8}{'memory, MiB':>16}")
    for name, runs in found.items():
        step, ours, memory = ([run[key] for run in runs] for key in ("step", "ours", "memory"))
        print(
            f"{name:18}{statistics.median(step) * 1e3:8.1f} ± {statistics.stdev(step) * 1e3:<5.1f}"
            f"{statistics.median(step) / reference:9.3f}{statistics.median(ours) * 1e3:10.2f}"
            f"{statistics.median(ours) / statistics.median(step):8.2%}"
            f"{statistics.median(memory):9.1f} ± {statistics.stdev(memory):<4.1f}"
        )


if __name__ == "__main__":
    main()
