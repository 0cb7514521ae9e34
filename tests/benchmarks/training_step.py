"""What the kernel baseline adds to a training step of the tiny policy, against TRL's own GRPO at the same settings.

Two measures. Direct: the time spent in our part of a step, over the time of the whole step; this is the one that
resolves a percent. End to end: both trainers run in turn and their median step times are compared; on a shared machine
this carries a few percent of noise, which is printed with it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging
from trl import GRPOConfig, GRPOTrainer

from llm_train import KAEConfig, KAETrainer
from llm_train.tiny import answer_reward, make_policy, make_tokenizer, sums

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


class _Clock:
    """Adds up the time spent inside a method."""

    def __init__(self, owner, name):
        self.seconds = []
        original = getattr(owner, name)

        def timed(*args, **kwargs):
            start = time.perf_counter()
            result = original(*args, **kwargs)
            self.seconds.append(time.perf_counter() - start)
            return result

        setattr(owner, name, timed)


def _train(make, config, steps) -> list[float]:
    tokenizer = make_tokenizer()
    trainer = make(
        model=make_policy(tokenizer, 0),
        reward_funcs=answer_reward(tokenizer),
        args=config,
        train_dataset=sums(480, 99, seed=1),
        processing_class=tokenizer,
    )
    trainer.train()
    return [entry["step_time"] for entry in trainer.state.log_history if "step_time" in entry][steps // 10 :]


def main() -> None:
    """Print the two measures, without and with recording of the trace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers_logging.set_verbosity_error()

    theirs = _Clock(GRPOTrainer, "_generate_and_score_completions")
    ours = _Clock(KAETrainer, "_generate_and_score_completions")
    for recording in (False, True):
        times, extra = {"GRPO": [], "KAE": []}, []
        for round_number in range(options.rounds):
            with tempfile.TemporaryDirectory() as folder:
                shared = {**SETTINGS, "output_dir": folder, "max_steps": options.steps}
                trace = str(Path(folder, "trace")) if recording else None
                kae = KAEConfig(**shared, baseline="kernel", baseline_kwargs={"bandwidth": 10}, trace_dir=trace)
                runs = {"GRPO": (GRPOTrainer, GRPOConfig(**shared)), "KAE": (KAETrainer, kae)}
                for name in sorted(runs, reverse=bool(round_number % 2)):
                    theirs.seconds.clear(), ours.seconds.clear()
                    times[name].append(statistics.median(_train(*runs[name], options.steps)))
                    if name == "KAE":
                        extra += [a - b for a, b in zip(ours.seconds, theirs.seconds, strict=True)]
        step = statistics.median(times["GRPO"])
        spread = statistics.stdev(times["GRPO"]) / step
        print(f"{'with' if recording else 'without'} recording, {options.rounds} rounds of {options.steps} steps")
        print(f"  GRPO step                    {step * 1e3:8.2f} ms (standard deviation over rounds {spread:.1%})")
        print(f"  KAE step, as a ratio         {statistics.median(times['KAE']) / step:8.4f}")
        print(f"  our part of a step           {statistics.median(extra) * 1e3:8.3f} ms")
        print(f"  our part, share of a step    {statistics.median(extra) / step:8.2%}", flush=True)


if __name__ == "__main__":
    main()
