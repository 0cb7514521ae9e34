"""A baseline of `kvar` on a trainer that people have, with one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers.utils import logging

from kvar import Baseline, make_baseline
from kvar.baselines.one_rollout import check_group_size
from llm_train.trainer.attached_baseline import AttachedBaseline
from llm_train.trainer.baseline_settings import ScoreNorm, TrainerBaseline
from llm_train.trainer.prompt_keys import PromptKeys
from llm_train.trainer.setting_checks import require_columns, require_ids, warn_if_prompts_never_return
from llm_train.trainer.swift_baseline import SwiftBaseline, is_of_swift

__all__ = ["attach", "one_rollout"]

logger = logging.get_logger(__name__)

_NEEDED = ("accelerator", "args", "num_generations", "reward_weights", "train_dataset")


def attach(
    trainer: Any,
    baseline: TrainerBaseline | Baseline = "variance-optimal",
    *,
    prompt_id_column: str | None = None,
    prompt_key_func: Callable[[dict], int | str] | None = None,
    trace_dir: str | None = None,
    score_norms: ScoreNorm = "sampled",
    **parameters: Any,
) -> AttachedBaseline:
    """Put a baseline on one trainer, in the place of the mean of the group.

    Parameters
    ----------
    trainer : trl.GRPOTrainer, trl.RLOOTrainer, or like them
        A trainer whose ``train`` has not been called yet, with TRL's two methods ``_calculate_rewards`` and
        ``_generate_and_score_completions``: from TRL 0.24 on, subclasses and patched classes included; or with
        ``_compute_advantages`` of ms-swift. Only this instance is changed.
    baseline : str or kvar.Baseline
        A name from `kvar.baseline_names`, or a baseline.
    prompt_id_column : str, optional
        Dataset column with an integer or a string that identifies the prompt. By default it is identified by a hash of
        its text.
    prompt_key_func : callable, optional
        ``prompt_key_func(example) -> int or str``: the id of an example's prompt, where no column has it.
    trace_dir : str, optional
        Folder into which every rollout is recorded, for ``kvar audit``. By default nothing is recorded.
    score_norms : str
        Kind of the norms of scores that "variance-optimal" and "score-weighted" weigh by, as in `KAEConfig`.
    **parameters
        Parameters of the baseline.

    Returns
    -------
    AttachedBaseline
        With the attributes ``baseline`` and ``generations``.

    Raises
    ------
    TypeError
        If the trainer lacks what a baseline needs; the message names it.
    ValueError
        If its settings would change the rewards or advantages behind the baseline, or its prompts cannot be told apart.

    Notes
    -----
    The history is in every checkpoint and comes back with it. A checkpoint that falls inside a generation is written at
    its end. Evaluation leaves the history alone. A step costs what the baseline costs, about a millisecond for a
    thousand rollouts, and norms of scores one forward pass where the trainer has no log-probabilities.

    Examples
    --------
    >>> from llm_train import attach  # doctest: +SKIP
    >>> trainer = GRPOTrainer(model, reward_funcs, args=one_rollout(args), train_dataset=data)  # doctest: +SKIP
    >>> attach(trainer)  # doctest: +SKIP
    >>> trainer.train()  # doctest: +SKIP
    """
    if missing := [name for name in _NEEDED if not hasattr(trainer, name)]:
        raise TypeError(f"{type(trainer).__name__} has no {missing[0]}: give a trainer like TRL's GRPOTrainer")
    if (there := _attached(trainer)) is not None:
        raise ValueError(
            f"this {type(trainer).__name__} has the baseline {there.baseline.name!r} already: make a new trainer, or "
            "name the baseline in its settings"
        )
    if isinstance(baseline, str):
        baseline = make_baseline(baseline, **parameters)
    elif parameters:
        raise TypeError(f"{', '.join(parameters)} cannot be set on a baseline that is made already: give its name")
    _check_advantages(trainer, baseline)
    check_group_size(baseline.name, baseline.one_rollout, trainer.num_generations)
    keys = PromptKeys(trainer, prompt_id_column, prompt_key_func)
    columns = set(trainer.train_dataset.column_names or ())
    require_ids(keys, columns)
    require_columns(baseline, columns)
    warn_if_prompts_never_return(trainer.args, baseline, trainer.train_dataset)
    kind = SwiftBaseline if is_of_swift(trainer) else AttachedBaseline
    return kind(trainer, baseline, keys, score_norms, trace_dir)


def _attached(trainer: Any) -> AttachedBaseline | None:
    """The baseline that a trainer has already."""
    return next((c for c in trainer.callback_handler.callbacks if isinstance(c, AttachedBaseline)), None)


def _check_advantages(trainer: Any, baseline: Baseline) -> None:
    """Refuse settings that change rewards or advantages behind the baseline; warn of those without effect."""
    if hasattr(trainer, "normalize_advantages"):  # RLOOTrainer
        if getattr(trainer, "beta", 0.0) != 0.0:
            raise ValueError(
                f"beta={trainer.beta:g} takes the KL penalty off the reward after the reward functions, where no "
                "baseline sees it: set beta=0.0"
            )
        if trainer.normalize_advantages:
            raise ValueError("normalize_advantages=True has no effect with a baseline: set normalize_advantages=False")
        return
    if baseline.name == "group-mean":
        return
    if getattr(trainer, "multi_objective_aggregation", "sum_then_normalize") != "sum_then_normalize":
        raise ValueError(
            f"multi_objective_aggregation={trainer.multi_objective_aggregation!r} centres each reward on its group, "
            "but a baseline takes the weighted sum of rewards: set it to 'sum_then_normalize'"
        )
    if (scale := getattr(trainer, "scale_rewards", "none")) != "none":
        logger.warning(
            "scale_rewards=%r has no effect with baseline %r: advantages are not divided by a standard deviation, "
            "and are smaller, so that the learning rate has to be chosen anew. scale_rewards='none' silences this.",
            scale, baseline.name,
        )  # fmt: skip


def one_rollout(args: Any) -> Any:
    """Settings of a trainer with one rollout per prompt, which ``GRPOConfig`` and ``RLOOConfig`` refuse.

    Parameters
    ----------
    args : trl.GRPOConfig or trl.RLOOConfig
        Settings with two or more rollouts per prompt.

    Returns
    -------
    trl.GRPOConfig or trl.RLOOConfig
        The same object with ``num_generations`` 1. Batches keep their size, so that a generation has as many prompts as
        it had rollouts. Evaluation keeps its number of rollouts.

    Raises
    ------
    TypeError
        If `args` has no ``num_generations``.
    """
    if not hasattr(args, "num_generations"):
        raise TypeError(f"one_rollout takes settings with num_generations, got {type(args).__name__}")
    if hasattr(args, "num_generations_eval") and args.num_generations_eval is None:
        args.num_generations_eval = args.num_generations
    args.num_generations = 1
    return args
