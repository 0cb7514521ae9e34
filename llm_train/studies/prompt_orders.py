"""``python -m llm_train.studies.prompt_orders``: gradient error and bias of orders of prompts on the tiny policy.

A policy learns sums with `variance-optimal` and one rollout a prompt, its prompts in epochs or drawn by importance.
Then it stands still, and each order draws batches by what the run's baseline has learned. The gradient of every prompt
is exact, so that the error of a batch is known but for its rollouts. Their part is taken in expectation, with the exact
norm of the right answer and with norms of wrong ones from 64 rollouts of each prompt. The squared bias is a fraction of
the squared norm of the mean gradient.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import PrinterCallback

from kvar.intervals import mean_interval
from kvar.prompt_draws import DRAWS, Drawn, Outlook, inclusion_probabilities, weighted_gradient_mse
from kvar.utils.atomic_files import atomic_write, atomic_write_text
from kvar.utils.markdown import markdown_table
from llm_train.policy.gradient_scores import chosen_parameters, scores
from llm_train.run.settings import resolve
from llm_train.run.train import quiet_libraries
from llm_train.run.warm_up import warmed_up_policy
from llm_train.studies.gradient_study import policy_and_task, right_answers
from llm_train.studies.optimum_limit import look_at
from llm_train.trainer.kae_trainer import KAETrainer

__all__ = ["BatchErrors", "main", "squared_bias", "table"]

_TRAINED_WITH = ("epochs", "importance")
_NORM_SAMPLES = 64


class BatchErrors:
    """Errors of weighted batches of P prompts whose gradients are known.

    Parameters
    ----------
    products : ndarray, shape (P, P)
        Inner products of the exact gradients.
    second_moments : ndarray, shape (P,)
        Second moment of the estimate of each prompt's gradient from its one rollout.
    """

    def __init__(self, products: np.ndarray, second_moments: np.ndarray):
        self._products = products
        self._noise = second_moments - np.diag(products)
        self.exact_square = float(products.mean())  # |g|^2

    def of(self, drawn: list[Drawn]) -> tuple[np.ndarray, np.ndarray]:
        """Squared error of each of D batches in expectation over its rollouts, (D,), and products of errors, (D, D)."""
        n = len(self._noise)
        weights = np.zeros((len(drawn), n))
        for row, batch in zip(weights, drawn, strict=True):
            row[list(batch.prompts)] = np.array(batch.weights) / len(batch.prompts)
        off = weights - 1 / n
        products = off @ self._products @ off.T
        return np.diag(products) + weights**2 @ self._noise, products


def squared_bias(products: np.ndarray) -> tuple[float, float]:
    """Squared norm of the mean error, without bias, and its standard error where it is zero."""
    pairs = products[~np.eye(len(products), dtype=bool)]
    return float(pairs.mean()), float(np.sqrt(2 * (pairs**2).mean() / len(pairs)))


def _rows(order: str, options: argparse.Namespace) -> list[dict]:
    """Train with an order, and measure all orders at the policy and with the baseline that it ends with."""
    quiet_libraries()
    torch.set_num_threads(1)
    settings = resolve(
        {
            "task": "sums", "largest": 29, "n_prompts": options.prompts, "n_held_out": 0, "sft_steps": 600,
            "sft_until": 0.4, "policy_cache": str(options.out / "policies"), "baseline": "variance-optimal",
            "prompt_order": order, "num_generations": 1, "per_device_train_batch_size": options.batch,
            "max_steps": options.steps, "max_completion_length": 5, "learning_rate": 1.5e-4, "seed": options.seed,
            "lr_scheduler_type": "constant", "save_strategy": "no", "eval_on_start": False,
            "output_dir": str(options.out / order),
        }
    )  # fmt: skip
    model, tokenizer, task = policy_and_task(settings)
    settings.training.disable_tqdm = True
    model = warmed_up_policy(settings, model, tokenizer, task, announce=lambda *args, **kwargs: None)
    trainer = KAETrainer(
        model=model,
        reward_funcs=task.reward,
        args=settings.training,
        train_dataset=task.train,
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()

    prompts, right = right_answers(tokenizer, list(task.train))
    generator = torch.Generator().manual_seed(options.seed)
    longest, end = settings.training.max_completion_length, tokenizer.eos_token_id
    truth = look_at(model.eval(), prompts, right, _NORM_SAMPLES, longest, end, generator)
    score = scores(model, chosen_parameters(model), prompts, [some[0] for some in right]).double()
    products = (score @ score.T).numpy() * np.outer(truth.values, truth.values)

    keys, step, unknown = trainer.all_keys, options.steps + 1, np.full((len(prompts), 1), np.nan)
    baselines = trainer.baseline.estimate(keys, unknown, step, score_norm=unknown)[:, 0]
    moments = truth.second_moments(baselines) + np.diag(products)
    errors = BatchErrors(products, moments)
    outlook = Outlook.by(trainer.baseline, keys, step, {}, 1)
    # Equal moments give a simple random sample with weights of one.
    orders = {
        "epochs": ("importance", dataclasses.replace(outlook, second_moments=np.ones(len(prompts)))),
        "importance": ("importance", outlook),
        "importance, exact moments": ("importance", dataclasses.replace(outlook, second_moments=moments)),
        "variance": ("variance", outlook),
        "arc-without-dead-zone": ("arc-without-dead-zone", outlook),
    }
    random, found = np.random.default_rng(options.seed), []
    for name, (rule, seen) in orders.items():
        mse, pairs = errors.of([DRAWS[rule](seen, options.batch, random) for _ in range(options.draws)])
        mean, (bias, bias_error) = mean_interval(mse), squared_bias(pairs)
        theory = None
        if rule == "importance":
            inclusion = inclusion_probabilities(seen.second_moments, options.batch)
            theory = weighted_gradient_mse(inclusion, moments, products)
        found.append(
            {
                "trained_with": order, "mean_value": float(truth.values.mean()), "order": name, "mse": mean.mean,
                "mse_se": mean.standard_error, "theory": theory, "squared_bias": bias / errors.exact_square,
                "squared_bias_se": bias_error / errors.exact_square,
            }
        )  # fmt: skip
    return found


def table(rows: pl.DataFrame) -> str:
    """The rows as Markdown, errors as ratios to those of epochs at the same policy."""
    cells = []
    for row in rows.iter_rows(named=True):
        epochs = rows.filter(trained_with=row["trained_with"], order="epochs").row(0, named=True)
        expected = "" if row["theory"] is None else f"{row['theory'] / epochs['theory']:.3f}"
        cells.append(
            [
                row["trained_with"], f"{row['mean_value']:.2f}", row["order"],
                f"{row['mse'] / epochs['mse']:.3f} ± {row['mse_se'] / epochs['mse']:.3f}", expected,
                f"{row['squared_bias']:.4f} ± {row['squared_bias_se']:.4f}",
            ]
        )  # fmt: skip
    headers = ["trained with", "mean value", "order", "gradient MSE over that of epochs", "by theory", "squared bias"]
    return markdown_table(headers, cells) + "\n"


def main() -> None:
    """Train, measure, and write ``rows.csv`` and ``table.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/prompt_orders"))
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32, help="prompts of a batch")
    parser.add_argument("--steps", type=int, default=60, help="steps of training before the measurement")
    parser.add_argument("--draws", type=int, default=2000, help="batches of each order")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = pl.DataFrame([row for order in _TRAINED_WITH for row in _rows(order, options)])
    text = table(rows)
    with atomic_write(options.out / "rows.csv") as temporary:
        rows.write_csv(temporary)
    atomic_write_text(options.out / "table.md", text)
    print(text)


if __name__ == "__main__":
    main()
