"""The settings that `KAEConfig` adds to those of TRL. Nothing here loads torch, so that their help comes at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from kvar.baselines import BaselineName

__all__ = [
    "ORDERS",
    "ORDERS_OF_RATES",
    "SCORE_NORMS",
    "BaselineSettings",
    "PromptOrder",
    "ScoreNorm",
    "TrainerBaseline",
]

PromptOrder: TypeAlias = Literal["epochs", "independent", "variance", "importance", "arc", "arc-without-dead-zone"]
ScoreNorm: TypeAlias = Literal["sampled", "logits", "head", "all", "last-layer", "lora"]
if TYPE_CHECKING:
    TrainerBaseline: TypeAlias = BaselineName | Literal["critic"]
else:
    TrainerBaseline = str  # settings and flags take the names of registered ones too

ORDERS = get_args(PromptOrder)
# Orders that take values for success rates.
ORDERS_OF_RATES = ("variance", "arc", "arc-without-dead-zone")
SCORE_NORMS = get_args(ScoreNorm)


@dataclass
class BaselineSettings:
    """Baseline, order of prompts and recording; `KAEConfig` documents and checks them."""

    baseline: TrainerBaseline = field(
        default="adaptive",
        metadata={
            "help": "How the value of a prompt is estimated. A name from kvar.baseline_names(), such as adaptive, "
            "kernel, group-mean, leave-one-out, batch-mean or discounted-beta, or critic for a value network."
        },
    )
    baseline_kwargs: dict | str | None = field(
        default=None,
        metadata={"help": "Parameters of the baseline as a JSON object, such as '{\"bandwidth\": 10}'."},
    )
    prompt_id_column: str | None = field(
        default=None,
        metadata={
            "help": "Dataset column that identifies the prompt. By default a hash of the prompt's text identifies it."
        },
    )
    block_reuse: int = field(
        default=1,
        metadata={
            "help": "Number of consecutive generations for which each batch of prompts is kept, so that prompts return "
            "while their past rewards still count. arXiv 2604.28005 uses 10 or 8. With 1 the order is TRL's own."
        },
    )
    prompt_order: PromptOrder = field(
        default="epochs",
        metadata={
            "help": "'epochs' takes every prompt once per epoch. 'independent' draws each batch with replacement. "
            "'importance' draws it by the expected length of the gradient, and weighs rollouts so that the objective "
            "stays the same. 'variance' draws it by the estimated variance v(1-v) of the reward, at the upper end of "
            "its uncertainty, 'arc' by how near to 1/2 the value is, without weights.",
        },
    )
    warm_start_rollouts: int = field(
        default=0,
        metadata={
            "help": "Rollouts of every prompt before training, whose rewards the baseline remembers. SPO and BASIS "
            "use 8."
        },
    )
    whiten_advantages: bool = field(
        default=False,
        metadata={
            "help": "Centre the advantages of a generation and divide them by their standard deviation, as REINFORCE++ "
            "and SPO do."
        },
    )
    pass_at: list[int] = field(
        default_factory=lambda: [1],
        metadata={"help": "Values of k for which evaluation reports pass@k, by the unbiased estimator."},
    )
    score_norms: ScoreNorm | None = field(
        default=None,
        metadata={
            "help": "Record the norm of each completion's score: exact, for LoRA's weights, the last layer or all "
            "parameters, or a proxy from the probabilities of sampled tokens, from logits or the output head. By "
            "default it is recorded only if the baseline needs it: 'all' for score-weighted, else 'sampled'.",
        },
    )
    pass_reward: float = field(default=1.0, metadata={"help": "Least reward with which a completion passes in pass@k."})
    trace_dir: str | None = field(
        default=None,
        metadata={
            "help": "Folder into which every rollout is recorded, one Parquet file per generation. By default nothing "
            "is recorded."
        },
    )
    scale_rewards: Literal["none", "group", "batch"] = field(
        default="none",
        metadata={
            "help": "'group' divides advantages by the standard deviation of the group's rewards, 'batch' by that of "
            "the generation. With baseline group-mean 'group' is GRPO as published. Other baselines take 'none'; "
            "whiten_advantages divides by the standard deviation of the whole generation.",
        },
    )
