"""What the noise of a step's gradient is made of, from a backward pass that is made anyway."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from kvar.utils.mean_products import mean_products
from llm_train.trainer.gathered_rewards import replace_method

__all__ = ["GradientParts", "gradient_parts"]

_NAMES = ("signal", "noise", "prompt_part", "rollout_part")


def gradient_parts(gradients: np.ndarray, prompts: np.ndarray) -> dict[str, float]:
    """Parts of the mean squared error of a step's gradient, unbiased where no rollout enters another one's baseline.

    `gradients` has what each rollout adds to the gradient, ``A s``, shape (N, d), and `prompts` the number of its
    prompt, from 0. A group that enters its own leave-one-out baseline adds 1 / (G - 1)^2 of ``E|g(X)|^2`` to the
    products of its rollouts.

    - ``signal``: ``|g|^2``. NaN with one prompt, as all that follow.
    - ``noise``: N times the mean squared error, ``G P + R + D`` with G rollouts a prompt (`kvar.variance`).
    - ``prompt_part``, ``rollout_part``: P, and R + D. NaN with one rollout a prompt, where only their sum is known.
    """
    counts = np.bincount(prompts)
    within, totals = mean_products(gradients, prompts, counts)
    means = totals / counts[:, None]
    signal = float(mean_products(means, np.zeros(len(counts), dtype=np.intp), np.array([len(counts)]))[0][0])
    grouped = (counts > 1)[prompts]
    of_prompt = within[prompts][grouped]
    squares = (gradients[grouped] ** 2).sum(axis=1)
    noise = len(gradients) * float((((means**2).sum(axis=1) - signal) * (counts / len(gradients)) ** 2).sum())
    parts = (of_prompt.mean() - signal, (squares - of_prompt).mean()) if grouped.any() else (np.nan, np.nan)
    return dict(zip(_NAMES, (signal, noise, *map(float, parts)), strict=True))


class GradientParts(TrainerCallback):
    """Measures `gradient_parts` at every optimizer step of a trainer, by the gain of the last hidden states.

    A gain is a vector of ones by which the hidden states that the output head reads are multiplied. The backward pass
    of the loss gives its gradient for each rollout. It stands for the whole gradient: ratios of the parts, such as the
    noise scale, are those of the gain. Nothing is measured of a model without a decoder in the sense of transformers.
    With several processes each sees its own rollouts.
    """

    def __init__(self, trainer: Any):
        self._trainer, self._prompts = trainer, []
        self._gradients: list[torch.Tensor | None] = []  # of each forward pass, in their order
        model = trainer.accelerator.unwrap_model(trainer.model)
        decoder = model.get_decoder() if hasattr(model, "get_decoder") else None
        if decoder is not None:
            decoder.register_forward_hook(self._watch)
        replace_method(trainer, "_compute_loss", ("model", "inputs"), self._loss)
        trainer.add_callback(self)

    def _loss(self, original, model, inputs):
        if torch.is_grad_enabled():  # no evaluation
            ids, mask = inputs["prompt_ids"], inputs["prompt_mask"]
            self._prompts += [tuple(row[real].tolist()) for row, real in zip(ids, mask.bool(), strict=True)]
        return original(model, inputs)

    def _watch(self, decoder, inputs, outputs) -> None:
        hidden = outputs[0]
        if hidden.requires_grad and self._trainer.model.training:
            read, place, gradients = hidden.detach(), len(self._gradients), self._gradients
            gradients.append(None)

            def keep(gradient: torch.Tensor) -> None:
                gradients[place] = (gradient * read).sum(dim=1).float()

            hidden.register_hook(keep)

    def on_step_end(self, args, state, control, **kwargs):
        """Add the parts of this step to the trainer's metrics."""
        gradients = [gradient for gradient in self._gradients if gradient is not None]
        prompts, self._gradients, self._prompts = self._prompts, [], []
        # A trainer that runs its decoder in another way is not measured, but trains.
        if not prompts or sum(map(len, gradients)) != len(prompts):
            return
        numbers = {prompt: k for k, prompt in enumerate(dict.fromkeys(prompts))}
        # The loss is a mean over rollouts, to which each adds the N-th part of its own gradient.
        of_rollouts = len(prompts) * torch.cat(gradients).double().cpu().numpy()
        parts = gradient_parts(of_rollouts, np.array([numbers[prompt] for prompt in prompts]))
        for name, number in parts.items():
            if not np.isnan(number):
                self._trainer._metrics["train"][f"gradient/{name}"].append(number)

    def noise_scale(self) -> float | None:
        """Noise over signal since the last log entry: the rollouts at which they are equal; None if not known."""
        noise, signal = (
            sum(self._trainer._metrics["train"].get(f"gradient/{name}", [])) for name in ("noise", "signal")
        )
        return noise / signal if signal > 0 else None
