"""TRL's GRPO trainer with a baseline of `kvar` in place of the group mean.

The baseline is put on the trainer as `attach` does it. Besides, the trainer has an order of prompts, rollouts before
training, exact values, times by part and pass@k.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.trainer_utils import get_last_checkpoint
from trl import GRPOTrainer

from kvar import Baseline
from kvar.online.feature_prior import feature_columns
from kvar.prompt_draws import DRAWS, Drawn, Outlook
from llm_train.trainer.checkpoint_checks import check_files
from llm_train.trainer.config import KAEConfig
from llm_train.trainer.kae_baseline import KAEBaseline
from llm_train.trainer.measured_trainer import MeasuredTrainer
from llm_train.trainer.prompt_samplers import BlockSampler, DrawnSampler, IndependentSampler
from llm_train.trainer.setting_checks import batches_per_generation, check_settings, prompts_per_generation
from llm_train.trainer.warm_start import WarmStart

__all__ = ["KAETrainer"]

_SAMPLERS = {"epochs": BlockSampler, "independent": IndependentSampler, **dict.fromkeys(DRAWS, DrawnSampler)}
_TITLE = "Kernelized Advantage Estimation: From Nonparametric Statistics to LLM Reasoning"


def _by_name(*args, **kwargs) -> dict[str, Any]:
    """Arguments of ``GRPOTrainer`` by name, with settings if none are given, as TRL makes them."""
    named = inspect.signature(GRPOTrainer.__init__).bind_partial(None, *args, **kwargs).arguments
    named = {**named, **named.get("kwargs", {})}
    named.pop("kwargs", None), named.pop("self")
    if named.get("args") is None:
        model = named.get("model")
        name = model if isinstance(model, str) else model.config._name_or_path
        named["args"] = KAEConfig(f"{name.split('/')[-1]}-KAE")
    if not isinstance(named["args"], KAEConfig):
        raise TypeError(f"KAETrainer takes args=KAEConfig(...), got {type(named['args']).__name__}")
    return named


class KAETrainer(MeasuredTrainer):
    """Policy gradients with a baseline that remembers each prompt's past rewards.

    A drop-in for TRL's ``GRPOTrainer``: the same arguments, with a `KAEConfig`. One rollout per prompt is enough.

    Parameters
    ----------
    *args
        As for ``GRPOTrainer``.
    true_value_func : callable, optional
        ``true_value_func(model, examples) -> sequence of float``: the exact value of each example of this process under
        the current policy. It is recorded in the trace, and the oracle baseline uses it. If it has a true attribute
        ``is_pass_rate``, or an attribute ``pass_rate`` that is such a function, evaluation uses it instead of samples.
    prompt_key_func : callable, optional
        ``prompt_key_func(example) -> int or str``: the id of an example's prompt, where neither its text nor a column
        tells prompts apart.
    **kwargs
        As for ``GRPOTrainer``. Without `args`, the settings are those of ``KAEConfig()``.

    Attributes
    ----------
    baseline : kvar.Baseline
        With the history of the run. It is the same on every process, because it sees the rewards of all processes.
    offline_values : dict
        Mean reward of each prompt over its ``warm_start_rollouts``.

    Raises
    ------
    TypeError
        If `args` is no `KAEConfig`.
    ValueError
        If the settings cannot work with the dataset or the baseline.

    Notes
    -----
    The history counts generations, not optimizer steps: a generation that serves several optimizer steps is one visit,
    and a bandwidth of 10 means ten samplings of the policy. Evaluation leaves the history unchanged. A checkpoint that
    falls inside a generation is written at its end.
    """

    _tag_names: Sequence[str] = ["trl", "kvar"]
    _name = "KAE"
    _paper: Mapping[str, str] = {
        "title": _TITLE,
        "id": "2604.28005",
        "citation": textwrap.dedent(f"""\
            @article{{kernelized2026,
                title        = {{{{{_TITLE}}}}},
                author       = {{Shijin Gong and Kai Ye and Jin Zhu and Xinyu Zhang and Hongyi Zhou and Chengchun Shi}},
                year         = 2026,
                eprint       = {{arXiv:2604.28005}},
            }}"""),
    }

    baseline_class = KAEBaseline

    def __init__(
        self,
        *args,
        true_value_func: Callable | None = None,
        prompt_key_func: Callable[[dict], int | str] | None = None,
        **kwargs,
    ):
        given = _by_name(*args, **kwargs)
        config = given["args"]
        super().__init__(true_value_func=true_value_func, prompt_key_func=prompt_key_func, **given)
        self._all_keys: list[int | str] | None = None
        self._attached = self.baseline_class(self)
        samples = None if self.eval_dataset is None or self._evaluates_exactly else self.num_generations_eval
        check_settings(
            config, self.baseline, self.train_dataset, self._keys, has_true_values=true_value_func is not None,
            evaluation_samples=samples,
        )  # fmt: skip
        if config.warm_start_rollouts:
            self.add_callback(WarmStart(self))

    @property
    def baseline(self) -> Baseline:
        """The baseline with the history of the run."""
        return self._attached.baseline

    @property
    def offline_values(self) -> dict[int | str, float]:
        """Mean reward of each prompt over its ``warm_start_rollouts``."""
        return self._attached.offline_values

    def sample(self, inputs: list[dict], n_rollouts: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Rewards of shape (N,) and columns of completions sampled outside of training.

        `inputs` are the examples of this process, each repeated `n_rollouts` times in consecutive places.
        """
        usual = self.num_generations_eval, self.num_generations
        self.num_generations_eval = n_rollouts
        if not hasattr(self.args, "num_generations_eval"):  # TRL before 0.26 evaluates with as many as it trains with
            self.num_generations = n_rollouts
        self.model.eval()
        try:
            output = self._generate_and_score_completions(inputs)
            columns = self._attached.columns(inputs, output)
        finally:
            self.model.train()
            self.num_generations_eval, self.num_generations = usual
            self._metrics["eval"].clear()
            self._evaluated.clear()
        return self._rewards.total, columns

    def _get_train_sampler(self, dataset=None):
        order = self.args.prompt_order
        return _SAMPLERS[order](
            self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=prompts_per_generation(self.args),
            steps_per_batch=batches_per_generation(self.args),
            block_reuse=self.args.block_reuse,
            shuffle=self.shuffle_dataset,
            seed=self.args.seed,
            **({"draw": self._draw} if order in DRAWS else {}),
        )

    def _draw(self, size: int, generator: np.random.Generator) -> Drawn:
        """The next batch of prompts, from the history alone."""
        with self._timer.part("baseline", of_next_step=True):
            data, baseline = self.train_dataset, self.baseline
            columns = {n: np.asarray(data[n]) for n in baseline.columns_used(feature_columns(data.column_names))}
            step = self._attached.generations + 1
            outlook = Outlook.by(baseline, self.all_keys, step, columns, self.num_generations)
            return DRAWS[self.args.prompt_order](outlook, size, generator)

    @property
    def all_keys(self) -> list[int | str]:
        """Ids of the prompts of the training set, in its order."""
        if self._all_keys is None:
            self._all_keys = [self.prompt_key(example) for example in self.train_dataset]
        return self._all_keys

    def train(self, resume_from_checkpoint=None, **kwargs):
        """As in TRL; names files of a checkpoint that are cut off, before the weights are read."""
        checkpoint = resume_from_checkpoint
        if checkpoint is True:
            checkpoint = get_last_checkpoint(self.args.output_dir)
        if checkpoint:
            check_files(Path(checkpoint))
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
