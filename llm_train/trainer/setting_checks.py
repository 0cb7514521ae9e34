"""Settings that cannot work with the data or the baseline of a run are refused before it starts."""

from __future__ import annotations

from collections.abc import Collection

from datasets import IterableDataset
from transformers.utils import logging
from trl import GRPOConfig

from kvar import Baseline, get_kernel
from kvar.prompt_draws import DRAWS
from llm_train.trainer.config import KAEConfig
from llm_train.trainer.prompt_keys import PromptKeys

__all__ = [
    "batches_per_generation",
    "check_settings",
    "prompts_per_generation",
    "require_columns",
    "require_ids",
    "warn_if_prompts_never_return",
]

logger = logging.get_logger(__name__)

# Columns that the trainer measures itself.
_MEASURED = {"completion_length", "critic_value", "score_norm"}


def batches_per_generation(config: GRPOConfig) -> int:
    """Batches that one generation serves; an optimizer step takes gradient_accumulation_steps of them."""
    return config.steps_per_generation * config.num_iterations


def prompts_per_generation(config: GRPOConfig) -> int:
    """Different prompts of one generation, over all processes."""
    return config.generation_batch_size // config.num_generations


def check_settings(
    config: KAEConfig,
    baseline: Baseline,
    data,
    keys: PromptKeys,
    has_true_values: bool,
    evaluation_samples: int | None,
) -> None:
    """Refuse impossible settings, and warn of a window that is too short.

    `evaluation_samples` are the samples per prompt from which evaluation estimates pass@k, or None if it does not.
    """
    columns, prompts = set(data.column_names or ()), prompts_per_generation(config)
    if isinstance(data, IterableDataset):
        if config.block_reuse > 1 or config.prompt_order != "epochs" or config.warm_start_rollouts:
            raise ValueError(
                "block_reuse, prompt_order and warm_start_rollouts need a dataset with a length, got a streamed one: "
                "load it without streaming, or leave the three at their defaults"
            )
    elif len(data) < prompts:
        raise ValueError(
            f"one generation takes {prompts} different prompts, but the dataset has {len(data)}: lower "
            "per_device_train_batch_size or gradient_accumulation_steps, or raise num_generations"
        )
    elif config.prompt_order == "epochs" and config.block_reuse == 1:
        warn_if_prompts_never_return(config, baseline, data)
    require_ids(keys, columns)
    if config.prompt_order in DRAWS and not keys.by_example:
        raise ValueError(
            f"prompt_order={config.prompt_order!r} needs the id of a prompt before an environment has made it: set "
            "prompt_id_column to a column of ids, or pass prompt_key_func"
        )
    needed = max(config.pass_at, default=1)
    if evaluation_samples is not None and evaluation_samples < needed:
        raise ValueError(
            f"pass@{needed} needs {needed} samples per prompt, but evaluation draws {evaluation_samples}: raise "
            "num_generations_eval"
        )
    if "true_value" in baseline.needs and not has_true_values:
        raise ValueError(f"baseline {config.baseline!r} needs true values: pass true_value_func")
    given = {"true_value"} | ({"offline_value"} if config.warm_start_rollouts else set())
    require_columns(baseline, columns | given)


def require_columns(baseline: Baseline, columns: Collection[str]) -> None:
    """Refuse a baseline that needs columns which are neither among these nor measured by the trainer."""
    if missing := [name for name in baseline.needs if name not in _MEASURED and name not in columns]:
        raise ValueError(f"baseline {baseline.name!r} needs {missing[0]!r}: add it as a column of the dataset")


def require_ids(keys: PromptKeys, columns: Collection[str]) -> None:
    """Refuse prompts with images whose ids would come from their text."""
    if keys.needs_text and {"image", "images"} & set(columns):
        raise ValueError(
            "prompts with images are not identified by their text: set prompt_id_column to a column of ids, or pass "
            "prompt_key_func"
        )


def warn_if_prompts_never_return(config: GRPOConfig, baseline: Baseline, data) -> None:
    """Warn if in TRL's order no prompt returns within the run, or only after its past rewards have left the window."""
    if not baseline.has_history() or isinstance(data, IterableDataset):
        return
    epoch = len(data) // prompts_per_generation(config)
    steps = config.max_steps * config.gradient_accumulation_steps
    generations = steps / batches_per_generation(config) if steps > 0 else config.num_train_epochs * epoch
    if generations <= epoch:
        logger.warning(
            "No prompt comes back in this run, so that baseline %r has no past rewards of it: %d prompts last for %d "
            "generations, and the run has %.0f. Set block_reuse=10 of KAEConfig, or train for more than one epoch.",
            baseline.name, len(data), epoch, generations,
        )  # fmt: skip
        return
    settings = baseline.parameters
    bandwidth = settings.get("bandwidth")
    in_steps = isinstance(bandwidth, int | float) and settings.get("clock", "steps") == "steps"
    if not in_steps:
        return
    window = bandwidth * get_kernel(settings.get("kernel", "triangular")).reach
    if epoch >= window:
        logger.warning(
            "Past rewards are never used: a prompt returns after an epoch of %d generations, but baseline %r with "
            "bandwidth=%g looks back less than %g. Raise the bandwidth, set block_reuse, or use baseline='adaptive'.",
            epoch, baseline.name, bandwidth, window,
        )  # fmt: skip
