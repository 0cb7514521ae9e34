"""``python -m llm_train``: train the tiny policy on sums, from a YAML file and flags as in TRL's own scripts."""

from __future__ import annotations

import json
import statistics
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
from trl import TrlParser

from kvar.files import whole_file
from llm_train.config import KAEConfig
from llm_train.tiny import answer_reward, make_policy, make_tokenizer, sums, warm_up
from llm_train.trainer import KAETrainer
from llm_train.truth import ExactValue

_DESCRIPTION = """
Train the tiny policy on sums by reinforcement learning and record every rollout with its exact value.

Every setting of TRL's GRPOConfig is a flag, and a key of the YAML file given with --config; flags win. For example:

  python -m llm_train --config llm_train/configs/tiny.yaml --num_generations 1 --output_dir results/single
"""


@dataclass
class TinyArguments:
    """The task of the tiny policy."""

    n_prompts: int = field(default=480, metadata={"help": "Number of different sums to train on."})
    largest: int = field(default=49, metadata={"help": "Largest operand of a sum."})
    warm_up_steps: int = field(
        default=300, metadata={"help": "Supervised steps before, which spread the success rates over (0, 1)."}
    )
    threads: int = field(
        default=1, metadata={"help": "CPU threads of torch; one is fastest for a model this small on a busy machine."}
    )


def main() -> None:
    """Warm the policy up, train it, and say where everything lies."""
    parser = TrlParser((TinyArguments, KAEConfig), prog="python -m llm_train", description=_DESCRIPTION)
    task, config = parser.parse_args_and_config()
    plain = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}
    for name, needed in plain.items():
        if getattr(config, name) != needed:
            parser.error(f"the exact value holds for plain sampling only: {name} must be {needed}")
    longest = len(str(2 * task.largest)) + 1
    if config.max_completion_length < longest:
        parser.error(f"max_completion_length must be at least {longest} for sums of numbers up to {task.largest}")
    torch.set_num_threads(task.threads)
    # Raised by TRL's own use of transformers, whatever the settings.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
    out = Path(config.output_dir)

    tokenizer = make_tokenizer()
    policy = make_policy(tokenizer, config.seed)
    print(f"Warm-up on sums: {task.warm_up_steps} supervised steps", flush=True)
    warm_up(policy, tokenizer, task.largest, task.warm_up_steps, config.seed, out / "warm-up")

    prompts, exact_value = sums(task.n_prompts, task.largest, config.seed + 1), ExactValue(tokenizer)
    before = statistics.fmean(exact_value(policy, list(prompts)))
    trainer = KAETrainer(
        model=policy,
        reward_funcs=answer_reward(tokenizer),
        args=config,
        train_dataset=prompts,
        processing_class=tokenizer,
        true_value_func=exact_value,
    )
    with whole_file(out / "config.json") as temporary:
        temporary.write_text(json.dumps({"task": vars(task), "training": config.to_dict()}, indent=2) + "\n")
    print(f"Reinforcement learning with baseline {config.baseline!r}", flush=True)
    trainer.train(resume_from_checkpoint=config.resume_from_checkpoint)
    with whole_file(out / "metrics.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in trainer.state.log_history))
    after = statistics.fmean(exact_value(trainer.model, list(prompts)))
    print(f"Exact success rate over all {task.n_prompts} prompts: {before:.3f} before, {after:.3f} after")
    trainer.save_model(str(out / "policy"))
    print(f"Policy: {out / 'policy'}", f"Metrics: {out / 'metrics.jsonl'}", sep="\n")
    if config.trace_dir is not None:
        print(f"Trace: {config.trace_dir}", f"Look at it: kvar audit {config.trace_dir}", sep="\n")


if __name__ == "__main__":
    main()
