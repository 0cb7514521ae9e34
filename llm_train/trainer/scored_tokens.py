"""The tokens that TRL projects onto the vocabulary on a CPU: those of completions, as on other devices."""

from __future__ import annotations

import trl.trainer.utils

__all__ = ["score_completions_only"]


def score_completions_only() -> None:
    """Keep TRL from projecting the tokens of prompts, whose log-probabilities it throws away.

    Where it does not use Triton it keeps shapes the same for compilers, at the cost of the whole vocabulary for every
    token of the prompts, forwards and twice backwards.
    """
    if hasattr(trl.trainer.utils, "_use_triton"):  # earlier versions never project prompts
        trl.trainer.utils._use_triton = lambda device: device.type in ("cpu", "cuda", "xpu")
