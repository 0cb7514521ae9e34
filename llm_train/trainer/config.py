"""Settings of a training run: TRL's, and which baseline it uses."""

from __future__ import annotations

from dataclasses import dataclass, field

from trl import GRPOConfig

from kvar import Baseline, make_baseline
from kvar.utils.checks import checked_count
from llm_train.json_settings import json_object
from llm_train.policy.scores import SCORE_PARAMETERS
from llm_train.trainer import critic  # noqa: F401  (registers the baseline of that name)

__all__ = ["KAEConfig"]


_ORDERS = ("epochs", "independent", "variance")


class _OneGeneration(int):
    """The number 1, which passes for enough.

    TRL refuses fewer than two rollouts a prompt because a group of one has no mean. A baseline with a history does
    not need the group, and nothing after that one check in ``GRPOConfig`` does.
    """

    def __lt__(self, other):
        return False


@dataclass
class KAEConfig(GRPOConfig):
    """TRL's ``GRPOConfig`` with a baseline in place of the group mean.

    Parameters
    ----------
    baseline : str
        A name out of `kvar.baseline_names`; "critic", a value network, is one of them here.
    baseline_kwargs : dict or str, optional
        Parameters of the baseline; JSON on the command line.
    prompt_id_column : str, optional
        Dataset column with an integer or a string that names the prompt. By default a hash of the prompt's text does.
    block_reuse : int
        Consecutive generations on the same prompts before the next ones come.
    prompt_order : {"epochs", "independent", "variance"}
        Every prompt once an epoch, as TRL has it; each batch drawn independently with replacement; or without, a prompt
        the likelier the more its reward is estimated to vary.
    warm_start_rollouts : int
        Rollouts of every prompt before training, which the baseline remembers.
    whiten_advantages : bool
        Centre and scale the advantages of the whole batch, as REINFORCE++ and SPO do.
    score_norms : {"all", "last-layer", "lora"}, optional
        Record the norm of each completion's score with respect to these parameters.
    pass_at : list of int, or int
        Evaluate pass@k for these k.
    pass_reward : float
        Least reward that passes.
    trace_dir : str, optional
        Folder to which every rollout is recorded, for ``kvar audit``. Not recorded by default.
    scale_rewards : {"none", "group"}
        Divide by the deviation of the group's rewards, as GRPO does: with the baseline "group-mean" alone.

    Raises
    ------
    ValueError
        If a setting is impossible, or would divide by or centre on the group after another baseline was subtracted.
    """

    baseline: str = field(
        default="adaptive",
        metadata={
            "help": "How the value of a prompt is estimated: a name out of kvar.baseline_names(), such as adaptive, "
            "kernel, group-mean, leave-one-out, batch-mean or discounted-beta; or critic, a value network."
        },
    )
    baseline_kwargs: dict | str | None = field(
        default=None,
        metadata={"help": "Parameters of the baseline as JSON, such as '{\"bandwidth\": 10}'."},
    )
    prompt_id_column: str | None = field(
        default=None,
        metadata={"help": "Dataset column that names the prompt. Default: a hash of the prompt's text."},
    )
    block_reuse: int = field(
        default=1,
        metadata={
            "help": "Keep each mini-batch of prompts for this many consecutive generations, so that prompts meet their "
            "own history. The paper uses 10 or 8; 1 is TRL's own order."
        },
    )
    prompt_order: str = field(
        default="epochs",
        metadata={
            "help": "'epochs': every prompt once an epoch. 'independent': each batch drawn with replacement. "
            "'variance': drawn by the estimated variance of the reward, v(1-v), what is uncertain taken hopefully.",
            "choices": list(_ORDERS),
        },
    )
    warm_start_rollouts: int = field(
        default=0,
        metadata={"help": "Rollouts of every prompt before training, which the baseline remembers (SPO and BASIS: 8)."},
    )
    whiten_advantages: bool = field(
        default=False,
        metadata={"help": "Centre and scale the advantages of the whole batch, as REINFORCE++ and SPO do."},
    )
    pass_at: list[int] = field(
        default_factory=lambda: [1], metadata={"help": "Evaluate pass@k for these k, by the unbiased estimator."}
    )
    score_norms: str | None = field(
        default=None,
        metadata={
            "help": "Record the norm of each completion's score by all parameters, those of the last layer, or LoRA's, "
            "for kvar.variance.gradient_variance. Default: only where the baseline needs it, by all parameters.",
            "choices": list(SCORE_PARAMETERS),
        },
    )
    pass_reward: float = field(default=1.0, metadata={"help": "Least reward that counts as a pass in pass@k."})
    trace_dir: str | None = field(
        default=None,
        metadata={"help": "Record every rollout to this folder, one Parquet file a step. Default: no recording."},
    )
    scale_rewards: str = field(
        default="none",
        metadata={
            "help": "'group' with baseline group-mean is GRPO as published, divided by the deviation of the group. "
            "'none' for every other baseline; for the deviation of the batch there is whiten_advantages.",
            "choices": ["none", "group"],
        },
    )

    def __post_init__(self):
        checked_count(self.num_generations, "num_generations")
        # Before transformers, which leaves text that is no object for later.
        self.baseline_kwargs = json_object(self.baseline_kwargs, "baseline_kwargs", '{"bandwidth": 10}')
        single = self.num_generations == 1
        if single:
            self.num_generations = _OneGeneration(1)
        super().__post_init__()
        if single:
            self.num_generations = 1
        # A wrong name or parameter is said now, not at step one.
        baseline = make_baseline(self.baseline, **self.baseline_kwargs)
        checked_count(self.block_reuse, "block_reuse")
        checked_count(self.warm_start_rollouts, "warm_start_rollouts", low=0)
        if not isinstance(self.pass_at, list | tuple):
            self.pass_at = [self.pass_at]  # as in a line of YAML
        for k in self.pass_at:
            checked_count(k, "pass_at")
        if self.prompt_order not in _ORDERS:
            raise ValueError(f"prompt_order must be one of {', '.join(map(repr, _ORDERS))}, got {self.prompt_order!r}")
        if self.prompt_order != "epochs" and not self.shuffle_dataset:
            raise ValueError(f"prompt_order={self.prompt_order!r} draws at random and needs shuffle_dataset=True")
        if self.prompt_order == "variance" and type(baseline).assess is Baseline.assess:
            raise ValueError(
                f"prompt_order='variance' needs values with standard errors, which baseline {self.baseline!r} does not "
                "give; use adaptive or kernel"
            )
        if self.scale_rewards == "batch":
            raise ValueError("scale_rewards='batch' is whiten_advantages=True here, which centres as well")
        if self.scale_rewards == "group" and (self.baseline != "group-mean" or single):
            raise ValueError(
                "scale_rewards='group' divides advantages by the deviation of the group, which undoes another baseline "
                f"than 'group-mean' of two or more, got {self.baseline!r} and num_generations={self.num_generations}; "
                "leave it at 'none'"
            )
        if self.multi_objective_aggregation != "sum_then_normalize":
            raise ValueError(
                f"multi_objective_aggregation={self.multi_objective_aggregation!r} centres each reward on its group; "
                "with a baseline the weighted rewards are summed, leave it at 'sum_then_normalize'"
            )
