"""Settings of a training run: those of TRL, and those of the baseline and the order of prompts."""

from __future__ import annotations

from dataclasses import dataclass, fields

from trl import GRPOConfig

from kvar import Baseline, make_baseline
from kvar.baselines.one_rollout import check_group_size
from kvar.utils.checks import checked_count, require_choice
from llm_train.json_settings import json_object
from llm_train.secret_settings import guarded, masked
from llm_train.trainer import critic  # noqa: F401  (registers the baseline of that name)
from llm_train.trainer.baseline_settings import ORDERS, ORDERS_OF_RATES, SCORE_NORMS, BaselineSettings

__all__ = ["KAEConfig"]


class _OneGeneration(int):
    """The number 1, which passes TRL's check for at least two rollouts per prompt.

    TRL refuses one rollout per prompt, because the group mean would be the reward itself. A baseline with a history
    needs no group, and nothing else in ``GRPOConfig`` does.
    """

    def __lt__(self, other):
        return False


@dataclass
class KAEConfig(BaselineSettings, GRPOConfig):
    """TRL's ``GRPOConfig`` with a baseline in place of the group mean.

    Parameters
    ----------
    baseline : str
        How the value of a prompt is estimated: a name from `kvar.baseline_names`. With this package they include
        "critic", a value network.
    baseline_kwargs : dict or str, optional
        Parameters of the baseline by name; a JSON object on the command line.
    prompt_id_column : str, optional
        Dataset column with an integer or a string that identifies the prompt. By default it is identified by a hash of
        its text.
    block_reuse : int
        Number of consecutive generations for which each batch of prompts is kept.
    prompt_order : {"epochs", "independent", "importance", "variance", "arc", "arc-without-dead-zone"}
        "epochs" takes every prompt once per epoch, as TRL does. "independent" draws each batch with replacement. The
        others draw without replacement. "importance" prefers prompts whose gradient is long, and weighs their rollouts
        by the inverse of the probability, so that the objective stays the mean over prompts. "variance" prefers
        uncertain rewards and "arc" values near 1/2, as in ARCUS, both without weights.
    warm_start_rollouts : int
        Rollouts of every prompt before training. The baseline remembers their rewards.
    whiten_advantages : bool
        Centre the advantages of a generation and divide them by their standard deviation, as REINFORCE++ and SPO do.
    score_norms : {"sampled", "logits", "head", "last-layer", "lora", "all"}, optional
        Record the norm of each completion's score: of its gradient with respect to LoRA's weights, the last layer or
        all parameters, or a proxy of it at the model's output, from log-probabilities of the sampled tokens, from the
        logits or from the output head. By default it is recorded only if the baseline needs it: "all" for
        "score-weighted", as in earlier versions, and else "sampled", the cheapest.
    pass_at : list of int, or int
        Values of k for which evaluation reports pass@k.
    pass_reward : float
        Least reward of a completion that passes.
    trace_dir : str, optional
        Folder into which every rollout is recorded, for ``kvar audit``. By default nothing is recorded.
    scale_rewards : {"none", "group", "batch"}
        As in TRL, where "group" is the default: divide advantages by the standard deviation of the rewards of the
        group, as GRPO does, or of the generation. It requires the baseline "group-mean", whose advantages are those of
        TRL, and two or more rollouts per prompt.

    Raises
    ------
    ValueError
        If a setting is impossible, or would centre on or divide by the group although the baseline is another one.
    """

    def __post_init__(self):
        checked_count(self.num_generations, "num_generations")
        # Before transformers, which would keep text that is no JSON object.
        self.baseline_kwargs = json_object(self.baseline_kwargs, "baseline_kwargs", '{"bandwidth": 10}')
        single = self.num_generations == 1
        if single:
            self.num_generations = _OneGeneration(1)
        super().__post_init__()
        if single:
            self.num_generations = 1
        # A wrong name or parameter fails here, not at the first step.
        baseline = make_baseline(self.baseline, **self.baseline_kwargs)
        self.baseline = baseline.name  # of an alias
        check_group_size(baseline.name, baseline.one_rollout, self.num_generations)
        checked_count(self.block_reuse, "block_reuse")
        checked_count(self.warm_start_rollouts, "warm_start_rollouts", low=0)
        if not isinstance(self.pass_at, list | tuple):
            self.pass_at = [self.pass_at]  # as YAML gives a single number
        for k in self.pass_at:
            checked_count(k, "pass_at")
        if self.score_norms is not None:
            require_choice("score_norms", self.score_norms, SCORE_NORMS)
        if self.prompt_order not in ORDERS:
            raise ValueError(f"prompt_order must be one of {', '.join(map(repr, ORDERS))}, got {self.prompt_order!r}")
        if self.prompt_order != "epochs" and not self.shuffle_dataset:
            raise ValueError(
                f"prompt_order={self.prompt_order!r} draws at random, got shuffle_dataset={self.shuffle_dataset}: set "
                "shuffle_dataset=True or prompt_order='epochs'"
            )
        if self.prompt_order in ORDERS_OF_RATES and type(baseline).assess is Baseline.assess:
            raise ValueError(
                f"prompt_order={self.prompt_order!r} needs standard errors of values, which baseline "
                f"{self.baseline!r} does not state: use baseline='adaptive' or 'kernel'"
            )
        if self.prompt_order == "importance":
            if type(baseline).second_moments is Baseline.second_moments:
                raise ValueError(
                    "prompt_order='importance' needs the expected length of a prompt's gradient, which baseline "
                    f"{self.baseline!r} does not estimate: use baseline='variance-optimal' or 'adaptive'"
                )
            if self.beta:
                raise ValueError(
                    f"prompt_order='importance' weighs advantages, not the KL penalty, got beta={self.beta:g}: set "
                    "beta=0 or another prompt_order"
                )
        if self.baseline != "group-mean" or single:
            self._refuse_scaling_by_group()
        # Checkpoints pickle the settings, and trackers of experiments send them away.
        for setting in fields(self):
            value = getattr(self, setting.name)
            if (safe := guarded(value, setting.name)) is not value:
                setattr(self, setting.name, safe)

    def _refuse_scaling_by_group(self) -> None:
        """Refuse what TRL does to the advantages of its group's mean, which other baselines replace."""
        found = {"scale_rewards": (str(self.scale_rewards), "none")}
        if hasattr(self, "multi_objective_aggregation"):  # TRL before 0.27 only sums
            found["multi_objective_aggregation"] = (self.multi_objective_aggregation, "sum_then_normalize")
        for name, (value, needed) in found.items():
            if value != needed:
                raise ValueError(
                    f"{name}={value!r} requires baseline='group-mean' and num_generations of 2 or more, got "
                    f"{self.baseline!r} and {self.num_generations}: set {name}={needed!r}; whiten_advantages=True "
                    "divides by the standard deviation of the whole generation"
                )

    def to_dict(self) -> dict:
        """As in transformers, which masks some of the secrets."""
        return masked(super().to_dict())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"

    __str__ = __repr__

    @property
    def kind_of_score_norms(self) -> str:
        """Which norms stand in the column ``score_norm``, if it is wanted."""
        return self.score_norms or ("all" if self.baseline == "score-weighted" else "sampled")
