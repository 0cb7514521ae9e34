"""Time that score norms take of a training step of the tiny policy, by kind, and where log-probabilities exist.

The steps are those of training_step.py. TRL computes log-probabilities of a generation by itself if that generation
serves several optimizer steps, as here "sampled, recorded" does with two, or if vLLM generates.

    python tests/benchmarks/score_norms.py
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings

import torch
from training_step import SETTINGS
from transformers import PrinterCallback
from transformers.utils import logging

from llm_train import KAEConfig, KAETrainer
from llm_train.policy.tiny import answer_reward, make_policy, make_tokenizer, sums

KINDS = ("sampled, recorded", "sampled", "logits", "head", "last-layer", "all")


def one(kind: str, steps: int) -> float:
    """Fraction of the time of a run that norms take."""
    tokenizer = make_tokenizer()
    name, _, recorded = kind.partition(", ")
    with tempfile.TemporaryDirectory() as folder:
        settings = {**SETTINGS, "output_dir": folder, "max_steps": steps, "num_iterations": 2 if recorded else 1}
        trainer = KAETrainer(
            model=make_policy(tokenizer, 0),
            reward_funcs=answer_reward(tokenizer),
            args=KAEConfig(**settings, baseline="variance-optimal", score_norms=name),
            train_dataset=sums(480, 99, seed=1),
            processing_class=tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    entries = [e for e in trainer.state.log_history if "time/step" in e][steps // 10 :]
    norms, total = (sum(e.get(f"time/{part}", 0.0) for e in entries) for part in ("truth", "step"))
    return norms / total


def main() -> None:
    """Print the fractions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    found = {kind: [one(kind, options.steps) for _ in range(options.rounds)] for kind in KINDS}
    print(f"Fraction of a step, {options.rounds} runs of {options.steps} steps of 64 rollouts, ± standard error")
    for kind, fractions in found.items():
        error = statistics.stdev(fractions) / options.rounds**0.5
        print(f"{kind:20}{statistics.mean(fractions):8.2%} ± {error:.2%}")


if __name__ == "__main__":
    main()
